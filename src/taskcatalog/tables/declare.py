"""How a table is declared: its columns, its files, the order of its rows, and the rules that they keep."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Literal

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike

from taskcatalog.runs.stage import Stage

Type = Literal[
    "id", "ids", "uint8", "uint32", "uint64", "int64", "float32", "float64", "boolean", "text", "repeated text", "bytes"
]
"""``id`` is as wide as the vocabulary needs, ``ids`` a list of those. ``repeated text`` stores each text once."""
_TYPES: Mapping[str, pa.DataType] = {
    **{name: getattr(pa, name)() for name in ("uint8", "uint32", "uint64", "int64", "float32", "float64")},
    "boolean": pa.bool_(),
    "text": pa.string(),
    "repeated text": pa.dictionary(pa.int32(), pa.string()),
    "bytes": pa.binary(),
}
LABEL = "<label>"
"""In the name of a column that each model has one of: the model's label."""
ORIGINAL = "the original's column"
"""The source of a column that the first catalog of this kind has, too."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column of a table."""

    name: str
    type: Type
    meaning: str
    """A sentence without its full stop, in Markdown."""
    unit: str = ""
    """Of a number that has one."""
    source: str = ""
    """A formula, or where the column comes from."""
    least: float | None = None
    most: float | None = None
    """Bounds that every value keeps, themselves included."""
    may_be_null: bool = False

    def field(self, ids: DTypeLike) -> pa.Field:
        """The column in Arrow, where ids are of the type ``ids``."""
        return pa.field(self.name, self._arrow_type(pa.from_numpy_dtype(ids)), nullable=self.may_be_null)

    def _arrow_type(self, ids: pa.DataType) -> pa.DataType:
        if self.type == "ids":
            return pa.list_(pa.field("element", ids, nullable=False))
        return ids if self.type == "id" else _TYPES[self.type]

    def of_model(self, label: str) -> "Column":
        """The column of the model with this label."""
        return replace(self, name=self.name.replace(LABEL, label), meaning=self.meaning.replace(LABEL, label))

    def described(self) -> str:
        """What it means, its unit and its source, in one line."""
        unit = f" ({self.unit})" if self.unit else ""
        return "; ".join(part for part in (self.meaning + unit, self.source) if part)


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for each row of a query."""

    hold: Mapping[str, str]
    """The rule in words, in Markdown: the condition, in SQL."""
    over: str = "{rows}"
    """What SQL selects from: the rows of the table, or a query in parentheses.

    Here and in the conditions stand in braces: ``rows``, and the settings and facts of the ledger that tells the rows.
    """
    needs: tuple[str, ...] = ()
    """Other tables that ``over`` reads: without them the rules say nothing."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """One table of a catalog or of a token store."""

    name: str
    about: str
    """What its rows are, in Markdown."""
    columns: tuple[Column, ...]
    stage: str = ""
    """Which one writes its files; none of a table that only a query makes."""
    folder: str = ""
    """Of that stage, below the catalog's or the store's."""
    files: tuple[str, ...] = ()
    """Patterns of its files below the stage's folder."""
    command: str = ""
    """What makes it."""
    order: tuple[str, ...] = ()
    """Terms by which rows ascend, strictly, from one to the next and from one file of a model to the next."""
    key: tuple[str, ...] = ()
    """Columns that together are never the same twice, where ``order`` does not say so."""
    n_rows: str = ""
    """How many rows there are, in facts of the ledger."""
    rules: tuple[Rules, ...] = ()
    of_each_model: Column | None = None
    """A column that SQL adds for each model that was asked."""

    def schema(self, ids: DTypeLike = np.uint32) -> pa.Schema:
        """The columns of its files, where ids are of the type ``ids``."""
        return pa.schema([column.field(ids) for column in self.columns])

    def column(self, name: str) -> Column | None:
        """The column of that name, one model's among them."""
        if found := next((column for column in self.columns if column.name == name), None):
            return found
        if self.of_each_model and name.startswith(start := self.of_each_model.name.removesuffix(LABEL)):
            return self.of_each_model.of_model(name.removeprefix(start))
        return None

    def owns(self, file: PurePath) -> bool:
        """Whether a path below the stage's folder is of one of its files."""
        return Stage(self.stage, self.files).owns_file(file)


def columns_like(names: Sequence[str], column: Column) -> list[Column]:
    """Columns that differ in their names."""
    return [replace(column, name=name) for name in names]
