"""What the ledger of n-gram tables says of their parts: counting writes it, lookups read it."""

from dataclasses import dataclass

from taskcatalog.runs.parts import Facts


@dataclass(frozen=True, kw_only=True)
class Tabulated(Facts):
    """Of a file of each table, or of some. Its amount is the tokens counted."""

    rows: dict[str, int]
    """By table."""
    first_id: int = 0
    """n-grams that begin with smaller ids are in the files before."""
