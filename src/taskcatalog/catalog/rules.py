"""Whether rows are as their table is declared: their columns, their order, their bounds, the rules that they keep.

DuckDB looks at them, within its limit of memory, and spills to disk.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.tables.declare import Column, Rules, Table
from taskcatalog.tables.sorting import parquet_files


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a table that one stage made."""

    table: Table
    files: list[Path]
    where: str
    identity: StoreIdentity
    known: Mapping[str, str]
    """What rules name in braces, in SQL."""
    there: frozenset[str]
    """The tables that the stage made."""

    @property
    def sql(self) -> str:
        return parquet_files(self.files)

    def problems(self, database: duckdb.DuckDBPyConnection) -> Iterator[str]:
        """What is wrong, one line each. Where columns are, rules say nothing."""
        if found := list(self._other_columns()):
            yield from found
            return
        yield from self._out_of_order(database)
        for rules in self.rules():
            if self.there.issuperset(rules.needs):
                yield from self._broken(database, rules)

    def rules(self) -> list[Rules]:
        """Those that the declarations of table and columns make, and those that the table names."""
        rules = [Rules(hold=self._bounds()), *self.table.rules]
        if names := ", ".join(self.table.key):
            times = f"(SELECT count(*) AS times FROM {{rows}} GROUP BY {names})"
            rules.append(Rules(over=times, hold={f"no two rows have the same {names}": "times = 1"}))
        if expected := self.table.n_rows:
            counted = "(SELECT count(*) AS n FROM {rows})"
            rules.append(Rules(over=counted, hold={"there are as many rows as the ledger says": f"n = {expected}"}))
        return rules

    def _other_columns(self) -> Iterator[str]:
        schema = self.table.schema(self.identity.id_dtype)
        declared = [f"{field.name} {field.type}" for field in schema]
        for path in self.files:
            there = [f"{field.name} {field.type}" for field in pq.read_schema(path)]
            if there != declared:
                yield f"{path}: its columns are {', '.join(there)}, not {', '.join(declared)}"

    def _out_of_order(self, database: duckdb.DuckDBPyConnection) -> Iterator[str]:
        """Looks for rows that are not above the row before them, in the order of the files."""
        if not self.table.order:
            return
        # DuckDB reads files and rows in their order, and streams such a window.
        row = f"row({', '.join(map(self._ascending, self.table.order))})"
        unsorted = f"SELECT {row} > lag({row}) OVER () AS above FROM {self.sql}"
        [(count,)] = database.sql(f"SELECT count(*) FROM ({unsorted}) WHERE NOT above").fetchall()
        if count:
            yield f"{self.where}: rows are not in the order of {', '.join(self.table.order)} ({count} rows)"

    def _ascending(self, term: str) -> str:
        name = term.removesuffix(" DESC")
        column = self.table.column(name)
        assert column is not None
        if name == term:
            return name
        return f"-{name}::HUGEINT" if column.type == "uint64" else f"-{name}"

    def _bounds(self) -> dict[str, str]:
        """That numbers are finite and within their bounds, and ids within the vocabulary."""
        hold = {}
        for column in self.table.columns:
            if conditions := self._bounds_of(column):
                may_be_null = f"{column.name} IS NULL OR " if column.may_be_null else ""
                hold[f"`{column.name}` is {' and '.join(conditions)}"] = (
                    f"{may_be_null}({' AND '.join(conditions.values())})"
                )
        return hold

    def _bounds_of(self, column: Column) -> dict[str, str]:
        name, size = column.name, self.identity.vocabulary_size
        conditions = {}
        if column.type in ("float32", "float64"):
            conditions["finite"] = f"isfinite({name})"
        if column.type == "id":
            conditions[f"below {size}"] = f"{name} < {size}"
        if column.type == "ids":
            conditions[f"below {size}"] = f"list_max({name}) < {size}"
        if column.least is not None:
            conditions[f"at least {column.least:g}"] = f"{name} >= {column.least}"
        if column.most is not None:
            conditions[f"at most {column.most:g}"] = f"{name} <= {column.most}"
        return conditions

    def _broken(self, database: duckdb.DuckDBPyConnection, rules: Rules) -> Iterator[str]:
        """Looks for rows that break some rules: all of them in one pass."""
        known = {**self.known, "rows": self.sql, "vocabulary_size": str(self.identity.vocabulary_size)}
        counts = ", ".join(
            f"count(*) FILTER (({condition.format_map(known)}) IS NOT TRUE)" for condition in rules.hold.values()
        )
        [found] = database.sql(f"SELECT {counts} FROM {rules.over.format_map(known)}").fetchall()
        for rule, count in zip(rules.hold, found, strict=True):
            if count:
                yield f"{self.where}: against the rule: {rule} ({count} rows)"
