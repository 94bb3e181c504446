"""The tree of prefixes of sorted prompts: each distinct prefix once, level by level.

Prompts (rows, length) are distinct and in the order of their ids, so those that share a prefix stand together.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PrefixTree:
    """The distinct prefixes of prompts, the *nodes*, numbered level by level, and the prompts, which are the leaves."""

    ids: NDArray[np.int64]
    """(nodes,) the last id of each node."""
    levels: list[NDArray[np.int64]]
    """For each level, from that of single tokens on: (nodes of the level, tokens), the nodes on the way to each node,
    itself the last."""
    leaf_ids: NDArray[np.int64]
    """(rows,) the last id of each prompt."""
    branches: NDArray[np.int64]
    """(rows, length - 1) the nodes on the way to each prompt, which is none itself."""

    @property
    def n_positions(self) -> int:
        """How many tokens a model is run on."""
        return len(self.ids) + len(self.leaf_ids)

    @property
    def depths(self) -> NDArray[np.int64]:
        """(nodes,) how many tokens are before each node's."""
        return np.repeat(np.arange(len(self.levels)), [len(level) for level in self.levels])


def prefix_tree(prompts: NDArray[Any]) -> PrefixTree:
    """The tree over sorted, distinct prompts (rows, length)."""
    n_rows, length = prompts.shape
    is_new = np.zeros(n_rows, np.bool_)
    is_new[:1] = True
    branches = np.empty((n_rows, length - 1), np.int64)
    ids: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]
    levels = []
    n_nodes = 0
    for depth in range(length - 1):
        is_new[1:] |= prompts[1:, depth] != prompts[:-1, depth]
        branches[:, depth] = n_nodes + np.cumsum(is_new) - 1
        levels.append(branches[is_new, : depth + 1])
        ids.append(prompts[is_new, depth].astype(np.int64))
        n_nodes += len(ids[-1])
    return PrefixTree(np.concatenate(ids), levels, prompts[:, -1].astype(np.int64), branches)
