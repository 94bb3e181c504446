"""The shim in C, compiled and called: which file operations a command does, and which of them breaks."""

import ctypes
import errno
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

How = Literal["pass", "kill", "tear", "fail", "fill"]
_HOW: tuple[How, ...] = ("pass", "kill", "tear", "fail", "fill")
"""In the order of the shim's own list."""
_LOG_BYTES, _HEAD_BYTES = 16 << 20, 16


@dataclass(frozen=True)
class Operation:
    """One operation, as the shim wrote it down."""

    kind: str
    path: str
    other: str
    """The new name, of a rename or a link."""
    size: int


@dataclass(frozen=True)
class Watch:
    """What the shim does in a command: watches ``root``, and breaks operation ``at``, counted from 1."""

    folder: Path
    """Of its own, outside of ``root``; made by ``prepare``."""
    root: Path
    how: How = "pass"
    at: int = 0
    number: int = errno.EIO
    """What a failed operation says."""
    keep: bool = False
    """Whether to keep what each sync has synced, as ``folder/synced/N``."""

    def prepare(self) -> None:
        (self.folder / "synced").mkdir(parents=True)
        strings = str(self.folder.resolve()).encode(), str(self.root.resolve()).encode()
        failed = library().prepare(*strings, self.at, _HOW.index(self.how), self.number, int(self.keep))
        assert not failed, f"{self.folder}: the state cannot be made"

    def operations(self) -> list[Operation]:
        """What was done so far, or begun and broken."""
        with (self.folder / "state").open("rb") as file:
            used = int.from_bytes(file.read(_HEAD_BYTES)[8:], "little")
            file.seek(-_padded_log(), 2)
            lines = file.read(used).decode().splitlines()
        return [Operation(kind, path, other, int(size)) for kind, path, other, size in (x.split("\t") for x in lines)]


def why_not() -> str | None:
    """Why the shim cannot be used here; None where it can."""
    if sys.platform != "linux":
        return "the shim that breaks file operations is for Linux"
    return None if shutil.which("cc") else "there is no C compiler (cc) to make the shim that breaks file operations"


@cache
def shared_library() -> Path:
    """The compiled shim, in a temporary folder."""
    out = Path(tempfile.mkdtemp(prefix="faults-")) / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", out, source, "-ldl", "-lpthread"], check=True)
    return out


@cache
def library() -> ctypes.CDLL:
    loaded = ctypes.CDLL(str(shared_library()))
    loaded.prepare.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long, *[ctypes.c_int] * 3]
    return loaded


def _padded_log() -> int:
    """The list is the last field of the state; its structure is padded to eight bytes, which the list's size fits."""
    return _LOG_BYTES
