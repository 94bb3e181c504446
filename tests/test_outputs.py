"""A run never costs what was there: what it is made from, what it replaces, what somebody else put there."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal, tree
from taskcatalog.errors import ConflictError, DiskFullError, InputError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.outputs import check_result_file
from taskcatalog.runs.parts import Facts, Part, describe, finished
from taskcatalog.runs.stage import Stage
from taskcatalog.stores.store import unchanged
from taskcatalog.tables.ngrams import ngrams
from taskcatalog.tables.parquet import ROW_GROUP_ROWS, table_writer

TEXT = "import os\nimport sys\nfor name in os.listdir(sys.path[0]):\n    print(name)\n"


@pytest.fixture
def made(demo_data: Path, tmp_path: Path) -> Path:
    """A folder with texts, a store, and a catalog with a scan."""
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text(TEXT * 40)
    answer(
        "tokenize", tmp_path / "texts", "--out", tmp_path / "store", "--tokenizer", demo_data, "--sequence-length", 64
    )
    answer("ngrams", tmp_path / "store", "--out", tmp_path / "catalog", "--min-prefix-count", 10)
    return tmp_path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder with room for 400 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_outputs_apart_from_what_they_are_made_from(
    made: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made)
    answer("convert", made / "store", "--format", "flat", "--out", made / "corpus.bin")
    answer("convert", made / "store", "--format", "mds", "--out", made / "mds")
    shutil.copy(made / "corpus.bin", made / "other.bin")
    (made / "link").symlink_to(made / "store")
    before = tree(made)
    commands: list[tuple[object, ...]] = [
        ("tokenize", "texts", "--out", "texts", "--tokenizer", demo_data),
        ("tokenize", "texts/a.txt", "--out", "texts", "--tokenizer", demo_data),
        ("tokenize", "texts/*.txt", "--out", ".", "--tokenizer", demo_data),
        ("tokenize", "mds", "--out", "mds", "--tokenizer", demo_data, "--field", "tokens"),
        ("tokenize", "mds", "--out", "mds/store", "--tokenizer", demo_data, "--field", "tokens"),
        ("convert", "store", "--out", "store", "--format", "mds"),
        ("convert", "store", "--out", "link", "--format", "mds"),
        ("convert", "store", "--out", "store/mds", "--format", "mds"),
        ("convert", "store", "--out", "store/flat.bin", "--format", "flat"),
        ("convert", "store", "--out", ".", "--format", "mds"),
        ("convert", "corpus.bin", "--out", "corpus.bin", "--format", "flat"),
        ("convert", "other.bin", "--out", "other.bin", "--format", "flat"),
        ("convert", "mds", "--out", "mds", "--format", "mds"),
        ("ngrams", "store", "--out", "store"),
        ("ngrams", "store", "--out", "store/catalog"),
        ("scan", "store", "--model", demo_data, "--out", "store/catalog"),
    ]
    for arguments in commands:
        for force in ((), ("--force",)):
            assert "it is made from" in refusal(*arguments, *force), arguments
    assert tree(made) == before


def test_a_folder_that_holds_its_own_store(made: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What taskcatalog wrote below a folder is none of its texts, in whatever format."""
    monkeypatch.chdir(made / "texts")
    for options in ([], ["--format", "mds"]):
        out = f"store{len(options)}"
        first = answer("tokenize", ".", "--out", out, "--tokenizer", demo_data, *options)
        assert answer("tokenize", ".", "--out", out, "--tokenizer", demo_data, *options) == first
    answer("ngrams", "store0", "--out", "catalog")
    assert answer("tokenize", ".", "--out", "store0", "--tokenizer", demo_data) == first.replace("store2", "store0")
    assert "is what taskcatalog made, and no folder of texts" in refusal(
        "tokenize", "store0", "--out", "again", "--tokenizer", demo_data
    )


def test_a_mistake_does_not_cost_a_scan(made: Path, demo_data: Path) -> None:
    scan = (
        "scan",
        made / "store",
        "--model",
        demo_data,
        "--out",
        made / "catalog",
        "--label",
        "m",
        "--min-divergence",
        0,
    )
    answer(*scan)
    before = tree(made)
    assert "start is 1000000" in refusal(*scan, "--force", "--start", 1_000_000)
    assert "prompt length is 99" in refusal(*scan, "--force", "--prompt-length", 99)
    assert "no such folder" in refusal(*scan[:3], made / "nowhere", *scan[4:], "--force")
    broken = shutil.copytree(demo_data, made / "broken")
    (broken / "model.safetensors").write_bytes(b"no weights")
    assert "cannot be loaded" in refusal(*scan[:3], broken, *scan[4:], "--force")
    shutil.rmtree(broken)
    assert tree(made) == before
    said = answer(*scan, "--force", "--start", 64)
    assert "tasks" in said
    assert not list(made.rglob(".replaced"))
    assert tree(made) != before


def test_a_store_that_is_replaced_while_it_is_read(made: Path, demo_data: Path) -> None:
    again = ("tokenize", made / "texts", "--out", made / "store", "--tokenizer", demo_data, "--force")
    store = tc.open_store(made / "store")
    with unchanged(store):
        assert "another taskcatalog command is at work there" in refusal(*again)
        answer("ngrams", made / "store", "--out", made / "other")  # readers share it
    answer(*again, "--sequence-length", 32)
    with pytest.raises(InputError, match=r"store: was changed while it was read"), unchanged(store):
        pass
    with pytest.raises(ConflictError, match=r"another command is writing there"):
        _read_while_written(made / "store")


