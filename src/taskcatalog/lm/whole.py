"""Whole prompts, each run in full: for a model whose prompts cannot share what they have in common."""

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor

from taskcatalog.lm.prefix_tree import PrefixTree

_TOKENS_AT_ONCE = 4_096


def last_hidden(model: Any, tree: PrefixTree, device: torch.device) -> Tensor:
    """The last hidden states (rows, D) of a tree's prompts, or the logits (rows, V) of a ``model`` that gives those."""
    prompts = torch.from_numpy(np.column_stack([tree.ids[tree.branches], tree.leaf_ids])).to(device)
    pieces = prompts.split(max(1, _TOKENS_AT_ONCE // prompts.shape[1]))
    return torch.cat([states_of(call(model, piece, only_last=True))[:, -1] for piece in pieces])


def call(model: Any, prompts: Tensor, only_last: bool = False) -> Any:
    """A model's output for whole prompts (rows, tokens), nothing kept; ``only_last`` where it can leave out the logits
    before."""
    known = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"use_cache": False, "logits_to_keep": 1 if only_last else 0}
    return model(input_ids=prompts, **{name: value for name, value in options.items() if name in known})


def states_of(output: Any) -> Tensor:
    """Last hidden states (rows, tokens, D), or the logits (rows, tokens, V) of a model that gives those."""
    states: Tensor = output.last_hidden_state if hasattr(output, "last_hidden_state") else output.logits
    return states
