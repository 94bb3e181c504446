"""Streams of parts in worker processes: whole, stopped, with workers that die."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from taskcatalog.errors import InputError, TaskcatalogError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.local import PartResult, Work
from taskcatalog.runs.stage import Stage
from taskcatalog.runs.streams import run_streams

WORK = Work(description="numbers", unit="parts", total=None)


@dataclass(frozen=True)
class Numbers:
    """A stream of three parts, each a file with its number."""

    name: str
    folder: Path
    dies_at: int | None = None
    deaths: int = 0
    """How often it dies there."""
    bad_at: int | None = None


def write_numbers(stream: Numbers, skip: int) -> Iterator[PartResult]:
    for number in range(skip, 3):
        if number == stream.bad_at:
            raise InputError(f"{stream.name}: number {number} is bad")
        if number == stream.dies_at:
            obituaries = stream.folder.parent / f"{stream.name}.deaths"
            died = len(obituaries.read_text()) if obituaries.exists() else 0
            if died < stream.deaths:
                obituaries.write_text("x" * (died + 1))
                os._exit(9)
        path = stream.folder / f"{stream.name}-{number}"
        path.write_text(f"{number} after {skip}")
        yield PartResult(files=[path], amount=1, facts={"last": number == 2})


def run(folder: Path, streams: list[Numbers], workers: int = 2) -> dict[str, str]:
    with Ledger.begin(folder, Stage("numbers", ("*",)), {}, {}) as ledger:
        run_streams(ledger, {stream.name: stream for stream in streams}, [write_numbers] * workers, WORK)
        ledger.finish({})
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "ledger.json"}


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_all_parts_of_all_streams(tmp_path: Path, workers: int) -> None:
    streams = [Numbers(name, tmp_path / "out") for name in "abcd"]
    expected = {f"{name}-{number}": f"{number} after 0" for name in "abcd" for number in range(3)}
    assert run(tmp_path / "out", streams, workers) == expected


def test_a_worker_that_dies_is_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    streams = [Numbers("a", tmp_path / "out"), Numbers("b", tmp_path / "out", dies_at=1, deaths=2)]
    found = run(tmp_path / "out", streams)
    assert found["a-2"] == "2 after 0"
    assert (found["b-0"], found["b-1"]) == ("0 after 0", "1 after 1")  # what was finished is not done again
    assert capfd.readouterr().err.count("a worker died (exit code 9) in part b-00000 or after: it is done again") == 2


def test_workers_that_die_again_and_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(TaskcatalogError, match=r"died .exit code 9. in part b-00000 or after, 3 times"):
        run(out, [Numbers("a", out), Numbers("b", out, dies_at=1, deaths=3)])
    # The same command goes on from there.
    assert run(out, [Numbers("a", out), Numbers("b", out, dies_at=1, deaths=3)])["b-1"] == "1 after 1"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_keeps_what_is_finished(tmp_path: Path, workers: int) -> None:
    out = tmp_path / "out"
    with pytest.raises(InputError, match="b: number 2 is bad"):
        run(out, [Numbers("b", out, bad_at=2), Numbers("c", out)], workers)
    found = run(out, [Numbers("b", out), Numbers("c", out)], workers)
    assert (found["b-1"], found["b-2"]) == ("1 after 0", "2 after 2")