def _read_while_written(path: Path) -> None:
    from taskcatalog.runs.files import folder_locked

    store = tc.open_store(path)
    with folder_locked(path), unchanged(store):
        pass


def test_a_flat_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    flat = tmp_path / "flat.bin"
    np.arange(1_000, dtype="<u2").tofile(flat)
    store = tc.open_store(flat)
    with pytest.raises(InputError, match=r"flat.bin: was changed while it was read"), unchanged(store):
        os.utime(flat, ns=(1, 1))


def test_sources_that_change_before_a_run_goes_on(demo_data: Path, tmp_path: Path) -> None:
    sources = tmp_path / "sources"
    sources.mkdir()
    for name in "ab":
        (sources / f"{name}.txt").write_text(TEXT * 20_000)
    (sources / "c.txt").write_bytes(b"not UTF-8: \xff")
    arguments = ("tokenize", sources, "--out", tmp_path / "store", "--tokenizer", demo_data, "--workers", 1)
    assert "is not UTF-8" in refusal(*arguments)
    assert len(list((tmp_path / "store/tokens").iterdir())) == 2
    about = (sources / "c.txt").stat()
    (sources / "c.txt").write_bytes(b"now UTF-8: y")
    assert "what it reads was changed since it began): --force makes it anew" in refusal(*arguments)
    (sources / "c.txt").write_bytes(b"now UTF-8: x")
    os.utime(sources / "c.txt", ns=(about.st_atime_ns, about.st_mtime_ns))
    answer(*arguments)
    answer(*arguments[:3], tmp_path / "anew", *arguments[4:])
    assert tree(tmp_path / "anew") == tree(tmp_path / "store")


def test_a_full_disk_at_the_end_of_a_table(small_disk: Path) -> None:
    """With more rows than one row group, so that the end of the table is not the first to be written."""
    ids = np.random.default_rng(0).integers(0, 2**32, (3, 100_000), np.uint32)
    columns = {"id0": ids[0], "id1": ids[1], "count": ids[2].astype(np.uint64)}
    assert len(ids[0]) > 3 * ROW_GROUP_ROWS
    with (
        pytest.raises(DiskFullError, match=r"table.parquet: there is no more room"),
        table_writer(small_disk / "table.parquet", ngrams(2).schema(np.uint32)) as writer,
    ):
        writer.write(columns)
    assert not list(small_disk.iterdir())


def test_a_full_disk_says_what_takes_room(made: Path, small_disk: Path) -> None:
    answer("convert", made / "store", "--format", "flat", "--out", made / "flat.bin")
    tokens = np.random.default_rng(0).integers(0, 8_000, 150_000).astype("<u2")
    tokens.tofile(small_disk.parent / "large.bin")
    out = small_disk / "out.bin"
    answer("convert", made / "flat.bin", "--format", "flat", "--out", out)
    before = out.read_bytes()
    result = invoke("convert", small_disk.parent / "large.bin", "--format", "flat", "--out", out, "--force")
    assert result.exit_code != 0
    assert "no more room" in result.stderr
    assert out.read_bytes() == before


@pytest.mark.parametrize("is_renamed", [False, True])
def test_a_flat_file_is_replaced_and_brought_back(tmp_path: Path, is_renamed: bool) -> None:
    """After a kill when all parts are joined, and just before or after the new file has its name."""
    for name, first in (("a", 0), ("b", 7)):
        np.arange(first, first + 1_000, dtype="<u2").tofile(tmp_path / f"{name}.bin")
    out = tmp_path / "out.bin"
    make_a, make_b = (("convert", tmp_path / f"{n}.bin", "--format", "flat", "--out", out) for n in "ab")
    answer(*make_a)
    before = tree(tmp_path)
    folder, settings = tmp_path / "out.bin.ledger", {"format": "flat"}
    store = tc.open_store(tmp_path / "b.bin")
    inputs = {"store": store.identity.fingerprint, "sequence_length": 2_048, "ids": "uint16"}
    with Ledger.begin(folder, Stage("convert", ()), inputs, settings, stamp=store.stamp, force=True) as ledger:
        for name in ("00000.ids", "whole"):
            ledger.work.mkdir(exist_ok=True)
            shutil.copy(tmp_path / "b.bin", ledger.work / name)
        ledger.finish_part("00000-00000", finished(folder, [ledger.work / "00000.ids"], Facts(amount=1_000)))
        ledger.finish_part("whole", Part.of({"../out.bin": describe(ledger.work / "whole")}, Facts()))
        if is_renamed:
            (ledger.work / "whole").rename(out)
    assert "was made differently" in refusal(*make_a)
    answer(*make_a, "--force")
    assert tree(tmp_path) == before
    answer(*make_b, "--force")
    assert out.read_bytes() == (tmp_path / "b.bin").read_bytes()
    assert tc.verify(out) == []
    out.write_bytes(b"x" * 2_000)
    assert "its content is not what the ledger says" in tc.verify(out)[0]
    with pytest.raises(ConflictError, match=r"out.bin: is a flat store that taskcatalog made"):
        check_result_file(out, force=True)
    assert "is not what" in refusal(*make_b)
