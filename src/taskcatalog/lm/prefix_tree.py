"""The tree of prefixes of sorted prompts: each distinct prefix once, level by level.

Prompts (rows, length) are distinct and in the order of their ids, so those that share a prefix stand together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Level:
    """The distinct prefixes of one length."""

    ids: NDArray[np.int64]
    """(nodes,) the last id of each."""
    parents: NDArray[np.int64]
    """(nodes,) which node of the level above each one goes on from; all 0 on the first level."""


def levels(prompts: NDArray[Any]) -> Iterator[Level]:
    """The levels of the tree over sorted, distinct prompts (rows, length), from the first token down."""
    n_rows, length = prompts.shape
    is_new = np.zeros(n_rows, np.bool_)
    is_new[:1] = True
    nodes_above = np.zeros(n_rows, np.int64)
    for depth in range(length):
        is_new[1:] |= prompts[1:, depth] != prompts[:-1, depth]
        yield Level(prompts[is_new, depth].astype(np.int64), nodes_above[is_new])
        nodes_above = np.cumsum(is_new) - 1
