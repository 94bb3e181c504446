"""How text and numbers are shown to people."""

from collections.abc import Sequence

from taskcatalog.terminal import printable

DRAWN = {chr(code): chr(0x2400 + code) for code in range(32)} | {"\x7f": "␡", " ": "·", "\n": "⏎", "\t": "⇥"}
"""What stands for a space and for the characters that move a cursor."""


def visible(text: str) -> str:
    """``text`` with its whitespace drawn and what cannot be printed escaped."""
    return printable("".join(DRAWN.get(c, c) for c in text))


def columns(rows: Sequence[Sequence[str]], align: str) -> list[str]:
    """Rows as lines of aligned columns; ``align`` has ``<`` or ``>`` for each column."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(align))] if rows else []
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)).rstrip()
        for row in rows
    ]


def amount(n_bytes: float) -> str:
    """Bytes as people say them: ``1.5 GB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1_000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1_000
    return f"{n_bytes:.3g} TB"


def duration(seconds: float) -> str:
    """A time as people say it: ``1 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
