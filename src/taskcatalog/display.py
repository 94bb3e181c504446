"""How text, numbers and tables are shown to people."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TextIO

import duckdb

from taskcatalog.catalog.files import written_atomically
from taskcatalog.errors import SettingsError
from taskcatalog.terminal import SCREEN, printable

TableFormat = Literal["table", "csv", "json", "parquet"]
_SHOWN_AS = {" ": "·", "\n": "⏎", "\t": "⇥", "\r": "␍"}
_ROWS_AT_ONCE = 10_000


def visible(text: str) -> str:
    """``text`` with its whitespace drawn and what cannot be printed escaped."""
    return printable("".join(_SHOWN_AS.get(c, c) for c in text))


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


def write_result(relation: duckdb.DuckDBPyRelation, kind: TableFormat, out: Path | None) -> None:
    """Writes a query's rows to a file, or to the standard output; rows are streamed, never all in memory."""
    if kind == "parquet":
        if out is None:
            raise SettingsError("format parquet needs a file: name it with --out")
        with written_atomically(out) as temporary:
            relation.write_parquet(str(temporary))
    elif kind == "table":
        text = str(relation)
        _to_file_or_screen(out, lambda stream: stream.write(text + "\n"))
    else:
        writer = _write_csv if kind == "csv" else _write_json
        _to_file_or_screen(out, lambda stream: writer(relation, stream))


def _to_file_or_screen(out: Path | None, write: Any) -> None:
    if out is None:
        write(SCREEN)
        return
    with written_atomically(out) as temporary, temporary.open("w", encoding="utf-8") as stream:
        write(stream)


def _write_csv(relation: duckdb.DuckDBPyRelation, stream: TextIO) -> None:
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(relation.columns)
    for batch in relation.to_arrow_reader(_ROWS_AT_ONCE):
        writer.writerows([_plain(cell) for cell in row.values()] for row in batch.to_pylist())


def _write_json(relation: duckdb.DuckDBPyRelation, stream: TextIO) -> None:
    """An array of objects, one a line."""
    separator = "[\n"
    for batch in relation.to_arrow_reader(_ROWS_AT_ONCE):
        for row in batch.to_pylist():
            stream.write(separator + json.dumps(row, ensure_ascii=False, default=_plain))
            separator = ",\n"
    stream.write("[]\n" if separator == "[\n" else "\n]\n")


def _plain(cell: Any) -> Any:
    """Raw bytes as hexadecimal digits; what JSON and CSV know stays."""
    if isinstance(cell, bytes):
        return cell.hex()
    return cell if cell is None or isinstance(cell, int | float | str | list) else str(cell)
