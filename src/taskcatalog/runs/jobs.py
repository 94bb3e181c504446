"""What a stage wants done, and what is heard of it: jobs, and the events on their way.

A job travels by pickle to whoever does it: it holds paths and options, and opens what they name when it is run. It
hands over finished parts, most jobs one. A job that can only be done from its start to its end, such as a compressed
file, hands over several on its way: stopped, it goes on after the last one.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from taskcatalog.runs.parts import Part


class Job(Protocol):
    @property
    def name(self) -> str:
        """Its own among those of its stage."""

    def run(self, first: int) -> Iterator[int | Part]:
        """Does it from its part of number ``first`` on.

        Yields each part as it is finished, and before that, if it takes long, how much more of it was done.
        """


class OnePart(ABC):
    """A job that hands over one part."""

    @abstractmethod
    def make(self) -> Part: ...

    def run(self, first: int) -> Iterator[int | Part]:
        assert first == 0
        yield self.make()


@dataclass(frozen=True)
class Progress:
    job: str
    amount: int
    """How much more of an unfinished part is done."""


@dataclass(frozen=True)
class PartFinished:
    job: str
    part: Part


@dataclass(frozen=True)
class Ended:
    job: str


@dataclass(frozen=True)
class Lost:
    """Its worker died, and with it what was done of the unfinished part."""

    job: str
    cause: str


Event: TypeAlias = Progress | PartFinished | Ended | Lost


class Waiting(Protocol):
    """The jobs that no worker has yet."""

    def __len__(self) -> int: ...

    def take(self) -> tuple[Job, int] | None:
        """The next one, and the number of the part to begin with; None where all are taken. One that was lost waits
        again."""


class Pool(Protocol):
    """Workers, here or elsewhere."""

    def run(self, waiting: Waiting) -> Generator[Event, None, None]:
        """Has all jobs done that wait, and tells what happens until the last one has ended. Raises a job's error."""


def events_of(job: Job, first: int) -> Iterator[Event]:
    """Does a job here."""
    for done in job.run(first):
        yield Progress(job.name, done) if isinstance(done, int) else PartFinished(job.name, done)
    yield Ended(job.name)
