"""Runs the parts of a stage on this machine and writes each finished one into the ledger.

A part is a pure function from input files to output files, that spends its time in NumPy, Numba, Arrow or torch:
they release the interpreter's lock, so threads are enough.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.progress import progress_bar

P = TypeVar("P")


@dataclass(frozen=True, kw_only=True)
class PartResult:
    """What a finished part leaves."""

    files: list[Path]
    """Finished files in the ledger's folder."""
    amount: int
    """How much of the stage's unit of work (tokens, rows, prompts) it did."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    elsewhere: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Finished files that are not in the ledger's folder (see ``Ledger.finish_part``)."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the progress bar says."""

    description: str
    unit: str
    total: int | None
    also: tuple[str, int] | None = None
    """A fact of streams' parts that the bar adds up beside the unit, and its total."""


def run_parts(
    ledger: Ledger,
    parts: Mapping[str, P],
    do: Callable[[P], PartResult],
    work: Work,
    workers: int = 1,
) -> None:
    """Does every part that the ledger does not have yet, ``workers`` at a time.

    With one worker all runs in this thread. The first error stops the stage, with what is finished kept.
    """
    missing = {name: part for name, part in parts.items() if name not in ledger.parts}
    done = sum(ledger.parts[name].facts["amount"] for name in parts.keys() - missing.keys())
    with progress_bar(work.description, work.total, work.unit, done) as bar:

        def finish(name: str, result: PartResult) -> None:
            facts = dict(result.facts) | {"amount": result.amount}
            ledger.finish_part(name, result.files, facts, result.elsewhere)
            bar.update(result.amount)

        if workers == 1 or len(missing) <= 1:
            for name, part in missing.items():
                finish(name, do(part))
            return
        with ThreadPoolExecutor(min(workers, len(missing))) as executor:
            try:
                _run_in(executor, missing, do, finish, 2 * workers)
            finally:
                executor.shutdown(cancel_futures=True)


def _run_in(
    executor: Executor,
    parts: Mapping[str, P],
    do: Callable[[P], PartResult],
    finish: Callable[[str, PartResult], None],
    at_once: int,
) -> None:
    """Keeps ``at_once`` parts submitted, so that millions of parts cost no memory."""
    waiting = iter(parts.items())
    running: dict[Future[PartResult], str] = {}
    while True:
        while len(running) < at_once and (item := next(waiting, None)) is not None:
            running[executor.submit(do, item[1])] = item[0]
        if not running:
            return
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            finish(running.pop(future), future.result())
