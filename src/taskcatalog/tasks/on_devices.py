"""Jobs that run a model: on each of its devices, in a process of its own where there are several."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

import torch

from taskcatalog.lm.load import FoundModel
from taskcatalog.lm.memory import kept_memory
from taskcatalog.runs.driver import Work, run_jobs
from taskcatalog.runs.jobs import Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Part
from taskcatalog.runs.pools import Inline, Processes
from taskcatalog.runs.worker import worker_number


@dataclass
class DeviceModel:
    """A model on this process's device. Subclasses load it when it is first wanted, as a cached property: it does not
    travel to another process, which loads its own."""

    found: FoundModel

    @property
    def device(self) -> torch.device:
        """Each worker has its own."""
        return self.found.devices[worker_number() % len(self.found.devices)]

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def unload(self) -> None:
        self.__dict__ = self.__getstate__()


M = TypeVar("M", bound=DeviceModel)
_kept: list[Any] = []
"""The one model of this process, loaded: all jobs of a stage run the same."""


@dataclass(frozen=True, kw_only=True)
class ModelJob(ABC, Generic[M]):
    name: str
    model: M

    def run(self, first: int) -> Iterator[int | Part]:
        assert first == 0
        if self.model not in _kept:
            _kept[:] = [self.model]
        with kept_memory():
            yield from self.run_with(_kept[_kept.index(self.model)])

    @abstractmethod
    def run_with(self, model: M) -> Iterator[int | Part]:
        """Yields how many prompts were run, on the way, and the part. ``model`` is loaded once for all jobs."""


def run_on_devices(ledger: Ledger, jobs: Sequence[ModelJob[M]], model: M, pool: Pool | None, work: Work) -> None:
    """Has all jobs done, with a process for each device unless there is another ``pool``."""
    n_devices = len(model.found.devices)
    if pool or n_devices > 1:
        model.unload()
    try:
        run_jobs(ledger, jobs, pool or (Processes(n_devices) if n_devices > 1 else Inline()), work)
    finally:
        _kept.clear()
