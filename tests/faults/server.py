"""Runs commands in forks of this process, which has imported all that they need.

``python -m faults.server`` reads one JSON object a line from its standard input and answers each by another. What
imports cost, which is most of what a small command costs, is then paid once. A fork is a session and a process group
of its own, so that it can be killed with its workers, and nothing of it is left when the answer comes.

Only what starts no threads is done before the fork: a fork has none of its parent's.
"""

import ctypes
import json
import os
import select
import signal
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

_MODULES = (
    "duckdb", "fsspec.implementations.local", "gigatoken", "numba", "pyarrow.parquet", "tokenizers", "upath",
    "taskcatalog.cli", "taskcatalog.catalog.catalog", "taskcatalog.catalog.export", "taskcatalog.catalog.results",
    "taskcatalog.converting.stage", "taskcatalog.tokenizing.stage", "taskcatalog.counting.stage",
    "taskcatalog.documents.hub", "taskcatalog.stores.kernels", "taskcatalog.planning",
    "taskcatalog.verification",
)  # fmt: skip
_WITH_MODELS = (
    "torch", "transformers.models.llama.modeling_llama", "transformers.models.gpt_neox.modeling_gpt_neox",
    "taskcatalog.tasks.predict", "taskcatalog.tasks.scan",
)  # fmt: skip
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    for module in _MODULES + _WITH_MODELS:
        import_module(module)
    _load_kernels()
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    names = sorted((thread / "comm").read_text().strip() for thread in Path("/proc/self/task").iterdir())
    print(json.dumps({"threads": names}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), file=answers, flush=True)


def _load_kernels() -> None:
    """Loads what Numba has compiled before; where it is not to be found so, each fork loads it by itself."""
    for module in ("taskcatalog.counting.kernels", "taskcatalog.stores.kernels"):
        for kernel in vars(import_module(module)).values():
            compiled: Any = getattr(getattr(kernel, "_cache", None), "_cache_file", None)
            for signature, *_ in compiled._load_index() if hasattr(compiled, "_load_index") else ():
                kernel.compile(signature)


def _run(asked: dict[str, Any]) -> dict[str, Any]:
    started = time.monotonic()
    child = os.fork()
    if not child:
        _be_the_command(asked)
    late = not _ended(child, asked["seconds"])
    if late:
        os.killpg(child, signal.SIGKILL)
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return {
        "code": code,
        "late": late,
        "left": _end_all_of(child),
        "kilobytes": usage.ru_maxrss,
        "seconds": time.monotonic() - started,
    }


def _ended(child: int, seconds: float) -> bool:
    descriptor = os.pidfd_open(child)
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)


def _end_all_of(group: int) -> bool:
    """Kills what is left of a command, and waits for it; whether something was."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return False
    try:
        while True:
            os.waitpid(-group, 0)
    except ChildProcessError:
        return True


def _be_the_command(asked: dict[str, Any]) -> None:
    """Ends this process as the command would have ended."""
    code: Any = 70
    try:
        os.setsid()
        for number, name in ((0, os.devnull), (1, asked["out"]), (2, asked["err"])):
            descriptor = os.open(name, os.O_RDONLY if number == 0 else os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(asked["folder"])
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        sys.argv = ["taskcatalog", *asked["arguments"]]
        if asked["watch"]:
            os.environ["FAULTS"] = asked["watch"]  # for the workers
            assert not ctypes.CDLL(os.environ["LD_PRELOAD"]).watch(os.fsencode(asked["watch"]))
        if asked["script"]:
            exec(compile(Path(asked["script"]).read_text(), asked["script"], "exec"), {"__name__": "__main__"})
        else:
            from taskcatalog.cli import main as command

            command(asked["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


if __name__ == "__main__":
    main()
