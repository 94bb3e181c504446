"""Every table that there is, by name.

A table is declared once, in ``corpus``, ``ngrams`` or ``scans``: its columns with type, unit, meaning and source, its
files, the order of its rows and the rules that these keep. From there come the schemas that stages write, the patterns
of their files, the views that SQL answers from, what ``verify`` looks at, and ``docs/tables.md``.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from taskcatalog.tables import corpus, ngrams, scans
from taskcatalog.tables.declare import Table
from taskcatalog.tables.names import (
    MAX_N,
    MAX_PROMPT_LENGTH,
    measures_table,
    ngram_table,
    prefix_table,
    scan_models_table,
    scan_table,
    top_table,
)


@dataclass(frozen=True)
class Family:
    """Tables that differ in one number: the length of their n-grams, or of their short prompts."""

    name: Callable[[int], str]
    table: Callable[[int], Table]
    numbers: Sequence[int]
    example: int = 0
    """The number of one that stands for all."""


def _single(table: Callable[[], Table]) -> Family:
    return Family(lambda _: table.__name__, lambda _: table(), (0,))


FAMILIES = (
    _single(corpus.tokens),
    Family(ngram_table, ngrams.ngrams, range(1, MAX_N + 1), 3),
    Family(prefix_table, ngrams.prefixes, range(2, MAX_N + 1), 3),
    Family(top_table, ngrams.top, range(2, MAX_N + 1), 3),
    _single(ngrams.predictions),
    Family(scan_table, scans.scan, range(1, MAX_PROMPT_LENGTH + 1), 4),
    Family(scan_models_table, scans.scan_models, range(1, MAX_PROMPT_LENGTH + 1), 4),
    Family(measures_table, scans.measures, range(1, MAX_PROMPT_LENGTH + 1), 4),
    _single(corpus.documents),
)


def find(name: str) -> Table | None:
    """The table of this name, in any case of letters; None where there is none."""
    for family in FAMILIES:
        for number in family.numbers:
            if family.name(number) == name.lower():
                return family.table(number)
    return None


def all_tables() -> Iterator[Table]:
    return (family.table(number) for family in FAMILIES for number in family.numbers)


def files_of(stage: str) -> tuple[str, ...]:
    """Patterns of the files of all tables that a stage may make, below its folder."""
    patterns = (pattern for table in all_tables() if table.stage == stage for pattern in table.files)
    return tuple(dict.fromkeys(patterns))


def made_by(stage: str, settings: Mapping[str, Any]) -> list[Table]:
    """The tables that a stage makes with these settings of its ledger."""
    if stage == "ngrams":
        longer = [n for n in settings["n"] if n > 1]
        kinds = (ngrams.ngrams, ngrams.prefixes, ngrams.top)
        return [ngrams.ngrams(1), *(kind(n) for n in longer for kind in kinds)]
    if stage == "predict":
        return [ngrams.predictions()]
    length = settings["prompt_length"]
    return [scans.scan(length), *([scans.measures(length)] if settings.get("all_measures") else [])]
