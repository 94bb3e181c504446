"""A causal language model as two functions: a tree of prompts to last hidden states, and those to logits.

Shape legend: B prompts, D hidden width, V output width of the model (often above the tokenizer's vocabulary).
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from taskcatalog.lm import packed, stepwise
from taskcatalog.lm.linear import linear, use_here
from taskcatalog.lm.prefix_tree import PrefixTree, prefix_tree

_PROBE = np.array([[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 7, 5, 6], [0, 8, 2, 3, 4, 9, 1], [3, 1, 4, 1, 5, 9, 2]])


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """What tables and ledgers say of a model."""

    label: str
    """Short and safe for file names and columns."""
    revision: str
    """The hub's commit, or a hash of a local folder's files."""
    dtype: str


class LanguageModel(Protocol):
    """What is asked of a model. Another way to run one has these, and nothing else, to offer."""

    @property
    def name(self) -> ModelName: ...

    @property
    def device(self) -> torch.device:
        """Where hidden states and logits are."""

    @property
    def n_embeddings(self) -> int:
        """Ids at or above this one have no meaning for the model."""

    @property
    def output_width(self) -> int:
        """V."""

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers."""

    def last_hidden(self, tree: PrefixTree) -> Tensor:
        """The last hidden states (B, D) of a tree's prompts. Raises torch.OutOfMemoryError where they are too many."""

    def logits(self, hidden_BD: Tensor, columns: slice) -> Tensor:
        """The logits of some ids, in float32, of such states."""


class TransformersModel:
    """A model of the ``transformers`` library, ready to be asked on one device."""

    def __init__(self, model: PreTrainedModel, name: ModelName) -> None:
        self.name = name
        self.device = model.device
        self._model: Any = model.eval().requires_grad_(False)
        use_here(self._model)
        self.n_embeddings = int(self._model.get_input_embeddings().weight.shape[0])
        # Most models end in one linear layer, so D numbers say as much as V logits do. For one that does more
        # than is known here, its logits stand in for the hidden states.
        probe = torch.from_numpy(_PROBE % self.n_embeddings).to(self.device)
        self._ends_in_known_head = self._known_head_agrees(probe)
        self._trunk = self._model.base_model if self._ends_in_known_head else self._model
        self.n_layers = int(self._model.config.get_text_config().num_hidden_layers)
        # Nearly all let their attention be replaced; the others are run level by level.
        self.is_packed = self._ends_in_known_head and self._packs(probe)

    def last_hidden(self, tree: PrefixTree) -> Tensor:
        if self.is_packed:
            return packed.last_hidden(self._trunk, tree, self.device, self.n_layers)
        return stepwise.last_hidden(self._trunk, tree, self.device)

    def logits(self, hidden_BD: Tensor, columns: slice = slice(None)) -> Tensor:
        return (self._head(hidden_BD, columns) if self._ends_in_known_head else hidden_BD[:, columns]).float()

    @property
    def cache_bytes_per_token(self) -> int:
        config = self._model.config.get_text_config()
        n_heads = getattr(config, "num_attention_heads", None) or 1
        n_keys = getattr(config, "num_key_value_heads", None) or n_heads
        width = getattr(config, "head_dim", None) or config.hidden_size // n_heads
        return int(2 * self.n_layers * n_keys * width * self._model.dtype.itemsize)

    @property
    def output_width(self) -> int:
        return int(self._model.get_output_embeddings().weight.shape[0])

    def _head(self, hidden_BD: Tensor, columns: slice) -> Tensor:
        head = self._model.get_output_embeddings()
        bias = None if head.bias is None else head.bias[columns]
        return self._finished(linear(hidden_BD, head.weight[columns], bias))

    def _finished(self, logits: Tensor) -> Tensor:
        """What some models do after the linear layer."""
        config = self._model.config.get_text_config()
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits = logits * scale
        if scale := getattr(config, "logits_scaling", None):  # Granite
            logits = logits / scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.inference_mode()
    def _known_head_agrees(self, probe: Tensor) -> bool:
        head = self._model.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            return False
        hidden = self._model.base_model(input_ids=probe, use_cache=False).last_hidden_state
        if hidden.shape[-1] != head.weight.shape[-1]:
            return False
        expected = self._model(input_ids=probe, use_cache=False).logits.float()
        return self._close(self._head(hidden, slice(None)).float(), expected)

    @torch.inference_mode()
    def _packs(self, probe: Tensor) -> bool:
        """Whether a tree in two passes gives what the model gives of whole prompts; sets it up for that."""
        expected = self._trunk(input_ids=probe, use_cache=False).last_hidden_state[:, -1]
        implementation = self._model.config._attn_implementation
        rows = np.unique(probe.cpu().numpy(), axis=0, return_inverse=True)
        try:
            self._model.set_attn_implementation(packed.ATTENTION)
            found = packed.last_hidden(self._trunk, prefix_tree(rows[0]), self.device, self.n_layers)
            if self._close(found[rows[1]].float(), expected.float()):
                return True
        except Exception:  # whatever the code of a model raises that is not made for this
            pass
        self._model.set_attn_implementation(implementation)
        return False

    def _close(self, found: Tensor, expected: Tensor) -> bool:
        """Equal but for rounding in the model's numbers."""
        if found.shape != expected.shape:
            return False
        tolerance = torch.finfo(self._model.dtype).eps ** 0.5 * expected.abs().max().item()
        return torch.allclose(found, expected, rtol=0, atol=tolerance)
