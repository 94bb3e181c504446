"""Runs streams of parts in worker processes of this machine.

A stream is work that can only be done from its start to its end, such as a compressed file, and that hands
over finished parts on its way. A stream that is stopped goes on after its last finished part. A worker
that dies, for want of memory or by a fault of compiled code, is replaced, and its stream goes on likewise.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, TypeVar

from tqdm import tqdm

from taskcatalog.errors import TaskcatalogError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.local import PartResult, Work
from taskcatalog.runs.progress import note, progress_bar

S = TypeVar("S")
Do = Callable[[S, int], Iterator[int | PartResult]]
"""Does a stream from its part of the given number on. Yields each part as it is finished, and before that, if it takes
long, how much more of it was done."""
_DEATHS = 3


@dataclass(eq=False)
class _Worker:
    process: "subprocess.Popen[bytes]"
    connection: Connection
    do: Do[Any]
    stream: str


@dataclass
class _Run:
    """The streams of one stage: which are left, and how each is getting on."""

    ledger: Ledger
    bar: "tqdm[Any]"
    also: tuple[str, int] | None
    also_done: int
    deaths: dict[str, int] = field(default_factory=dict)
    under_way: dict[str, int] = field(default_factory=dict)
    """How much of each stream's unfinished part is done."""

    def parts_done(self, stream: str) -> int:
        number = 0
        while _part_name(stream, number) in self.ledger.parts:
            number += 1
        return number

    def is_done(self, stream: str) -> bool:
        number = self.parts_done(stream)
        return number > 0 and bool(self.ledger.parts[_part_name(stream, number - 1)].facts["last"])

    def take(self, stream: str, result: int | PartResult) -> None:
        if isinstance(result, int):
            self.under_way[stream] = self.under_way.get(stream, 0) + result
            self.bar.update(result)
            return
        name = _part_name(stream, self.parts_done(stream))
        facts = dict(result.facts) | {"amount": result.amount}
        self.ledger.finish_part(name, result.files, facts, result.elsewhere)
        self.bar.update(result.amount - self.under_way.pop(stream, 0))
        if self.also is not None:
            name, total = self.also
            self.also_done += facts[name]
            self.bar.set_postfix_str(f"{tqdm.format_sizeof(self.also_done)}/{tqdm.format_sizeof(total)} {name}")

    def lose(self, stream: str) -> None:
        """What was done of its unfinished part is lost."""
        self.bar.update(-self.under_way.pop(stream, 0))


def run_streams(ledger: Ledger, streams: Mapping[str, S], dos: Sequence[Do[S]], work: Work) -> None:
    """Does what the ledger does not have yet of every stream, with a worker process for each of ``dos``.

    With one worker, or one stream, all runs in this process. The first error stops the stage, with what is
    finished kept. Raises TaskcatalogError where workers die again and again.
    """
    _forget_behind_gaps(ledger, streams)
    ours = [part.facts for name, part in ledger.parts.items() if name.rpartition("-")[0] in streams]
    done = sum(facts["amount"] for facts in ours)
    also_done = sum(facts[work.also[0]] for facts in ours) if work.also else 0
    with progress_bar(work.description, work.total, work.unit, done) as bar:
        run = _Run(ledger, bar, work.also, also_done)
        left = {name: stream for name, stream in streams.items() if not run.is_done(name)}
        if len(dos) == 1 or len(left) <= 1:
            for name, stream in left.items():
                for result in dos[0](stream, run.parts_done(name)):
                    run.take(name, result)
        else:
            _run_in_workers(run, left, dos[: len(left)], work)


def _forget_behind_gaps(ledger: Ledger, streams: Iterable[str]) -> None:
    """Takes back parts that come after a missing one: a stream is done from its start to its end."""
    behind = []
    numbers: dict[str, set[int]] = {}
    for name in ledger.parts:
        stream, _, number = name.rpartition("-")
        numbers.setdefault(stream, set()).add(int(number) if number.isdecimal() else 0)
    for stream in streams:
        done = numbers.get(stream, set())
        behind += [_part_name(stream, number) for number in done if not done.issuperset(range(number))]
    if behind:
        ledger.forget(behind)


def _part_name(stream: str, number: int) -> str:
    return f"{stream}-{number:05d}"


def _run_in_workers(run: _Run, streams: Mapping[str, S], dos: Sequence[Do[S]], work: Work) -> None:
    waiting = iter(streams)
    active: dict[Connection, _Worker] = {}
    with ExitStack() as stack:
        stack.callback(_end_all, active)

        def give(worker: _Worker, stream: str) -> None:
            worker.stream = stream
            worker.connection.send((streams[stream], run.parts_done(stream)))

        for do in dos:
            worker = _start(do)
            active[worker.connection] = worker
            give(worker, next(waiting))
        while active:
            for connection in wait(list(active)):
                assert isinstance(connection, Connection)
                worker = active[connection]
                try:
                    kind, content = connection.recv()
                except (EOFError, ConnectionError):
                    del active[connection]
                    _end(worker)
                    run.lose(worker.stream)
                    _count_death(run, worker, work)
                    replacement = _start(worker.do)
                    active[replacement.connection] = replacement
                    give(replacement, worker.stream)
                    continue
                if kind == "result":
                    run.take(worker.stream, content)
                elif kind == "error":
                    raise content
                elif (stream := next(waiting, None)) is not None:
                    give(worker, stream)
                else:
                    del active[connection]
                    _end(worker)


def _count_death(run: _Run, worker: _Worker, work: Work) -> None:
    """Raises TaskcatalogError where a stream has cost too many workers."""
    code = worker.process.returncode
    cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    deaths = run.deaths[worker.stream] = run.deaths.get(worker.stream, 0) + 1
    place = f"{work.description}: a worker died ({cause}) in part {_part_name(worker.stream, 0)} or after"
    if deaths == _DEATHS:
        raise TaskcatalogError(
            f"{place}, {deaths} times: is memory short? The same command goes on from here; give it fewer --workers"
        )
    note(f"{place}: it is done again")


def _start(do: Do[Any]) -> _Worker:
    # A fork is not safe with the threads that tokenizers and Arrow keep, and what multiprocessing spawns begins
    # with the caller's script, all over again where that has no guard against it.
    ours, theirs = Pipe()
    with theirs:
        command = [sys.executable, "-m", "taskcatalog.runs.worker", str(theirs.fileno()), str(os.getpid())]
        path = os.pathsep.join(filter(None, sys.path))
        environment = os.environ | {"PYTHONPATH": path}
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()], env=environment)
    ours.send(do)
    return _Worker(process, ours, do, "")


def _end(worker: _Worker) -> None:
    worker.connection.close()
    worker.process.terminate()
    worker.process.wait()


def _end_all(active: Mapping[Connection, _Worker]) -> None:
    for worker in active.values():
        _end(worker)
