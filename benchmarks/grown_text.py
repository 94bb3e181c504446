"""More tokens than there is text: a corpus grown from a smaller real one, with about the statistics of web text.

The text is taken again and again. In each copy after the first some blocks of 2,048 tokens have their ids replaced:
an id by one of about the same frequency (of the same power of two in rank), another choice in every copy. So a
replaced block has the unigram statistics of the real one, and n-grams that are nearly all new. The share of replaced
blocks falls with size N such that distinct trigrams grow as N^0.82, from 10 million at 42 million tokens on: that is
how they grow in The Pile (9.9 billion of 186 billion tokens).
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BLOCK = 2_048
_EXPONENT, _TRIGRAMS, _AT = 0.822, 10e6, 42e6


def write_grown(flat: Path, text: NDArray[np.uint16], n_tokens: int) -> None:
    """Writes ``n_tokens`` ids, of which the first are ``text``."""
    trigrams = (text[:-2].astype(np.uint64) << 32) | (text[1:-1].astype(np.uint64) << 16) | text[2:]
    distinct = len(np.unique(trigrams)) / len(text)
    counts = np.bincount(text)
    by_rank = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)].astype(np.uint16)
    generator = np.random.default_rng(0)
    text = text[: len(text) // _BLOCK * _BLOCK]
    with flat.open("wb") as file:
        written = 0
        while written < n_tokens:
            copy = text.reshape(-1, _BLOCK)
            if written:
                growth = _EXPONENT * _TRIGRAMS / _AT * (written / _AT) ** (_EXPONENT - 1)
                replaced = generator.random(len(copy)) < min(1, growth / distinct)
                copy = np.where(replaced[:, None], _permutation(by_rank, generator)[copy], copy)
            copy.ravel()[: n_tokens - written].tofile(file)
            written += copy.size


def _permutation(by_rank: NDArray[np.uint16], generator: np.random.Generator) -> NDArray[np.uint16]:
    """Another id for each id that occurs."""
    other = by_rank.copy()
    start = 1
    while start < len(other):
        generator.shuffle(other[start : 2 * start])
        start *= 2
    result = np.zeros(1 << 16, np.uint16)
    result[by_rank] = other
    return result
