"""Write ``docs/tables.md``: every table as it is declared, in the prose of ``scripts/tables_page.md``.

    python scripts/make_table_docs.py

A test checks that the file is what this script makes.
"""

import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from taskcatalog.tables.declare import Column, Table
from taskcatalog.tables.registry import FAMILIES, Family

PAGE = Path(__file__).parents[1] / "docs/tables.md"
PROSE = Path(__file__).with_name("tables_page.md")
TABLES = "<!-- tables -->\n"
MOST_NAMES = 5
_NUMBER = re.compile(r"(\[[0-9]-[0-9]\])+")
_TYPES = {"ids": "list of ids"}


def table_docs() -> str:
    """The page's text."""
    before, after = PROSE.read_text().split(TABLES)
    return before + "\n".join(_section(family) for family in FAMILIES) + after


def _section(family: Family) -> str:
    table = family.table(family.example)
    numbers = family.numbers if len(family.numbers) <= MOST_NAMES else [family.example]
    parts = [f"## {', '.join(f'`{family.name(number)}`' for number in numbers)}", table.about.strip()]
    parts += [" ".join(_facts(table)), "\n".join(_columns(table)), _checked(table)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _facts(table: Table) -> Iterator[str]:
    if table.files:
        below = f"{table.folder}/" if table.folder else ""
        files = dict.fromkeys(f"`{below}{_NUMBER.sub('*', pattern)}`" for pattern in table.files)
        yield f"Files: {', '.join(files)}."
    else:
        yield "SQL makes it from the tasks."
    if table.order:
        terms = [f"`{name}`" + (" descending" if falls else "") for name, falls in map(_term, table.order)]
        yield f"Order: {', '.join(terms)}."


def _term(term: str) -> tuple[str, bool]:
    return term.removesuffix(" DESC"), term.endswith(" DESC")


def _columns(table: Table) -> Iterator[str]:
    yield f"| column of `{table.name}` | type | unit | meaning | source |"
    yield "|---|---|---|---|---|"
    columns = [*table.columns, *([table.of_each_model] if table.of_each_model else [])]
    for cells, alike in groupby(columns, _cells):
        names = [f"`{column.name}`" for column in alike]
        shown = ", ".join(names) if len(names) < 3 else f"{names[0]} … {names[-1]}"
        yield f"| {' | '.join([shown, *cells])} |"


def _cells(column: Column) -> tuple[str, ...]:
    cells = _TYPES.get(column.type, column.type), column.unit, column.meaning, column.source
    return tuple(cell.replace("|", "\\|") for cell in cells)


def _checked(table: Table) -> str:
    rules = [rule for rules in table.rules for rule in rules.hold]
    if table.key:
        rules.append(f"no two rows of a model have the same {', '.join(f'`{name}`' for name in table.key)}")
    return "\n".join(["`verify` checks:", "", *(f"- {rule}" for rule in rules)]) if rules else ""


if __name__ == "__main__":
    PAGE.write_text(table_docs())
