"""Kills of real commands from outside: once something has happened, after so many parts, or at any moment."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from taskcatalog.errors import InputError
from taskcatalog.runs.ledger import Ledger

_LOOK_SECONDS = 0.02


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "taskcatalog", *map(str, arguments)]


def run(arguments: list[str]) -> None:
    subprocess.run(arguments, check=True, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def kill_once(arguments: list[str], happened: Callable[[], bool]) -> bool:
    """Starts a command and kills it once something has happened; False if it ended well first."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        if happened():
            process.kill()  # and not its workers: they must notice by themselves
            process.wait()
            return True
        time.sleep(_LOOK_SECONDS)
    assert process.returncode == 0
    return False


def finished_parts(stage: Path) -> int:
    """How many parts the ledger of a stage records; 0 before there is one."""
    try:
        return len(Ledger.read(stage).parts)
    except InputError:
        return 0


def kill_after_parts(arguments: list[str], stage: Path, n_parts: int) -> bool:
    """Starts a command and kills it once it has done so many more parts; False if it ended first."""
    goal = finished_parts(stage) + n_parts
    return kill_once(arguments, lambda: finished_parts(stage) >= goal)


def kill_until_done(arguments: list[str], stage: Path, n_parts: int) -> int:
    """Kills the command each time it has done some more parts, until it ends; returns the number of kills."""
    kills = 0
    while kill_after_parts(arguments, stage, n_parts):
        kills += 1
    return kills


def kill_ever_later(arguments: list[str], step: float) -> int:
    """Kills the command and its workers after one step, then two, and so on; returns how often until it ended."""
    kills = 0
    while True:
        process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            assert process.wait((kills + 1) * step) == 0
            return kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1
