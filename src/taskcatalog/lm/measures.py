"""Measures of output distributions, a bounded number of rows at a time.

Shape legend: B rows, V output width. Logits come in float32; distributions are over all V.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import TypeVar

import torch
from torch import Tensor

from taskcatalog.lm.model import LanguageModel

_LOGITS_BYTES = 1 << 23
"""Of one float32 matrix of logits; a few such matrices exist at once."""


M = TypeVar("M", "Best", "Answer", "Change")


@dataclass(frozen=True)
class Best:
    """The most likely next token of each row: its id, and its probability."""

    ids: Tensor
    p: Tensor


@dataclass(frozen=True)
class Answer:
    """What a model says of one given completion of each row."""

    p: Tensor
    """The completion's probability."""
    rank: Tensor
    """1 + the number of tokens that are more likely."""
    best_id: Tensor
    best_p: Tensor


@dataclass(frozen=True)
class Change:
    """How the next token's distribution changes from the short prompt S to the long prompt L, by row."""

    half_jeffreys: Tensor
    """(KL(S‖L) + KL(L‖S)) / 2 in nats: half the Jeffreys divergence, unbounded. The tables' ``JS``."""
    jsd: Tensor
    """The Jensen-Shannon divergence in nats: (KL(S‖M) + KL(L‖M)) / 2 with M = (S + L) / 2, at most ln 2."""
    p_delta_max: Tensor
    """Largest absolute change of any token's probability."""
    logit_excite_max: Tensor
    """Largest rise of any logit from S to L."""
    logit_inhibit_max: Tensor
    """Largest fall of any logit from S to L."""


@torch.inference_mode()
def best_tokens(model: LanguageModel, hidden: Tensor) -> Best:
    """The most likely next token after each of the last hidden states; of equals the smallest id."""

    def best(rows: slice) -> Best:
        logits = model.logits(hidden[rows])
        largest, ids = logits.max(-1)
        return Best(ids, (largest - logits.logsumexp(-1)).exp())

    return _joined(Best, best, len(hidden), model)


@torch.inference_mode()
def answers(model: LanguageModel, hidden: Tensor, completions: Tensor) -> Answer:
    """Probability and rank of one completion (B,) for each of the last hidden states (B, D)."""

    def answer(rows: slice) -> Answer:
        logits = model.logits(hidden[rows])
        log_total = logits.logsumexp(-1)
        asked = logits.gather(-1, completions[rows, None])
        largest, ids = logits.max(-1)
        rank = 1 + (logits > asked).sum(-1)
        return Answer((asked[:, 0] - log_total).exp(), rank, ids, (largest - log_total).exp())

    return _joined(Answer, answer, len(hidden), model)


@torch.inference_mode()
def changes(model: LanguageModel, hidden_short: Tensor, short: Tensor, hidden_long: Tensor, long: Tensor) -> Change:
    """The measures of pairs of prompts: rows ``short`` and ``long`` (B,) of last hidden states."""

    def change(rows: slice) -> Change:
        return compare(model.logits(hidden_short[short[rows]]), model.logits(hidden_long[long[rows]]))

    return _joined(Change, change, len(short), model)


def compare(short_BV: Tensor, long_BV: Tensor) -> Change:
    """The measures of pairs of logits."""
    rise = long_BV - short_BV
    log_s, log_l = short_BV.log_softmax(-1), long_BV.log_softmax(-1)
    s, l = log_s.exp(), log_l.exp()  # noqa: E741
    delta = l - s
    # Each term of the sum is at or above zero, so nothing cancels.
    half_jeffreys = (delta * (log_l - log_s)).sum(-1) / 2
    log_middle = ((s + l) / 2).log().nan_to_num(neginf=0)
    jsd = (_terms(s, log_s - log_middle) + _terms(l, log_l - log_middle)).sum(-1) / 2
    return Change(half_jeffreys, jsd, delta.abs().amax(-1), rise.amax(-1), (-rise).amax(-1))


def _terms(p: Tensor, log_ratio: Tensor) -> Tensor:
    """``p`` log ratio, with 0 where p is 0."""
    return torch.where(p > 0, p * log_ratio, 0)


def _joined(kind: type[M], measure: Callable[[slice], M], n_rows: int, model: LanguageModel) -> M:
    """The measures of all rows, taken as many at a time as their logits fit the memory."""
    names = [field.name for field in fields(kind)]
    pieces = [measure(rows) for rows in _slices(n_rows, model.output_width)]
    if not pieces:
        return kind(*(torch.empty(0, device=model.device) for _ in names))
    return kind(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in names))


def _slices(n_rows: int, width: int) -> Iterator[slice]:
    step = max(1, _LOGITS_BYTES // (4 * width))
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))
