"""Reads prompts from a file: Parquet, JSON Lines or CSV, with a column ``ids`` or ``text``.

``ids`` is a list of integers in Parquet and JSON; in CSV it is text, numbers with commas or spaces between them. Other
columns are left out. JSON Lines and CSV may be compressed (``.gz``, ``.zst``, ``.bz2``).
"""

import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from taskcatalog.errors import InputError

_COLUMNS = ("ids", "text")
_PACKED = (".gz", ".zst", ".bz2")


def read_prompts(path: Path) -> tuple[str, pa.ChunkedArray]:
    """The name of the column, ``ids`` where there are both, and the prompts as ``count_prompts`` takes them.

    Raises InputError where the file is missing, damaged or of another kind, or has no such column.
    """
    suffix = next((one for one in reversed(path.suffixes) if one not in _PACKED), "").lower()
    if suffix not in _READERS:
        raise InputError(f"{path}: its name tells no format: end it in {', '.join(_READERS)}")
    if not path.is_file():
        raise InputError(f"{path}: does not exist, or is no file")
    try:
        table = _READERS[suffix](path)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as {suffix[1:]} ({error})") from error
    name = next((name for name in _COLUMNS if name in table.column_names), None)
    if name is None:
        there = ", ".join(table.column_names)
        raise InputError(f"{path}: has no column 'ids' or 'text' (its columns are {there}): name one so")
    return name, table[name]


def _parquet(path: Path) -> pa.Table:
    with pq.ParquetFile(path) as file:
        there = [name for name in _COLUMNS if name in file.schema_arrow.names]
        return file.read(there or None)


def _json(path: Path) -> pa.Table:
    with pa.input_stream(str(path), compression="detect") as stream:
        return pyarrow.json.read_json(stream)


def _csv(path: Path) -> pa.Table:
    as_text = dict.fromkeys(_COLUMNS, pa.string())
    with pa.input_stream(str(path), compression="detect") as stream:
        table = pyarrow.csv.read_csv(
            stream,
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(column_types=as_text, strings_can_be_null=False),
        )
    if "ids" not in table.column_names:
        return table
    numbers = pc.split_pattern_regex(pc.utf8_trim_whitespace(table["ids"]), re.escape(",") + r"\s*|\s+")
    return pa.table({"ids": numbers.cast(pa.list_(pa.int64()))})


_READERS = {".parquet": _parquet, ".jsonl": _json, ".ndjson": _json, ".csv": _csv}
