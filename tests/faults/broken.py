"""Breaks one file operation of a stage after the other; the same command again must end as if nothing had happened.

``kill``   the command and its workers are killed just before the operation
``tear``   half of a write is done, then they are killed
``EIO``, ``EACCES``   the operation fails, and those after it do not
``ENOSPC`` the disk is full: this operation and all that need room after it fail
``power``  power is lost: all that was not synced before the operation is gone (see ``power``)
``data``   power is lost, but names have lasted

After a failure the command must end with exit code 1 and one line that names a file. After anything the same command
must end well, with the bytes of a run that nothing happened to, and nothing else on disk.
"""

import errno
import hashlib
import itertools
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import duckdb

from faults.commands import Ended, Server
from faults.power import Disk, Loss
from faults.shim import Operation, Watch
from faults.stages import STAGES, Stage, World, difference, tree

Break = Literal["kill", "tear", "EIO", "EACCES", "ENOSPC", "power", "data"]
BREAKS: tuple[Break, ...] = get_args(Break)
_LOSSES: dict[Break, Loss] = {"power": "all", "data": "data"}
_ROOM = ("create", "write", "truncate", "allocate", "mkdir", "link", "fsync")
_ACCESS = ("create", "open", "truncate", "mkdir", "link", "rename", "unlink", "rmdir")
_PROCESS = re.compile(r"\.\d+\.partial")


@dataclass(frozen=True)
class Case:
    """One operation of a stage, and how it is broken."""

    stage: str
    how: Break
    at: int

    def __str__(self) -> str:
        return f"python -m faults broken {self.stage} --how {self.how} --at {self.at}"


@dataclass(frozen=True)
class Judgement:
    case: Case
    operation: Operation
    problem: str | None
    """None where it ended well."""


@dataclass
class Breaker:
    """Breaks the operations of one stage. May be used by several threads, each with a server."""

    world: World
    stage: Stage
    folder: Path
    _resumed: dict[str, str | None] = field(default_factory=dict)
    """What came of the same command again, by what the break had left on disk."""
    _number: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    operations: list[Operation] = field(default_factory=list)

    def begin(self, server: Server) -> None:
        """Runs the stage with nothing broken, to know its operations and what it makes."""
        self.before.mkdir(parents=True)
        self.stage.before(self.world, self.before, server)
        place = self._place("whole")
        watch = Watch(self.folder / "watch", place, keep=True)
        watch.prepare()
        ended = server.run(self.stage.command(self.world, place), watch=watch)
        assert ended.problem() is None, f"{self.stage.name}: {ended.problem()}"
        self.operations = watch.operations()
        assert self.operations, f"{self.stage.name}: nothing was seen"
        assert not (escaped := unseen(self.operations, self.before, place)), f"not seen: {escaped}"

    def cases(self, every: bool) -> Iterator[Case]:
        """All breaks of all operations; of writes in a row to a file only the first, one amid, and the last, unless
        ``every`` one is asked for."""
        chosen = range(1, len(self.operations) + 1) if every else _telling(self.operations)
        for at in chosen:
            kind, size = self.operations[at - 1].kind, self.operations[at - 1].size
            for how in BREAKS:
                if how == "tear" and not (kind == "write" and size > 1):
                    continue
                if (how == "ENOSPC" and kind not in _ROOM) or (how == "EACCES" and kind not in _ACCESS):
                    continue
                yield Case(self.stage.name, how, at)

    def judge(self, case: Case, server: Server) -> Judgement:
        operation = self.operations[case.at - 1]
        place = self._place(f"case-{next(self._number)}", empty=case.how in _LOSSES)
        try:
            problems = [self._broken(case, place, server), self._again(place, server)]
        finally:
            shutil.rmtree(place.parent, ignore_errors=True)
        return Judgement(case, operation, "; and ".join(filter(None, problems)) or None)

    def lose_power(self, at: int, place: Path, loss: Loss) -> None:
        """Makes in ``place``, which is not there yet, what the disk has when power is lost before an operation."""
        disk = Disk(self._whole, self.before, self.folder / "watch/synced")
        for operation in self.operations[: at - 1]:
            disk.do(operation)
        disk.write(place, loss)

    def _broken(self, case: Case, place: Path, server: Server) -> str | None:
        """Breaks it; what is wrong with how the command took it."""
        if case.how in _LOSSES:
            self.lose_power(case.at, place, _LOSSES[case.how])
            return None
        if case.how in ("kill", "tear"):
            watch = Watch(place.with_name("watch"), place, "kill" if case.how == "kill" else "tear", case.at)
        else:
            number = getattr(errno, case.how)
            watch = Watch(place.with_name("watch"), place, "fill" if case.how == "ENOSPC" else "fail", case.at, number)
        watch.prepare()
        ended = server.run(self.stage.command(self.world, place), watch=watch)
        if case.how in ("kill", "tear"):
            done = self._difference(place) is None and not ended.code  # fewer operations than before: of two workers
            return None if ended.code == -9 or done else f"not killed, exit code {ended.code}: {ended.err[-200:]}"
        if not ended.code and not ended.problem():
            # It could do without, or it was another process's operation that the count had reached.
            wrong = self._difference(place)
            return f"exit code 0, but {wrong}" if wrong else None
        return ended.problem((1,), names=[str(place)])

    def _again(self, place: Path, server: Server) -> str | None:
        """The same command again, unless another break had left the same on disk."""
        left = _digest(place)
        with self._lock:
            known = left in self._resumed
            if known:
                return self._resumed[left]
        is_done = self.stage.once and self._difference(place) is None
        ended = server.run(self.stage.command(self.world, place))
        wrong = ended.problem((2,) if is_done else (0,)) or self._difference(place)
        problem = f"the same command again: {wrong}".replace(str(place), "…") if wrong else None
        with self._lock:
            self._resumed[left] = problem
        return problem

    @property
    def before(self) -> Path:
        return self.folder / "before/w"

    @property
    def _whole(self) -> Path:
        return self.folder / "whole/w"

    def _place(self, name: str, empty: bool = False) -> Path:
        place = self.folder / name / "w"
        place.parent.mkdir()
        if not empty:
            shutil.copytree(self.before, place)
        return place

    @cached_property
    def _expected(self) -> dict[str, str]:
        return content_of(self._whole)

    def _difference(self, place: Path) -> str | None:
        return difference(content_of(place), self._expected)


