"""A prefix tree in two passes of a ``transformers`` model: all its nodes at once, then all its leaves.

The nodes of all levels are one sequence to the model. Its attention is replaced by one in which each node sees
the nodes on the way to it, and nothing else. Of the nodes only keys and values are wanted, so their pass ends at
the attention of the last layer.

Both sequences are filled up to few different lengths: arrays of one block then fit into the memory that the last one
left, which otherwise falls to pieces.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from taskcatalog.lm.linear import filled_up
from taskcatalog.lm.prefix_tree import PrefixTree
from taskcatalog.lm.whole import states_of

ATTENTION = "taskcatalog_prefix_tree"


class _KeysAreThereError(Exception):
    """No failure: ends a pass when the last layer's keys and values are there."""


@dataclass
class _Pass:
    """What the attention of a running pass needs. Shape legend: H heads, h of keys and values, d width of a key, e of a
    value."""

    paths: list[Tensor]
    """Groups of queries that stand together: (queries, tokens), the keys that each one sees, its own the last."""
    first: int
    """Where this pass's own keys begin."""
    n_keys: int
    """Of all passes."""
    keys_values: dict[int, Tensor]
    """By layer: (n_keys, h, d + e), those of this pass and of the ones before."""
    last_layer: int = -1
    """The pass ends here, if that is 0 or more."""


_running: _Pass | None = None


@contextmanager
def _running_pass(this: _Pass) -> Iterator[None]:
    global _running
    before, _running = _running, this
    try:
        yield
    except _KeysAreThereError:
        pass
    finally:
        _running = before


def last_hidden(model: Any, tree: PrefixTree, device: torch.device, n_layers: int) -> Tensor:
    """The last hidden states (rows, D) of a tree's prompts, or the logits (rows, V) of a ``model`` that gives those.
    It has this module's attention."""

    def on_device(array: Any) -> Tensor:
        return torch.from_numpy(array).to(device)

    def filled(array: Any, n_rows: int) -> Tensor:
        return torch.nn.functional.pad(on_device(array), (0, 0) * (array.ndim - 1) + (0, n_rows - len(array)))

    n_nodes, n_leaves = filled_up(len(tree.ids)), filled_up(len(tree.leaf_ids))
    n_keys, keys_values = n_nodes + n_leaves, dict[int, Tensor]()
    if n_nodes:
        nobody = torch.arange(len(tree.ids), n_nodes, device=device)  # what fills the rows up sees itself alone
        levels = [*(on_device(level) for level in tree.levels), nobody[:, None]]
        with _running_pass(_Pass(levels, 0, n_keys, keys_values, last_layer=n_layers - 1)):
            ids, depths = filled(tree.ids, n_nodes), filled(tree.depths, n_nodes)
            model(input_ids=ids[None], position_ids=depths[None], use_cache=False)
    own = torch.arange(n_nodes, n_keys, device=device)
    paths = torch.cat([filled(tree.branches, n_leaves), own[:, None]], 1)
    with _running_pass(_Pass([paths], n_nodes, n_keys, keys_values)):
        position_ids = torch.full((1, n_leaves), tree.branches.shape[1], device=device)
        leaf_ids = filled(tree.leaf_ids, n_leaves)
        output = model(input_ids=leaf_ids[None], position_ids=position_ids, use_cache=False)
    return states_of(output)[0, : len(tree.leaf_ids)]


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """Queries (1, H, queries, d), keys (1, h, queries, d), values (1, h, queries, e) to outputs (1, queries, H, e)."""
    if _running is None:
        raise RuntimeError("a model that was set up for prefix trees was called without one")
    del attention_mask
    layer = int(module.layer_idx)
    n_heads, n_own, width = key[0].shape
    keys_values = _running.keys_values.get(layer)
    if keys_values is None:
        shape = _running.n_keys, n_heads, width + value.shape[-1]
        keys_values = _running.keys_values[layer] = key.new_empty(shape)
    own = keys_values[_running.first : _running.first + n_own]
    own[..., :width], own[..., width:] = key[0].transpose(0, 1), value[0].transpose(0, 1)
    if layer == _running.last_layer:
        raise _KeysAreThereError
    queries = query[0].transpose(0, 1)
    output = queries.new_empty(*queries.shape[:2], value.shape[-1])
    begin = 0
    for paths in _running.paths:
        if window := options.get("sliding_window"):
            paths = paths[:, -window:]
        seen = keys_values.flatten(1).index_select(0, paths.flatten())
        keys_and_values = seen.view(*paths.shape, *keys_values.shape[1:]).transpose(1, 2)
        keys, values = keys_and_values[..., :width], keys_and_values[..., width:]
        end = begin + len(paths)
        output[begin:end] = _attend(queries[begin:end], keys, values, options)
        begin = end
    return output[None], None


def _attend(queries: Tensor, keys: Tensor, values: Tensor, options: dict[str, Any]) -> Tensor:
    """Queries (n, H, d) that see all of their keys (n, h, tokens, d) and values (n, h, tokens, e)."""
    scale, cap, sinks = options.get("scaling"), options.get("softcap"), options.get("s_aux")
    if cap is None and sinks is None:
        grouped = queries.shape[1] != keys.shape[1]
        output: Tensor = scaled_dot_product_attention(
            queries[:, :, None], keys, values, scale=scale, enable_gqa=grouped
        )
        return output.squeeze(2)
    n, n_heads, width = queries.shape
    grouped_queries = queries.view(n, keys.shape[1], n_heads // keys.shape[1], width)
    scores = grouped_queries @ keys.transpose(2, 3) * (scale or width**-0.5)
    if cap is not None:
        scores = torch.tanh(scores / cap) * cap
    if sinks is not None:  # one more key for each head, with a score of its own and nothing to give
        scores = torch.cat([scores, sinks.to(scores.dtype).view(1, *scores.shape[1:3], 1).expand(n, -1, -1, -1)], -1)
    weights = scores.softmax(-1, dtype=torch.float32).to(queries.dtype)[..., : keys.shape[2]]
    blended: Tensor = weights @ values
    return blended.reshape(n, n_heads, values.shape[-1])


AttentionInterface.register(ATTENTION, _attention)
