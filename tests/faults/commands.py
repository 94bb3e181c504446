"""Runs commands of taskcatalog in forks of a server, and judges how they ended."""

import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.shim import Watch, shared_library, why_not

SECONDS = 60.0
"""How long a command may take before it counts as hung."""
MEMORY = 2 << 30
"""How much memory a command on a tiny input may take."""
_TESTS, _SOURCE = Path(__file__).parents[1], Path(__file__).parents[2] / "src"
_ONE_CORE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    arguments: tuple[str, ...]
    code: int
    """Exit code; negative where a signal ended it."""
    out: str
    err: str
    late: bool = False
    left: bool = False
    """Whether processes of it were still there."""
    bytes: int = 0
    seconds: float = 0.0

    def problem(self, codes: Sequence[int] = (0,), names: Sequence[str] = ()) -> str | None:
        """Why this is no good end, in one line; None where it is one.

        A good end is one of the exit codes ``codes``; where it is not 0, with one line that says one of ``names``.
        """
        if self.late:
            return "hung"
        if "Traceback (most recent call last)" in self.err:
            raised = [
                line
                for line in self.err.strip().splitlines()
                if line.strip() and not line.startswith((" ", "taskcatalog: "))
            ]
            return f"traceback: {raised[-1][:200]}"
        if self.bytes > MEMORY:
            return f"took {self.bytes >> 20} MiB"
        said = [line for line in self.err.splitlines() if line.strip()]
        if self.code not in codes:
            return f"exit code {self.code}, not {' or '.join(map(str, codes))}: {' | '.join(said)[-300:]}"
        if self.code:
            if not said or not said[-1].startswith(("taskcatalog: ", "Error: ")):  # Error: of click
                return f"no line says what is wrong: {' | '.join(said)[-300:]}"
            if names and not any(name in said[-1] for name in names):
                return f"the line names no file: {said[-1][:300]}"
        if self.left:
            return "left processes behind"
        return None


class Server:
    """One server process; one command at a time. Use it as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        environment = os.environ | _ONE_CORE | {"PYTHONPATH": os.pathsep.join([str(_SOURCE), str(_TESTS)])}
        if why_not() is None:
            environment["LD_PRELOAD"] = str(shared_library())
        self._process = subprocess.Popen(
            [sys.executable, "-m", "faults.server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment, cwd=_TESTS,
        )  # fmt: skip
        self._number = 0
        self._started: dict[str, Any] | None = None

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        with self._process:  # waits, and closes the other pipe
            pass

    def run(
        self,
        arguments: Sequence[object],
        *,
        watch: Watch | None = None,
        script: Path | None = None,
        seconds: float = SECONDS,
        folder: Path | None = None,
    ) -> Ended:
        """Runs a command, or with ``script`` a Python program; in ``folder``, if it matters where."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self._started is None:
            self._started = json.loads(self._process.stdout.readline())
            # The allocator of Arrow starts its own thread again after a fork.
            others = [name for name in self._started["threads"] if name != "jemalloc_bg_thd"]
            assert len(others) == 1, f"a fork would lose threads: {others}"
        self._number += 1
        out, err = self._folder / f"{self._number}.out", self._folder / f"{self._number}.err"
        words = tuple(map(str, arguments))
        asked = {
            "arguments": words,
            "folder": str(folder or self._folder),
            "out": str(out),
            "err": str(err),
            "watch": str(watch.folder) if watch else None,
            "script": str(script) if script else None,
            "seconds": seconds,
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        ended = Ended(
            words,
            answer["code"],
            out.read_text(errors="replace"),
            err.read_text(errors="replace"),
            answer["late"],
            answer["left"],
            answer["kilobytes"] << 10,
            answer["seconds"],
        )
        out.unlink()
        err.unlink()
        return ended

    def must(self, *arguments: object) -> Ended:
        """Runs a command that has to end well."""
        ended = self.run(arguments)
        assert ended.problem() is None, f"{shlex.join(ended.arguments)}: {ended.problem()}"
        return ended


@dataclass
class Servers:
    """A server for each thread that asks for one."""

    folder: Path
    _own: threading.local = field(default_factory=threading.local)
    _all: list[Server] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mine(self) -> Server:
        if not hasattr(self._own, "server"):
            with self._lock:
                self._own.server = Server(self.folder / f"server-{len(self._all)}")
                self._all.append(self._own.server)
        server: Server = self._own.server
        return server

    def close(self) -> None:
        for server in self._all:
            server.__exit__()


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    started = Servers(folder)
    try:
        yield started
    finally:
        started.close()
