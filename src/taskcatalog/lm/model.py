"""A causal language model as two functions: one step over many prompts, and last hidden states to logits.

Shape legend: B prompts, D hidden width, V output width of the model (often above the tokenizer's vocabulary).
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import Cache, DynamicCache, PreTrainedModel

_PROBE_TOLERANCE = 1e-4


@dataclass(frozen=True, kw_only=True)
class ModelName:
    """What tables and ledgers say of a model."""

    label: str
    """Short and safe for file names and columns."""
    revision: str
    """The hub's commit, or a hash of a local folder's files."""
    dtype: str


class LanguageModel:
    """A model of the ``transformers`` library, ready to be asked on one device."""

    def __init__(self, model: PreTrainedModel, name: ModelName) -> None:
        self.name = name
        self.device = model.device
        self._model: Any = model.eval().requires_grad_(False)
        self.n_embeddings = int(self._model.get_input_embeddings().weight.shape[0])
        """Ids at or above this one have no meaning for the model."""
        # Most models end in one linear layer, so D numbers say as much as V logits do. For one that does more
        # than is known here, its logits stand in for the hidden states.
        self._ends_in_known_head = self._known_head_agrees()

    def new_cache(self) -> Cache:
        return DynamicCache(config=self._model.config)

    def step(self, ids_B: Tensor, cache: Cache) -> Tensor:
        """The last hidden states (B, D) after one more token of each prompt; ``cache`` grows by it."""
        inputs = {"input_ids": ids_B[:, None], "past_key_values": cache, "use_cache": True}
        if self._ends_in_known_head:
            last: Tensor = self._model.base_model(**inputs).last_hidden_state[:, -1]
        else:
            last = self._model(**inputs).logits[:, -1]
        return last

    def logits(self, hidden_BD: Tensor) -> Tensor:
        """The logits (B, V), in float32, of last hidden states that ``step`` gave."""
        return (self._head(hidden_BD) if self._ends_in_known_head else hidden_BD).float()

    @property
    def cache_bytes_per_token(self) -> int:
        """Keys and values of one token in all layers."""
        cache = self.new_cache()
        self.step(torch.zeros(1, dtype=torch.long, device=self.device), cache)
        layers: list[Any] = cache.layers
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers if layer.is_initialized)

    @property
    def output_width(self) -> int:
        return int(self._model.get_output_embeddings().weight.shape[0])

    def _head(self, hidden_BD: Tensor) -> Tensor:
        config = self._model.config.get_text_config()
        logits: Tensor = self._model.get_output_embeddings()(hidden_BD)
        logits = logits * (getattr(config, "logit_scale", None) or 1)  # Cohere
        logits = logits / (getattr(config, "logits_scaling", None) or 1)  # Granite
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
            logits = torch.tanh(logits / cap) * cap
        return logits

    @torch.inference_mode()
    def _known_head_agrees(self) -> bool:
        if self._model.get_output_embeddings() is None:
            return False
        ids = torch.arange(min(self.n_embeddings, 16), device=self.device)[None]
        expected = self._model(input_ids=ids, use_cache=False).logits.float()
        hidden = self._model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        if hidden.shape[-1] != self._model.get_output_embeddings().weight.shape[-1]:
            return False
        return torch.allclose(self._head(hidden).float(), expected, rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE)


def select(cache: Cache, rows: Tensor) -> Cache:
    """A cache that holds these rows of another one, which stays as it is."""
    selected = copy.copy(cache)
    selected.layers = [copy.copy(layer) for layer in cache.layers]
    selected.batch_select_indices(rows)
    return selected