def judge(case: Case, world: World, folder: Path, server: Server) -> Judgement:
    """One case by itself."""
    breaker = Breaker(world, STAGES[case.stage], folder)
    breaker.begin(server)
    return breaker.judge(case, server)


def unseen(operations: list[Operation], before: Path, after: Path) -> list[str]:
    """Files with more in them than all the writes that were seen: somebody wrote around the shim."""
    written: dict[str, int] = {}
    for operation in operations:
        if operation.kind in ("write", "truncate", "allocate", "map"):
            written[operation.path] = written.get(operation.path, 0) + operation.size
        elif operation.kind == "rename":
            written[operation.other] = written.pop(operation.path, 0)
    return [
        str(path)
        for path in after.rglob("*")
        if path.is_file()
        and not (before / path.relative_to(after)).exists()
        and path.stat().st_size > written.get(str(path), 0)
    ]


def _telling(operations: list[Operation]) -> list[int]:
    """The numbers of all operations, but of writes in a row to one file only of the first, one amid, and the last."""
    numbers = []
    numbered = enumerate(operations, 1)
    for (kind, _), group in itertools.groupby(numbered, lambda item: (item[1].kind, item[1].path)):
        row = [number for number, _ in group]
        numbers += sorted({row[0], row[len(row) // 2], row[-1]}) if kind == "write" else row
    return numbers


def content_of(place: Path) -> dict[str, str]:
    """``tree``, with a database by the rows of its tables: DuckDB's bytes are not the same twice."""
    found = tree(place)
    for path in place.glob("*.duckdb"):
        with duckdb.connect(str(path), read_only=True) as database:
            names = [
                name for (name,) in database.execute("SELECT table_name FROM duckdb_tables() ORDER BY 1").fetchall()
            ]
            rows = [(name, sorted(map(str, database.execute(f'FROM "{name}"').fetchall()))) for name in names]
        found[path.name] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found


def _digest(place: Path) -> str:
    """What is on disk; a temporary name has the number of its process, which changes nothing."""
    lines = sorted(f"{_PROCESS.sub('.N.partial', name)}\t{digest}" for name, digest in tree(place).items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


__all__ = ["BREAKS", "Break", "Breaker", "Case", "Ended", "Judgement", "judge", "unseen"]
