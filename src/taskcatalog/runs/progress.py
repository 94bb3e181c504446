"""Progress: a bar on a terminal; elsewhere, as in the log of a cluster's job, a line now and then.

A terminal's bar shows rate and time left. Where the standard error stream is no terminal, work that takes longer than
half a minute says so in a line every half minute.
"""

import sys
from typing import Any

from tqdm import tqdm

from taskcatalog.terminal import Loudness, is_loud, one_line

_SECONDS_BETWEEN_LINES = 30
_LINE = "{desc}: {percentage:.0f}%, {n_fmt} of {total_fmt}{unit}, {rate_fmt}, {remaining} left{postfix}"
_LINE_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_fmt}, {elapsed} passed{postfix}"


class _Lines(tqdm):  # type: ignore[type-arg]
    """A bar that is written as lines."""

    def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002
        self.fp.write(f"taskcatalog: {one_line(msg or str(self))}\n")
        self.fp.flush()

    def close(self) -> None:
        """Ends it, with a last line if there was one before."""
        if self.disable:
            return
        self.disable = True
        type(self)._decr_instances(self)  # type: ignore[attr-defined]
        if self.last_print_t >= self.start_t + _SECONDS_BETWEEN_LINES:
            self.display()


def progress_bar(description: str, total: int | None, unit: str, done: int = 0) -> "tqdm[Any]":
    """A bar with rate and time left, from ``done`` to ``total``; use it as a context manager."""
    settings: dict[str, Any] = {"total": total, "initial": done, "desc": description, "unit": f" {unit}"}
    if sys.stderr.isatty() or not is_loud(Loudness.NORMAL):
        hidden = not is_loud(Loudness.NORMAL)
        return tqdm(**settings, unit_scale=True, dynamic_ncols=True, disable=hidden)
    return _Lines(
        **settings,
        unit_scale=True,
        mininterval=_SECONDS_BETWEEN_LINES,
        maxinterval=_SECONDS_BETWEEN_LINES,
        delay=_SECONDS_BETWEEN_LINES,
        bar_format=_LINE if total else _LINE_WITHOUT_TOTAL,
    )


def note(text: str) -> None:
    """One line on the standard error stream, above a bar that is shown."""
    if is_loud(Loudness.NORMAL):
        tqdm.write(f"taskcatalog: {one_line(text)}", file=sys.stderr)
