"""Where a model is asked: on each of its devices, in a process of its own where there are several."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Generic, TypeVar

import torch

from taskcatalog.lm.load import FoundModel
from taskcatalog.lm.memory import kept_memory
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.local import PartResult, Work
from taskcatalog.runs.streams import run_streams

P = TypeVar("P")


@dataclass
class Asker(ABC, Generic[P]):
    """Asks a model about parts, on one device. Subclasses load it when it is first wanted, as a cached property: it
    does not travel to another process, which loads its own."""

    found: FoundModel
    device: torch.device

    @abstractmethod
    def do(self, part: P) -> Generator[int, None, PartResult]:
        """Yields how many prompts were asked, on the way."""

    def __call__(self, part: P, skip: int) -> Iterator[int | PartResult]:
        """The part as a stream of one."""
        assert not skip
        with kept_memory():
            result = yield from self.do(part)
        yield replace(result, facts={**result.facts, "last": True})

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def unload(self) -> None:
        self.__dict__ = self.__getstate__()


def ask_everywhere(ledger: Ledger, parts: Mapping[str, P], askers: Sequence[Asker[P]], work: Work) -> None:
    """Does every part that the ledger does not have yet, with one asker for each device."""
    if len(askers) > 1:
        for asker in askers:
            asker.unload()
    run_streams(ledger, parts, askers, work)
