"""Runs a model over many short prompts that share prefixes: each distinct prefix once.

A causal model's state after a prefix depends on that prefix alone. So the prompts' prefixes are run level by
level (see ``prefix_tree``), each attending to the keys and values of the prefix that it goes on from.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taskcatalog.lm.model import LanguageModel, select
from taskcatalog.lm.prefix_tree import levels

_CACHE_BYTES = 1 << 26
_LEAST_PROMPTS, _MOST_PROMPTS = 64, 4_096


class PromptRunner:
    """One model, and how many prompts of one length it runs at once.

    That number depends on the model alone: it decides how sums are rounded, so results must not depend on
    how much memory happens to be free.
    """

    def __init__(self, model: LanguageModel, prompt_length: int, bos_id: int | None = None) -> None:
        """``bos_id`` is put in front of every prompt."""
        self._model = model
        self._bos_id = bos_id
        prompts = _CACHE_BYTES // (model.cache_bytes_per_token * (prompt_length + 1))
        self._prompts_at_once = min(max(prompts, _LEAST_PROMPTS), _MOST_PROMPTS)

    @torch.inference_mode()
    def last_hidden(self, prompts: NDArray[Any]) -> Tensor:
        """The last hidden states (rows, D) of sorted, distinct prompts (rows, length)."""
        if self._bos_id is not None:
            prompts = np.insert(prompts.astype(np.int64), 0, self._bos_id, axis=1)
        blocks = [
            self._run_tree(prompts[start : start + self._prompts_at_once])
            for start in range(0, len(prompts), self._prompts_at_once)
        ]
        return torch.cat(blocks) if blocks else torch.empty(0, device=self._model.device)

    def _run_tree(self, prompts: NDArray[Any]) -> Tensor:
        cache = self._model.new_cache()
        hidden = torch.empty(0)
        for depth, level in enumerate(levels(prompts)):
            if depth:
                cache = select(cache, self._on_device(level.parents))
            hidden = self._model.step(self._on_device(level.ids), cache)
        return hidden

    def _on_device(self, array: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(array).to(self._model.device)
