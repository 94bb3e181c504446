"""Names of the tables and of their columns of ids."""

from typing import Literal, TypeVar

import numpy as np

T = TypeVar("T", int, str)

MAX_N = 5
MAX_PROMPT_LENGTH = 16
_GRAMS = {1: "unigrams", 2: "bigrams", 3: "trigrams"}
MEASURES = "measures"
"""The folder in a scan's for the tables of all measures, and how the names of these begin."""


def ngram_table(n: int) -> str:
    return _GRAMS.get(n, f"{n}grams")


def prefix_table(n: int) -> str:
    """The table of prefixes of n-grams: of their first n-1 ids."""
    return f"{ngram_table(n).removesuffix('s')}_prefixes"


def top_table(n: int) -> str:
    return f"top_{ngram_table(n)}"


def above_count(n: int, min_prefix_count: T) -> T | Literal[0]:
    """A top table takes prefixes that occur more often than this. Bigrams have so few that rare ones are taken, too."""
    return 0 if n == 2 else min_prefix_count


def scan_table(prompt_length: int) -> str:
    return f"scan_{prompt_length}"


def scan_models_table(prompt_length: int) -> str:
    return f"scan_{prompt_length}_models"


def measures_table(prompt_length: int) -> str:
    return f"{MEASURES}_{prompt_length}"


def id_columns(n: int) -> list[str]:
    return [f"id{i}" for i in range(n)]


def id_dtype(vocabulary_size: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """uint16 where every id fits, else uint32."""
    return np.dtype(np.uint16) if vocabulary_size <= 2**16 else np.dtype(np.uint32)
