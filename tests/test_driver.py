"""Jobs by every pool: whole, stopped, with workers that die. The ledger and the bar say what was done."""

import io
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tqdm import tqdm

from file_pool import FilePool
from taskcatalog.errors import InputError, TaskcatalogError
from taskcatalog.runs.driver import Work, part_name, run_jobs
from taskcatalog.runs.jobs import Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.runs.pools import Inline, Processes, Threads
from taskcatalog.runs.stage import Stage
from taskcatalog.runs.worker import worker_number

WORK = Work(description="numbers", unit="parts", total=None)
STAGE = Stage("numbers", ("*",))
PARTS = 3
POOLS: dict[str, Callable[[Path], Pool]] = {
    "inline": lambda _: Inline(),
    "one thread": lambda _: Threads(1),
    "threads": lambda _: Threads(3),
    "one process": lambda _: Processes(1),
    "two processes": lambda _: Processes(2),
    "five processes": lambda _: Processes(5),
    "files": FilePool,
}


@dataclass(frozen=True, kw_only=True)
class Written(Facts):
    number: int
    worker: int


@dataclass(frozen=True)
class Numbers:
    """Three parts, each a file with its number."""

    name: str
    folder: Path
    dies_at: int | None = None
    deaths: int = 0
    """How often it dies there."""
    bad_at: int | None = None

    def run(self, first: int) -> Iterator[int | Part]:
        for number in range(first, PARTS):
            yield 3  # of 10, and more than is left where the rest is lost
            if number == self.bad_at:
                raise InputError(f"{self.name}: number {number} is bad")
            if number == self.dies_at:
                obituaries = self.folder.parent / f"{self.name}.deaths"
                died = len(obituaries.read_text()) if obituaries.exists() else 0
                if died < self.deaths:
                    obituaries.write_text("x" * (died + 1))
                    os._exit(9)
            path = self.folder / f"{self.name}-{number}"
            path.write_text(f"{number} after {first}")
            facts = Written(amount=10, is_last=number == PARTS - 1, number=number, worker=worker_number())
            yield finished(self.folder, [path], facts)


def run(folder: Path, jobs: list[Numbers], pool: Pool, work: Work = WORK) -> dict[str, str]:
    with Ledger.begin(folder, STAGE, {}, {}) as ledger:
        run_jobs(ledger, jobs, pool, work)
        facts = ledger.facts_of(Written)
        assert list(facts) == [part_name(job.name, i) for job in jobs for i in range(PARTS)]
        assert [one.number for one in facts.values()] == [*range(PARTS)] * len(jobs)
        ledger.finish({"workers": sorted({one.worker for one in facts.values()})})
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "ledger.json"}


@pytest.mark.parametrize("pool", POOLS)
def test_all_parts_of_all_jobs(tmp_path: Path, pool: str) -> None:
    jobs = [Numbers(name, tmp_path / "out") for name in "abcd"]
    expected = {f"{name}-{number}": f"{number} after 0" for name in "abcd" for number in range(PARTS)}
    assert run(tmp_path / "out", jobs, POOLS[pool](tmp_path)) == expected


def test_processes_know_their_number(tmp_path: Path) -> None:
    run(tmp_path / "out", [Numbers(name, tmp_path / "out") for name in "ab"], Processes(2))
    assert Ledger.read(tmp_path / "out").facts == {"workers": [0, 1]}


@pytest.mark.parametrize("pool", ["two processes", "files"])
def test_a_worker_that_dies_is_replaced(tmp_path: Path, capfd: pytest.CaptureFixture[str], pool: str) -> None:
    jobs = [Numbers("a", tmp_path / "out"), Numbers("b", tmp_path / "out", dies_at=1, deaths=2)]
    found = run(tmp_path / "out", jobs, POOLS[pool](tmp_path))
    assert found["a-2"] == "2 after 0"
    assert (found["b-0"], found["b-1"]) == ("0 after 0", "1 after 1")  # what was finished is not done again
    assert capfd.readouterr().err.count("a worker died (exit code 9) in job b: it is done again") == 2


@pytest.mark.parametrize("pool", ["two processes", "files"])
def test_workers_that_die_again_and_again(tmp_path: Path, pool: str) -> None:
    out, workers = tmp_path / "out", POOLS[pool](tmp_path)
    with pytest.raises(TaskcatalogError, match=r"died .exit code 9. in job b, 3 times"):
        run(out, [Numbers("a", out), Numbers("b", out, dies_at=1, deaths=3)], workers)
    # The same command goes on from there.
    assert run(out, [Numbers("a", out), Numbers("b", out, dies_at=1, deaths=3)], workers)["b-1"] == "1 after 1"


@pytest.mark.parametrize("pool", POOLS)
def test_an_error_keeps_what_is_finished(tmp_path: Path, pool: str) -> None:
    out, workers = tmp_path / "out", POOLS[pool](tmp_path)
    with pytest.raises(InputError, match="b: number 2 is bad"):
        run(out, [Numbers("b", out, bad_at=2), Numbers("c", out)], workers)
    found = run(out, [Numbers("b", out), Numbers("c", out)], workers)
    assert (found["b-1"], found["b-2"]) == ("1 after 0", "2 after 2")


@pytest.mark.parametrize("gap", range(PARTS))
def test_what_comes_after_a_missing_part_is_done_again(tmp_path: Path, gap: int) -> None:
    out = tmp_path / "out"
    jobs = [Numbers("a", out), Numbers("b", out)]
    with Ledger.begin(out, STAGE, {}, {}) as ledger:
        run_jobs(ledger, jobs, Inline(), WORK)
    (out / f"a-{gap}").unlink()
    found = run(out, jobs, Inline())
    again = {f"a-{number}": f"{number} after {gap}" for number in range(gap, PARTS)}
    assert found == {f"{name}-{number}": f"{number} after 0" for name in "ab" for number in range(PARTS)} | again


def test_the_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it begins, and where it ends: also what was lost is taken back; and the sum beside."""
    bars: list[tqdm[Any]] = []

    def shown(_: str, total: int | None, unit: str, done: int) -> "tqdm[Any]":
        bars.append(tqdm(total=total, initial=done, unit=unit, file=io.StringIO()))
        return bars[-1]

    monkeypatch.setattr("taskcatalog.runs.driver.progress_bar", shown)
    out = tmp_path / "out"
    work = Work(description="numbers", unit="n", total=60, also=("number", 6))
    with pytest.raises(InputError):
        run(out, [Numbers("a", out, bad_at=2), Numbers("b", out)], Inline(), work)
    assert (bars[0].initial, bars[0].n) == (0, 23)
    jobs = [Numbers(name, out, dies_at=2, deaths=1) for name in "ab"]
    run(out, jobs, Processes(2), work)
    assert (bars[1].initial, bars[1].n, bars[1].postfix) == (20, 60, "6.00/6.00 number")
