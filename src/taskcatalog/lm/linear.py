"""Linear layers, by the faster of the two libraries that torch has for them on a processor.

torch multiplies in float32 with MKL, also where oneDNN, which it has too, is faster: by a fifth on processors of
AMD. Numbers of 16 bits go to oneDNN anyway. It makes code for each shape of matrices, and keeps parts of it forever:
so rows are filled up to few different numbers.
"""

import platform
from typing import Any

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

_HAS_ONEDNN = torch.backends.mkldnn.is_available() and platform.machine().lower() in ("x86_64", "amd64")


def filled_up(n_rows: int) -> int:
    """The number of rows, this or up to an eighth more, that are multiplied at once: one of eight for each doubling."""
    return n_rows + -n_rows % (1 << max(0, (n_rows - 1).bit_length() - 4))


def linear(inputs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Inputs (..., K) times the transpose of weights (N, K), plus a bias (N,): (..., N)."""
    if not _HAS_ONEDNN or inputs.device.type != "cpu":
        return nn.functional.linear(inputs, weight, bias)
    rows = inputs.flatten(0, -2)
    n_rows = len(rows)
    if missing := filled_up(n_rows) - n_rows:
        rows = nn.functional.pad(rows, (0, 0, 0, missing))
    if rows.dtype == torch.float32:
        product: Tensor = torch.ops.mkldnn._linear_pointwise(rows, weight, bias, "none", [], "")
    else:
        product = nn.functional.linear(rows, weight, bias)
    return product[:n_rows].view(*inputs.shape[:-1], len(weight))


def use_here(model: nn.Module) -> None:
    """Makes a model's linear layers call ``linear``."""
    for module in model.modules():
        if known := _OURS.get(type(module)):
            module.__class__ = known


class _Linear(nn.Linear):
    def forward(self, inputs: Tensor) -> Any:
        return linear(inputs, self.weight, self.bias)


class _Conv1D(Conv1D):
    """GPT-2's linear layer, of transposed weights."""

    def forward(self, inputs: Tensor) -> Any:
        return linear(inputs, self.weight.t(), self.bias)


_OURS: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: _Linear, Conv1D: _Conv1D}
