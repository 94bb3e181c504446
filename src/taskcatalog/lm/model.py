"""A causal language model as two functions: a tree of prompts to last hidden states, and those to logits.

Shape legend: B prompts, D hidden width, V output width of the model (often above the tokenizer's vocabulary).
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import PreTrainedModel

from taskcatalog.errors import InputError
from taskcatalog.lm import packed, stepwise, whole
from taskcatalog.lm.linear import linear, use_here
from taskcatalog.lm.memory import is_out_of_memory
from taskcatalog.lm.needs import Shape, largest
from taskcatalog.lm.prefix_tree import PrefixTree
from taskcatalog.lm.probing import Probe, probe, reason_of

Way = Literal["packed", "level by level", "whole prompts"]
"""How a model is run over a tree of prompts, from the fastest to the one that any model allows."""


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
    def longest_prompt(self) -> int:
        """The tokens of the longest prompt that it can be asked about."""

    @property
    def bytes_per_token(self) -> int:
        """What a token takes while it is run: its keys and values in all layers, and one layer's arrays."""

    def n_positions(self, tree: PrefixTree) -> int:
        """How many tokens the model is run on for a tree."""

    def last_hidden(self, tree: PrefixTree) -> Tensor:
        """The last hidden states (B, D) of a tree's prompts. Raises torch.OutOfMemoryError where they are too many."""

    def logits(self, hidden_BD: Tensor, columns: slice) -> Tensor:
        """The logits of some ids, in float32, of such states."""


@dataclass(frozen=True)
class _Setup:
    """How a model is run."""

    trunk: Any
    """The model without its output layer, for last hidden states; or all of it, for logits in their place."""
    way: Way


class TransformersModel:
    """A model of the ``transformers`` library, ready to be asked on one device: in the first way of running it that
    gives what the model gives of whole prompts.

    Raises InputError for a model that is not causal or cannot be run.
    """

    def __init__(self, model: PreTrainedModel, name: ModelName) -> None:
        self.name = name
        self.device = model.device
        self._model: Any = model.eval().requires_grad_(False)
        try:
            self.n_embeddings = int(self._model.get_input_embeddings().weight.shape[0])
            plain = probe(self._model, self.n_embeddings)
            self.output_width = plain.answers[0].logits.shape[1]
            self.longest_prompt = plain.longest
            self._n_layers = largest(self._config, "num_hidden_layers") or 1
            use_here(self._model)
            self._setup = self._best_setup(plain)
        except InputError as error:
            raise InputError(f"model {name.label}: {error}") from error
        except Exception as error:  # the code of a model may raise anything
            if is_out_of_memory(error):
                raise
            raise InputError(f"model {name.label}: cannot be run: {reason_of(error)}") from error

    @property
    def way(self) -> Way:
        return self._setup.way

    def n_positions(self, tree: PrefixTree) -> int:
        return tree.branches.size + len(tree.leaf_ids) if self.way == "whole prompts" else tree.n_positions

    def last_hidden(self, tree: PrefixTree) -> Tensor:
        return self._last_hidden(self._setup, tree)

    def logits(self, hidden_BD: Tensor, columns: slice = slice(None)) -> Tensor:
        return self._logits(self._setup, hidden_BD, columns)

    @property
    def bytes_per_token(self) -> int:
        return Shape.of(self._model.config).numbers_per_token * int(self._model.dtype.itemsize)

    @property
    def _config(self) -> Any:
        """That of the part that reads text."""
        return self._model.config.get_text_config()

    def _last_hidden(self, setup: _Setup, tree: PrefixTree) -> Tensor:
        if setup.way == "packed":
            return packed.last_hidden(setup.trunk, tree, self.device, self._n_layers)
        if setup.way == "level by level":
            return stepwise.last_hidden(setup.trunk, tree, self.device)
        return whole.last_hidden(setup.trunk, tree, self.device)

    def _logits(self, setup: _Setup, hidden_BD: Tensor, columns: slice) -> Tensor:
        are_logits = setup.trunk is self._model
        return (hidden_BD[:, columns] if are_logits else self._head(hidden_BD, columns)).float()

    def _best_setup(self, plain: Probe) -> _Setup:
        """The first that gives the plain answers. Raises InputError where none does."""
        # Which of equally good tokens a sparse attention sees may depend on how many there are: rarely, so that a probe
        # may not show it.
        picks_tokens = 0 < largest(self._config, "index_topk") < plain.longest
        ways: list[Way] = [] if picks_tokens else ["packed", "level by level"]
        # Most models end in one linear layer, so D numbers say as much as V logits do. For one that does more
        # than is known here, its logits stand in for the hidden states.
        for trunk in (self._model.base_model, self._model):
            slowest = _Setup(trunk, "whole prompts")
            if self._agrees(slowest, plain):
                faster = (_Setup(trunk, way) for way in ways)
                return next((setup for setup in faster if self._agrees(setup, plain)), slowest)
        if plain.is_exact:
            raise InputError("does not give the same when it is asked again")
        return slowest

    def _agrees(self, setup: _Setup, plain: Probe) -> bool:
        """Whether a model that is run so gives the plain answers; its attention is replaced if it does when packed."""

        def run(tree: PrefixTree) -> Tensor:
            return self._logits(setup, self._last_hidden(setup, tree), slice(None))

        if setup.way != "packed":
            return plain.agrees(run)
        implementation = self._model.config._attn_implementation
        try:
            self._model.set_attn_implementation(packed.ATTENTION)
            agrees = plain.agrees(run)
        except Exception as error:  # it may not allow it, in one of many ways
            if is_out_of_memory(error):
                raise
            agrees = False
        if not agrees:
            self._model.set_attn_implementation(implementation)
        return agrees

    def _head(self, hidden_BD: Tensor, columns: slice) -> Tensor:
        head = self._model.get_output_embeddings()
        if not isinstance(head, torch.nn.Linear):
            raise TypeError(f"the output layer is {type(head).__name__}")
        return self._finished(
            linear(hidden_BD, head.weight[columns], None if head.bias is None else head.bias[columns])
        )

    def _finished(self, logits: Tensor) -> Tensor:
        """What some models do after the linear layer."""
        config = self._config
        if scale := getattr(config, "logit_scale", None):  # Cohere
            logits = logits * scale
        if scale := getattr(config, "logits_scaling", None):  # Granite
            logits = logits / scale
        if cap := getattr(config, "final_logit_softcapping", None):  # Gemma 2
            logits = torch.tanh(logits / cap) * cap
        return logits
