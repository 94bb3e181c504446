"""A prefix tree level by level, with any model of ``transformers`` that keeps its past in a cache."""

import copy
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Cache, DynamicCache

from taskcatalog.lm.prefix_tree import PrefixTree
from taskcatalog.lm.whole import states_of


def last_hidden(model: Any, tree: PrefixTree, device: torch.device) -> Tensor:
    """The last hidden states (rows, D) of a tree's prompts, or the logits (rows, V) of a ``model`` that gives those."""
    cache: Cache = DynamicCache(config=model.config)
    hidden = torch.empty(0)
    starts = np.cumsum([0, *map(len, tree.levels)])
    steps = [(tree.ids[start : start + len(level)], level) for start, level in zip(starts, tree.levels, strict=False)]
    steps.append((tree.leaf_ids, np.column_stack([tree.branches, tree.leaf_ids])))
    for depth, (ids, paths) in enumerate(steps):
        if depth:
            cache = _select(cache, torch.from_numpy(paths[:, -2] - starts[depth - 1]).to(device))
        output = model(input_ids=torch.from_numpy(ids).to(device)[:, None], past_key_values=cache, use_cache=True)
        hidden = states_of(output)[:, -1]
    return hidden


def _select(cache: Cache, rows: Tensor) -> Cache:
    """A cache that holds these rows of another one, which stays as it is."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected
