"""Workers on this machine: the calling thread, threads, or processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, Pipe, wait
from queue import SimpleQueue

from taskcatalog.runs.jobs import Ended, Event, Job, Lost, Waiting, events_of
from taskcatalog.runs.worker import NUMBER


class Inline:
    """The calling thread."""

    def run(self, waiting: Waiting) -> Generator[Event, None, None]:
        while (taken := waiting.take()) is not None:
            yield from events_of(*taken)


@dataclass(frozen=True)
class Threads:
    """For jobs that spend their time in NumPy, Numba or Arrow, which release the interpreter's lock."""

    workers: int

    def run(self, waiting: Waiting) -> Generator[Event, None, None]:
        if self.workers == 1 or len(waiting) <= 1:
            yield from Inline().run(waiting)
            return
        events: SimpleQueue[Event | BaseException] = SimpleQueue()

        def do(job: Job, first: int) -> None:
            try:
                for event in events_of(job, first):
                    events.put(event)
            except BaseException as error:
                events.put(error)

        executor, at_work = ThreadPoolExecutor(self.workers), 0
        try:
            while True:
                # A few more than there are threads, so that none waits; not all, which may be millions.
                while at_work < 2 * self.workers and (taken := waiting.take()) is not None:
                    executor.submit(do, *taken)
                    at_work += 1
                if not at_work:
                    return
                event = events.get()
                if isinstance(event, BaseException):
                    raise event
                at_work -= isinstance(event, Ended)
                yield event
        finally:
            executor.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Processes:
    """For jobs that need the interpreter, or a device each: worker ``i`` knows its number (see ``worker``).

    A worker that dies, for want of memory or by a fault of compiled code, is replaced.
    """

    workers: int

    def run(self, waiting: Waiting) -> Generator[Event, None, None]:
        if self.workers == 1 or len(waiting) <= 1:
            yield from Inline().run(waiting)
            return
        at_work: dict[Connection, _Worker] = {}

        def give(worker: _Worker) -> None:
            if (taken := waiting.take()) is None:
                worker.end()
            else:
                at_work[worker.connection] = worker
                worker.begin(*taken)

        try:
            for number in range(min(self.workers, len(waiting))):
                give(_Worker(number))
            while at_work:
                for connection in wait(list(at_work)):
                    assert isinstance(connection, Connection)
                    worker = at_work[connection]
                    try:
                        event: Event | Exception = connection.recv()
                    except (EOFError, ConnectionError):
                        del at_work[connection]
                        yield Lost(worker.job, worker.end())
                        give(_Worker(worker.number))
                        continue
                    if isinstance(event, Exception):
                        raise event
                    yield event
                    if isinstance(event, Ended):
                        del at_work[connection]
                        give(worker)
        finally:
            for worker in at_work.values():
                worker.end()


class _Worker:
    """One process, and the job that it does."""

    def __init__(self, number: int) -> None:
        # A fork is not safe with the threads that tokenizers and Arrow keep, and what multiprocessing spawns begins
        # with the caller's script, all over again where that has no guard against it.
        self.number, self.job = number, ""
        self.connection, theirs = Pipe()
        path = os.pathsep.join(filter(None, sys.path))
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "taskcatalog.runs.worker", str(theirs.fileno()), str(os.getpid())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=os.environ | {"PYTHONPATH": path, NUMBER: str(number)},
            )

    def begin(self, job: Job, first: int) -> None:
        self.job = job.name
        with suppress(ConnectionError):  # it died: the connection tells
            self.connection.send((job, first))

    def end(self) -> str:
        """Says how it ended, if it had before."""
        self.connection.close()
        self._process.terminate()
        code = self._process.wait()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
