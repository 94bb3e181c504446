"""How much of the system's memory asking a model takes, told from its configuration alone: the model is not loaded.

What lies on a GPU is not the system's memory, and counts for nothing here.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedConfig

_LIBRARIES = 450 << 20
"""Of a process that has torch and transformers."""
_SCRATCH = 96 << 20
"""What libraries take while a model runs, and the tiles of its logits."""
_DUCKDB = 256 << 20
"""Before and after the model is asked."""
_BLOCK = {"cpu": 1 << 28, "cuda": 11 << 30}
"""For the prompts that are run at once, on each kind of device."""
_LEAST_PROMPTS, MOST_PROMPTS = 64, 16_384
_PROBED_TOKENS = 300
_PROBED_COPIES = 3
"""Of the logits of the tokens that a model is probed with."""
_ARRAYS_OF_LAYER = 8
"""Of the hidden width, for each token, while a layer runs; beside three of the wider one inside."""
_GATHERED = 3
"""Copies of one layer's keys and values of all tokens on the way to each prompt."""
_WIDER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_INSIDE = 4
"""The inside of a layer is so many times the hidden width, where a configuration does not say."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a configuration tells of a model's sizes."""

    hidden: int
    inside: int
    n_layers: int
    key: int
    """Numbers of a token's keys and values in one layer."""

    @classmethod
    def of(cls, config: PreTrainedConfig) -> "Shape":
        text = config.get_text_config()
        hidden = largest(text, "hidden_size") or 1
        n_heads = largest(text, "num_attention_heads") or 1
        n_keys = largest(text, "num_key_value_heads") or n_heads
        width = largest(text, "head_dim") or max(1, hidden // n_heads)
        inside = max(_INSIDE * hidden, *(largest(text, name) for name in _WIDER))
        n_layers = largest(text, "num_hidden_layers") or 1
        return cls(hidden=hidden, inside=inside, n_layers=n_layers, key=2 * n_keys * width)

    @property
    def numbers_per_token(self) -> int:
        """That a token of a block takes while the block runs, where no two prompts share any."""
        a_layer = _ARRAYS_OF_LAYER * self.hidden + 3 * self.inside + _GATHERED * self.key
        return self.n_layers * self.key + a_layer


def largest(config: Any, name: str) -> int:
    """A number of a configuration, the largest of one for each layer; 0 where there is none."""
    value = getattr(config, name, None)
    values = value if isinstance(value, list | tuple) else [value]
    return max((number for number in values if isinstance(number, int)), default=0)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """Bytes of the system's memory; none for a model on a GPU."""

    held: int
    """From when the model is loaded on: libraries and weights."""
    working: int
    """More, while the model is loaded or asked, or DuckDB sorts."""

    @property
    def least(self) -> int:
        return self.held + self.working


def prompts_at_once(bytes_per_token: int, prompt_length: int, device: torch.device) -> int:
    """How many prompts are run at once: a power of two that depends on the model and the kind of device alone."""
    prompts = _BLOCK.get(device.type, _BLOCK["cpu"]) // (bytes_per_token * (prompt_length + 1))
    return 1 << (min(max(prompts, _LEAST_PROMPTS), MOST_PROMPTS).bit_length() - 1)


def needs(
    config: PreTrainedConfig,
    devices: tuple[torch.device, ...],
    dtypes: set[str],
    prompt_lengths: Sequence[int],
    n_states: int,
    answer_bytes: int = 0,
) -> Needs:
    """Of asking a model, in each of ``dtypes``, about prompts of these lengths, with so many last hidden states and
    bytes of logits held."""
    on_cpu = [device for device in devices if device.type == "cpu"]
    if not on_cpu:
        return Needs(held=0, working=0)
    shape, n_weights = Shape.of(config), count_weights(config)
    sizes = [getattr(torch, dtype).itemsize for dtype in dtypes]
    widest = max(sizes)
    blocks = []
    for of_token in (shape.numbers_per_token * size for size in sizes):
        blocks += [prompts_at_once(of_token, n, on_cpu[0]) * (n + 1) * of_token for n in prompt_lengths]
    a_matrix = shape.hidden * shape.inside * widest  # oneDNN lays it out anew
    asking = _SCRATCH + max(blocks) + n_states * shape.hidden * widest + a_matrix + answer_bytes
    stored = said if isinstance(said := getattr(config, "dtype", None), torch.dtype) else torch.float32
    # Weights are converted from the file, which is mapped; the file of those that are not is their only copy.
    converted = n_weights * stored.itemsize if {str(stored).removeprefix("torch.")} != dtypes else 0
    probing = _PROBED_COPIES * _PROBED_TOKENS * largest(config.get_text_config(), "vocab_size") * 4
    one = Needs(held=_LIBRARIES + n_weights * sum(sizes), working=max(asking, converted + probing, _DUCKDB))
    if len(on_cpu) == 1:
        return one
    processes = _LIBRARIES + len(on_cpu) * one.least  # of which the first has held a model before, to look at it
    return Needs(held=one.held, working=processes - one.held)


def count_weights(config: PreTrainedConfig) -> int:
    """How many numbers a model of this configuration has; 0 for one that cannot be made, which loading it will tell."""
    try:
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(copy.deepcopy(config), trust_remote_code=False)
    except Exception:  # the code of a model may raise anything
        return 0
    return sum(one.numel() for one in (*model.parameters(), *model.buffers()))
