"""The one loop that has the jobs of a stage done: by any pool, into the ledger, with a progress bar.

What the ledger has is not done again. A job of which it has some parts goes on after the last of them.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tqdm import tqdm

from taskcatalog.errors import TaskcatalogError
from taskcatalog.runs.jobs import Ended, Event, Job, Lost, PartFinished, Pool, Progress
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.progress import note, progress_bar

_DEATHS = 3


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the progress bar says."""

    description: str
    unit: str
    total: int | None
    also: tuple[str, int] | None = None
    """A fact of the parts that the bar adds up beside the unit, and its total."""


def run_jobs(ledger: Ledger, jobs: Sequence[Job], pool: Pool, work: Work) -> None:
    """Has done what the ledger does not have yet of every job.

    The first error stops the stage, with what is finished kept. Raises TaskcatalogError where workers die again and
    again.
    """
    n_done = _parts_done(ledger, jobs)
    done = [ledger.parts[part_name(name, i)] for name, n in n_done.items() for i in range(n)]
    with progress_bar(work.description, work.total, work.unit, sum(part.amount for part in done)) as bar:
        also_done = sum(part.facts[work.also[0]] for part in done) if work.also else 0
        run = _Run(ledger, work, bar, n_done, also_done)
        run.waiting.extend(job for job in jobs if not run.has_all(job.name))
        with closing(pool.run(run)) as events:
            for event in events:
                run.hear(event)


def part_name(job: str, number: int) -> str:
    """What the ledger calls the part of this number of a job."""
    return f"{job}-{number:05d}"


def _parts_done(ledger: Ledger, jobs: Iterable[Job]) -> dict[str, int]:
    """How many parts of each job the ledger has. Takes back those that come after a missing one: a job is done from its
    start to its end."""
    numbers: dict[str, set[int]] = {job.name: set() for job in jobs}
    for name in ledger.parts:
        job, _, number = name.rpartition("-")
        if job in numbers and number.isdecimal():
            numbers[job].add(int(number))
    n_done = {job: next(i for i in count() if i not in done) for job, done in numbers.items()}
    if behind := [part_name(job, i) for job, done in numbers.items() for i in done if i > n_done[job]]:
        ledger.forget(behind)
    return n_done


@dataclass
class _Run:
    """The jobs of one stage: which are waiting, and how each is getting on."""

    ledger: Ledger
    work: Work
    bar: "tqdm[Any]"
    n_done: dict[str, int]
    """How many parts of each job are finished."""
    also_done: int
    waiting: deque[Job] = field(default_factory=deque)
    under_way: dict[str, Job] = field(default_factory=dict)
    amounts: Counter[str] = field(default_factory=Counter)
    """How much of each job's unfinished part is done."""
    deaths: Counter[str] = field(default_factory=Counter)

    def __len__(self) -> int:
        return len(self.waiting)

    def take(self) -> tuple[Job, int] | None:
        if not self.waiting:
            return None
        job = self.waiting.popleft()
        self.under_way[job.name] = job
        return job, self.n_done[job.name]

    def has_all(self, job: str) -> bool:
        return self.n_done[job] > 0 and self.ledger.parts[part_name(job, self.n_done[job] - 1)].is_last

    def hear(self, event: Event) -> None:
        if isinstance(event, Progress):
            self.amounts[event.job] += event.amount
            self.bar.update(event.amount)
        elif isinstance(event, PartFinished):
            self.ledger.finish_part(part_name(event.job, self.n_done[event.job]), event.part)
            self.n_done[event.job] += 1
            self.bar.update(event.part.amount - self.amounts.pop(event.job, 0))
            self._add_also(event.part.facts)
        elif isinstance(event, Ended):
            del self.under_way[event.job]
            assert self.has_all(event.job), f"job {event.job} ended without its last part"
        elif isinstance(event, Lost):
            self.bar.update(-self.amounts.pop(event.job, 0))
            self._count_death(event)
            self.waiting.appendleft(self.under_way.pop(event.job))

    def _add_also(self, facts: Mapping[str, Any]) -> None:
        if self.work.also is not None:
            name, total = self.work.also
            self.also_done += facts[name]
            self.bar.set_postfix_str(f"{tqdm.format_sizeof(self.also_done)}/{tqdm.format_sizeof(total)} {name}")

    def _count_death(self, lost: Lost) -> None:
        """Raises TaskcatalogError where a job has cost too many workers."""
        self.deaths[lost.job] += 1
        where = f"{self.work.description}: a worker died ({lost.cause}) in job {lost.job}"
        if self.deaths[lost.job] == _DEATHS:
            raise TaskcatalogError(
                f"{where}, {_DEATHS} times: is memory short? The same command goes on from here; "
                "give it fewer --workers"
            )
        note(f"{where}: it is done again")
