"""Amounts as people write them, and the memory that there is."""

from pathlib import Path

import pytest

from taskcatalog.errors import SettingsError
from taskcatalog.sizes import (
    check_memory,
    container_limits,
    machine_memory,
    memory_budget,
    parse_size,
    sufficient_budget,
)


@pytest.mark.parametrize(
    ("text", "size"),
    [("8GB", 8 * 10**9), ("512 MiB", 2**29), ("2g", 2 * 10**9), (" 1.5kb ", 1_500), ("7B", 7), ("1tib", 2**40)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == memory_budget(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8", "'8' is not a size in bytes: it has no unit: write 8GB or 8MB"),
        ("4096", "write 4096MB or 4096B$"),
        ("1000000000", "it has no unit: write 1000000000B$"),
        ("999999999999999", "it has no unit: write it as 500MB, 8GB or 2GiB$"),
        ("0GB", "is not a size from 1 byte"),
        ("0.1B", "is not a size from 1 byte"),
        ("-1GB", "write it as 500MB, 8GB or 2GiB"),
        ("1000001TB", "is not a size from 1 byte to 10\\^18"),
        ("lots", "write it as"),
        ("8GBB", "write it as"),
    ],
)
def test_no_sizes(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_size(text)


def test_the_least_is_named() -> None:
    check_memory(10**6, 10**6, "counting")
    with pytest.raises(SettingsError, match=r"memory is 1\.0 MB: counting needs --memory 3MB or more"):
        check_memory(10**6, 2 * 10**6 + 1, "counting")
    for memory, words in ((7, "7 B"), (1_500, "1.5 kB"), (10**10, "10,000.0 MB")):
        with pytest.raises(SettingsError, match=f"memory is {words}: counting"):
            check_memory(memory, 10**12, "counting")


def limited(folder: Path, own: str, files: dict[str, str]) -> list[int]:
    """The limits of a process with these files of control groups."""
    for name, content in files.items():
        (folder / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "root" / name).write_text(content)
    (folder / "own").write_text(own)
    return sorted(container_limits(folder / "own", folder / "root"))


def test_limits_of_containers(tmp_path: Path) -> None:
    """Of both versions, of groups above, and where the group's own path is not to be seen from inside."""
    two = {"memory.max": "max\n", "a/memory.max": "4000\n", "a/b/memory.max": "9000\n", "c/memory.max": "1\n"}
    assert limited(tmp_path / "two", "0::/a/b\n", two) == [4_000, 9_000]
    one = {"memory/memory.limit_in_bytes": "5000\n", "memory/docker/x/memory.limit_in_bytes": "6000\n"}
    lines = "11:cpu,cpuacct:/docker/x\n9:memory:/docker/x\n1:name=systemd:/\n"
    assert limited(tmp_path / "one", lines, one) == [5_000, 6_000]
    assert limited(tmp_path / "inside", "0::/host/path\n", {"memory.max": "7000"}) == [7_000]
    assert container_limits(tmp_path / "missing", tmp_path) == []
    assert 10**8 < machine_memory() < 10**15
    assert 0 < memory_budget(None) <= 8 * 10**9


def test_the_default_is_what_is_needed_if_there_is_so_much() -> None:
    there, default = machine_memory(), memory_budget(None)
    assert sufficient_budget(None, 1, "this") == default
    assert sufficient_budget(None, default + 1, "this") == default + 1
    assert sufficient_budget("1GB", 10**9, "this") == 10**9
    for text, least in ((None, there + 1), ("1GB", 10**9 + 1)):
        with pytest.raises(SettingsError, match="this needs --memory"):
            sufficient_budget(text, least, "this")
