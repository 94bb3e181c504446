"""What is printed, and how much: to a terminal, text of others is shown without what a terminal would obey.

A file name, a token or an error's message may hold escape sequences, which can clear the screen, change what stands
on it or the order of its letters. All that cannot be seen is written as an escape (``\\x1b``, ``\\u202e``). A pipe or a
file gets the characters as they are; the standard error stream never does, as it ends up on a terminal in the end.
"""

import os
import sys
from enum import Enum
from pathlib import Path
from typing import TextIO, cast

_READER_GONE = 141
"""What a shell says of a program that wrote to a pipe which nobody reads any more."""


class Loudness(Enum):
    """How much a process says beside its results."""

    QUIET = "errors only"
    NORMAL = "progress and notes"
    VERBOSE = "and details"


_loudness = Loudness.NORMAL


def set_loudness(loudness: Loudness) -> None:
    """Sets how much this process says from now on."""
    global _loudness
    _loudness = loudness


def is_loud(least: Loudness) -> bool:
    """Whether this process says what belongs to this loudness."""
    order = list(Loudness)
    return order.index(_loudness) >= order.index(least)


def printable(text: str, kept: str = "") -> str:
    """``text`` with every character that cannot be seen as an escape, but spaces and those ``kept``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else _escape(c) for c in text)


def one_line(text: str) -> str:
    """``text`` on one line, printable."""
    return printable(" ".join(line.strip(" \t\r") for line in text.strip().split("\n")))


def open_streams() -> None:
    """Opens what a caller has closed of the three standard streams, to nowhere: the next file would take its place."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    nowhere = Path(os.devnull)
    sys.stdout = sys.stdout or nowhere.open("w")
    sys.stderr = sys.stderr or nowhere.open("w")


def say(text: str) -> None:
    """A line on the standard output."""
    SCREEN.write(text + "\n")


def warn(text: str, kept: str = "") -> None:
    """A line on the standard error stream."""
    print(printable(text, kept), file=sys.stderr)


class Screen:
    """The standard output, as it is when it is written to."""

    def write(self, text: str) -> int:
        stream = sys.stdout
        if stream is None:  # closed by the caller
            return len(text)
        if stream.isatty():
            text = printable(text, "\n\t")
        try:
            stream.write(_encodable(text, stream.encoding or "utf-8"))
        except BrokenPipeError:
            _leave()
        return len(text)

    def flush(self) -> None:
        if sys.stdout is not None:
            try:
                sys.stdout.flush()
            except BrokenPipeError:
                _leave()


SCREEN = cast(TextIO, Screen())
"""For whatever writes to a stream of text."""


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _encodable(text: str, encoding: str) -> str:
    """``text``, with an escape for what the output's encoding lacks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.encode(encoding, "backslashreplace").decode(encoding)
    return text


def _leave() -> None:
    """Ends quietly, as in ``taskcatalog sql … | head``: nobody wants the rest."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still to be flushed
    sys.exit(_READER_GONE)
