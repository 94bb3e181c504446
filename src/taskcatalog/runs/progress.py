"""Progress bars: shown on a terminal, silent elsewhere."""

import sys
from typing import Any

from tqdm import tqdm

from taskcatalog.terminal import one_line


def progress_bar(description: str, total: int | None, unit: str, done: int = 0) -> "tqdm[Any]":
    """A bar with rate and time left, from ``done`` to ``total``; use it as a context manager."""
    return tqdm(
        total=total,
        initial=done,
        desc=description,
        unit=f" {unit}",
        unit_scale=True,
        disable=None,
        dynamic_ncols=True,
    )


def note(text: str) -> None:
    """One line on the standard error stream, above a bar that is shown."""
    tqdm.write(f"taskcatalog: {one_line(text)}", file=sys.stderr)
