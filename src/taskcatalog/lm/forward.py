"""Runs a model over many short prompts that share prefixes: each distinct prefix once.

A causal model's state after a prefix depends on that prefix alone. So sorted prompts are cut into blocks, and
the model is run on the tree of each block's prefixes (see ``prefix_tree``).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taskcatalog.lm.memory import RowsAtOnce
from taskcatalog.lm.model import LanguageModel
from taskcatalog.lm.needs import prompts_at_once
from taskcatalog.lm.prefix_tree import prefix_tree

_LEAST_ROWS = 1_024
"""Of hidden states that are given out at once: fewer would have the output layer's weights read too often."""


class PromptRunner:
    """One model, and how many prompts of one length it runs at once.

    That number depends on the model alone, as it decides how sums are rounded: results are not to depend on how much
    memory happens to be free. Only where there is too little it is halved.
    """

    def __init__(self, model: LanguageModel, prompt_length: int, bos_id: int | None = None) -> None:
        """``bos_id`` is put in front of every prompt."""
        self._model = model
        self._bos_id = bos_id
        self._at_once = RowsAtOnce(prompts_at_once(model.bytes_per_token, prompt_length, model.device))
        self.n_positions = 0
        """Tokens that the model was run on, until now."""

    def batches(self, prompts: NDArray[Any]) -> Iterator[tuple[slice, Tensor]]:
        """Batches of sorted, distinct prompts (rows, length), and the last hidden states (B, D) of each; one that is
        empty, if there are no prompts."""
        step = max(self._at_once.n, _LEAST_ROWS)
        for start in range(0, max(1, len(prompts)), step):
            rows = slice(start, min(start + step, len(prompts)))
            yield rows, self.last_hidden(prompts[rows])

    @torch.inference_mode()
    def last_hidden(self, prompts: NDArray[Any]) -> Tensor:
        """The last hidden states (rows, D) of sorted, distinct prompts (rows, length)."""
        if self._bos_id is not None:
            prompts = np.insert(prompts.astype(np.int64), 0, self._bos_id, axis=1)
        states = torch.empty(0, device=self._model.device)

        def run(rows: slice) -> Tensor:
            tree = prefix_tree(prompts[rows])
            hidden = self._model.last_hidden(tree)
            self.n_positions += self._model.n_positions(tree)
            return hidden

        for rows, hidden in self._at_once.batches(run, len(prompts)):
            if not rows.start:
                states = hidden.new_empty((len(prompts), hidden.shape[1]))
            states[rows] = hidden
        return states
