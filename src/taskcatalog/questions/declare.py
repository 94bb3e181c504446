"""What a question is: a query with a name, what it needs, and what may be set."""

from collections.abc import Mapping
from dataclasses import dataclass, field

Value = int | float | str | bool


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A value that whoever asks may give."""

    meaning: str
    default: Value | None = None
    """The value where none is given; None: one must be given, of the type ``kind``."""
    kind: type[int] | type[float] | type[str] | type[bool] = str
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, kw_only=True)
class Question:
    """A query about a catalog.

    Its ``sql`` has places for values: ``{limit}`` is the parameter ``limit``. These places depend on the catalog:

    - ``{top}``, ``{ngrams}``: the tables of n-grams of the parameter ``n``; ``{scan}``: that of the tasks of the
      parameter ``prompt_length``;
    - ``{ids}``, ``{prefix}``, ``{completion}``: the ids, the prefix's text and the completion's text, in a top table;
    - ``{model}``, ``{other}``: the models' labels; ``{p}``: the column of the model's probabilities in a top table.
    """

    name: str
    title: str
    answers: str
    """What the rows tell, in a sentence or two."""
    tables: tuple[str, ...]
    """The tables that it reads; ``{top}``, ``{ngrams}`` and ``{scan}`` as above."""
    models: int = 0
    """How many models' predictions it needs."""
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    sql: str
