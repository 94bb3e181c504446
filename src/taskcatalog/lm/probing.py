"""What a model says of a few whole prompts, and whether a way to run it says the same.

A causal model's answers depend on the tokens up to there alone. Not every model that can be loaded as a causal one is
one, and not every one can be run over a tree of prefixes: its attention may not be replaceable, its state may not be
in its cache. Nothing in a configuration tells. So a model is asked about a few prompts plainly, each in full, and a way
to run it has to give the same but for rounding.

The prompts are as long as any command asks, one and two tokens long, and of tokens from all over the vocabulary; they
branch everywhere.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from taskcatalog.errors import InputError
from taskcatalog.lm.memory import is_out_of_memory
from taskcatalog.lm.prefix_tree import PrefixTree, prefix_tree
from taskcatalog.lm.whole import call

LONGEST_PROMPT = 18
"""In tokens, of all that commands ask."""
_SHORT_LENGTHS = (1, 2)
_ROWS_OF_FEW = 8
_ROUNDING = {torch.float32: 2e-5, torch.float16: 1e-2, torch.bfloat16: 6e-2}
"""The most that rounding changes logits, as a share of how much they differ from one prompt to another: several times
what was measured on models of 12 layers."""


@dataclass(frozen=True)
class Answers:
    """What a model says of whole prompts of one length."""

    prompts: NDArray[np.int64]
    """(rows, tokens), sorted and distinct."""
    logits: Tensor
    """(rows, V), in float32, of the tokens that follow."""


@dataclass(frozen=True)
class Probe:
    """What a model says of some whole prompts."""

    answers: list[Answers]
    """Longest prompts first."""
    tolerance: float
    """How much rounding may change logits, in the mean over a row."""
    is_exact: bool
    """Numbers are of 32 bits. In those of 16, rounding sends a token to another expert now and then, and what is finite
    in one way of running a model may overflow in another: then it is enough if most rows agree."""

    @property
    def longest(self) -> int:
        """The tokens of the longest prompt."""
        return len(self.answers[0].prompts[0])

    @torch.inference_mode()
    def agrees(self, run: Callable[[PrefixTree], Tensor]) -> bool:
        """Whether ``run``, prompts to logits (rows, V), gives the same but for rounding."""
        try:
            return all(self.equal(run(prefix_tree(each.prompts)), each.logits) for each in self.answers)
        except Exception as error:  # whatever the code of a model raises that is not made for this
            if is_out_of_memory(error):
                raise
            return False

    def equal(self, found: Tensor, expected: Tensor) -> bool:
        """Whether logits (rows, V) are the same but for rounding."""
        if found.shape != expected.shape:
            return False
        found_finite, finite = torch.isfinite(found), torch.isfinite(expected)
        differences = (found - expected).masked_fill(~(finite & found_finite), 0).square().mean(-1).sqrt()
        differences = differences.masked_fill((finite != found_finite).any(-1), torch.inf)
        return bool((differences.max() if self.is_exact else differences.median()) <= self.tolerance)


@torch.inference_mode()
def probe(model: Any, n_ids: int) -> Probe:
    """Asks a model of ``transformers`` about prompts with ids below ``n_ids``. Raises InputError for one that cannot be
    run or is not causal; its message lacks the model's name."""
    prompts, logits = _longest_answers(model, n_ids)
    answers = [Answers(prompts, logits[:, -1])]
    for length in _SHORT_LENGTHS:
        if length < prompts.shape[1]:
            short = np.unique(prompts[:, :length], axis=0)
            answers.append(Answers(short, _logits(model, short)[:, -1]))
    probe = Probe(answers, _tolerance(logits, model.dtype), model.dtype == torch.float32)
    _check_causal(probe, prompts, logits)
    middle = len(prompts) // 2
    if not probe.equal(_logits(model, prompts[middle : middle + 1])[0], logits[middle]):
        raise InputError("says something else of a prompt when others are beside it, or when it is asked again")
    return probe


def reason_of(error: Exception) -> str:
    """What went wrong, in one line."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _longest_answers(model: Any, n_ids: int) -> tuple[NDArray[np.int64], Tensor]:
    """The longest prompts that the model takes (rows, tokens), and their logits (rows, tokens, V)."""
    # Where a GPU looks for a position that is not there, it cannot be used again: so this is not found out by trying.
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    length = min(LONGEST_PROMPT, positions) if isinstance(positions, int) and positions > 0 else LONGEST_PROMPT
    while True:
        prompts = _prompts(n_ids, length)
        try:
            return prompts, _logits(model, prompts)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if length == 1:
                raise InputError(f"cannot be run: {reason_of(error)}") from error
        length //= 2


def _prompts(n_ids: int, length: int) -> NDArray[np.int64]:
    """Prompts (rows, length) that branch at every kind of place; of tokens from everywhere, and of few that recur."""
    generator = np.random.default_rng(0)
    first, other = generator.integers(0, n_ids, (2, length))
    rows = [np.concatenate([first[:shared], other[shared:]]) for shared in (0, 1, length // 2, length - 1)]
    rows += [np.full(length, first[0]), np.linspace(n_ids - 1, 0, length).astype(np.int64), first]
    rows += list(generator.choice(first, 4)[generator.integers(0, 4, (_ROWS_OF_FEW, length))])
    return np.unique(rows, axis=0)


def _logits(model: Any, prompts: NDArray[np.int64]) -> Tensor:
    """Of the token after each of these (rows, tokens): (rows, tokens, V)."""
    logits = getattr(call(model, torch.from_numpy(prompts).to(model.device)), "logits", None)
    if not isinstance(logits, Tensor) or logits.ndim != 3 or logits.shape[:2] != prompts.shape:
        shape = f" but {tuple(logits.shape)} for {prompts.shape}" if isinstance(logits, Tensor) else ""
        raise InputError(f"gives no logits for each token of a prompt{shape}")
    return logits.float()


def _tolerance(logits: Tensor, dtype: torch.dtype) -> float:
    """Logits that all prompts have in common say nothing of a prompt, but they are rounded, too."""
    rows = logits.flatten(0, 1)
    rows = rows[torch.isfinite(rows).any(-1)]
    if not len(rows):
        raise InputError("gives no finite numbers")
    rows.nan_to_num_(0, 0, 0)  # in place, here and below: they may be 256,000 wide
    highest = max(rows.max().item(), -rows.min().item())
    spread = rows.sub_(rows.mean(0)).square_().mean().sqrt().item()
    return _ROUNDING[dtype] * spread + 2 * torch.finfo(dtype).eps * highest


def _check_causal(probe: Probe, prompts: NDArray[np.int64], logits: Tensor) -> None:
    for row in range(1, len(prompts)):
        shared = int(np.flatnonzero(prompts[row] != prompts[row - 1])[0])
        one, other = logits[row, :shared], logits[row - 1, :shared]
        # What is not finite after a later token may well be so after an earlier one: 0 times infinity.
        both = torch.isfinite(one) & torch.isfinite(other)
        if shared and not probe.equal(one.masked_fill(~both, 0), other.masked_fill(~both, 0)):
            raise InputError("is not causal: a later token changes what it says after an earlier one")
