"""Measures of output distributions, from last hidden states, a tile of some rows and some ids at a time.

Sums and maxima go from one tile to the next, so that logits need not exist all at once.
Shape legend: B rows, D hidden width, V output width, C ids of a tile. Logits come in float32; distributions are
over all V.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TypeAlias

import torch
from torch import Tensor

from taskcatalog.lm.memory import RowsAtOnce
from taskcatalog.lm.model import LanguageModel
from taskcatalog.tables import measures as declared

_TILE = {"cpu": (1_024, 1_024), "cuda": (2_048, 1 << 17)}
"""Most rows and ids of a tile, on each kind of device: what stays in a processor's cache, or keeps a GPU busy."""
_ANSWER_BYTES = {"cpu": 1 << 27, "cuda": 1 << 31}
"""Of logits that are held to be looked at twice, on each kind of device."""
_LEAST_ROWS_HELD = 64
_SMALLEST = torch.finfo(torch.float32).tiny
_LOWEST = torch.finfo(torch.float32).min

Measured: TypeAlias = dict[str, Tensor]
"""Measures by name, each (B,)."""


@dataclass(frozen=True)
class Best:
    """The most likely next token of each row."""

    ids: Tensor
    p: Tensor
    """Its probability."""
    largest: Tensor
    """Its logit."""
    log_sum: Tensor
    """ln Σ exp(logit - largest), at least 0: kept apart, as both are more exact than their sum."""


@dataclass(frozen=True)
class Answer:
    """What a model says of one given completion of each row."""

    p: Tensor
    """The completion's probability."""
    rank: Tensor
    """1 + the number of tokens that are more likely."""
    best_id: Tensor
    best_p: Tensor
    entropy: Tensor
    """Of the next token, in nats."""


@torch.inference_mode()
def best_tokens(model: LanguageModel, hidden: Tensor) -> Best:
    """The most likely next token after each of the last hidden states (B, D); of equals the smallest id."""

    def best(rows: slice) -> Measured:
        return vars(_best(_tiles(model, hidden[rows]), hidden[rows])[0])

    return Best(**_joined(_names(Best), best, len(hidden), model))


@torch.inference_mode()
def answers(model: LanguageModel, hidden: Tensor, completions: Tensor) -> Answer:
    """What is said of one completion (B,) after each of the last hidden states (B, D)."""

    def answer(rows: slice) -> Measured:
        states, wanted = hidden[rows], completions[rows]
        tiles = list(_tiles(model, states))  # looked at twice, which costs less than to make them twice
        best, of_wanted, entropy = _best(tiles, states, wanted)
        above = torch.zeros_like(best.p)
        for _, logits in tiles:
            above += logits.gt_(of_wanted[:, None]).sum(-1)
        p = (of_wanted - best.largest).sub_(best.log_sum).exp_()
        return vars(Answer(p, 1 + above.long(), best.ids, best.p, entropy))

    most_rows = _rows_held(model.output_width, model.device)
    return Answer(**_joined(_names(Answer), answer, len(hidden), model, most_rows))


@dataclass(frozen=True)
class States:
    """Last hidden states (B, D) of prompts, and what is most likely after them."""

    hidden: Tensor
    best: Best

    @classmethod
    def of(cls, model: LanguageModel, hidden: Tensor) -> "States":
        return cls(hidden, best_tokens(model, hidden))

    def rows(self, rows: Tensor | slice) -> "States":
        best = Best(*(getattr(self.best, field.name)[rows] for field in fields(Best)))
        return States(self.hidden[rows], best)


class StatesInBatches:
    """Up to ``most_rows`` rows that come in batches, each copied to where it belongs: they are never held twice."""

    def __init__(self, most_rows: int) -> None:
        self._most_rows = most_rows
        self._hidden = torch.empty(0)
        self._bests: list[Best] = []
        self._n_rows = 0

    def add(self, batch: States) -> None:
        if not self._bests:
            self._hidden = batch.hidden.new_empty((self._most_rows, *batch.hidden.shape[1:]))
        start, self._n_rows = self._n_rows, self._n_rows + len(batch.hidden)
        self._hidden[start : self._n_rows] = batch.hidden
        self._bests.append(batch.best)

    def joined(self) -> States:
        best = Best(*(torch.cat([getattr(best, field.name) for best in self._bests]) for field in fields(Best)))
        return States(self._hidden[: self._n_rows], best)


@torch.inference_mode()
def changes(model: LanguageModel, shorts: States, short: Tensor, longs: States) -> Measured:
    """The measures of pairs of prompts that need both distributions, as ``tables.measures`` declares them: of the rows
    ``short`` (B,) of the short prompts, and all B long ones."""

    def change(rows: slice) -> Measured:
        one, other = shorts.rows(short[rows]), longs.rows(rows)
        total: Measured = {}
        tiles = zip(_tiles(model, one.hidden), _tiles(model, other.hidden), strict=True)
        for (_, short_BC), (_, long_BC) in tiles:
            part = _compared(short_BC, one.best, long_BC, other.best)
            total = {name: _TOGETHER[name](total[name], part[name]) if total else part[name] for name in part}
        return total

    names = [measure.name for measure in declared.MEASURES if measure.needs == "both distributions"]
    return _joined(names, change, len(short), model)


_TOGETHER: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "JS": torch.add,
    "jsd": torch.add,
    "p_delta_max": torch.maximum,
    "logit_excite_max": torch.maximum,
    "logit_inhibit_max": torch.maximum,
}
"""What makes one measure of those of two tiles."""


def _compared(short_BC: Tensor, best_short: Best, long_BC: Tensor, best_long: Best) -> Measured:
    """What the ids of one tile add to each measure, from the short prompt S to the long prompt L."""
    change = long_BC - short_BC
    rise, fall = change.amax(-1), -change.amin(-1)
    log_s, log_l = _log_p(short_BC, best_short), _log_p(long_BC, best_long)
    s, l = log_s.exp(), log_l.exp()  # noqa: E741
    # Where both are 0, so is what they add.
    log_middle = ((s + l) / 2).clamp_(min=_SMALLEST).log_()
    log_s, log_l = log_s.clamp_(min=-1e30), log_l.clamp_(min=-1e30)
    jsd = ((s * (log_s - log_middle)).sum(-1) + (l * (log_l - log_middle)).sum(-1)) / 2
    delta = l.sub_(s)
    # Each term of the sum is at or above zero, so nothing cancels.
    jeffreys = (delta * log_l.sub_(log_s)).sum(-1)
    return {
        "JS": jeffreys / 2,
        "jsd": jsd,
        "p_delta_max": torch.maximum(delta.amax(-1), -delta.amin(-1)),
        "logit_excite_max": rise,
        "logit_inhibit_max": fall,
    }


def _log_p(logits_BC: Tensor, best: Best) -> Tensor:
    """Logarithms of probabilities, in the place of the logits."""
    return logits_BC.sub_(best.largest[:, None]).sub_(best.log_sum[:, None])


def _best(
    tiles: Iterable[tuple[int, Tensor]], hidden: Tensor, wanted: Tensor | None = None
) -> tuple[Best, Tensor, Tensor]:
    """What is most likely; and if there are ids ``wanted`` (B,), their logits and the entropies in nats (B,)."""
    largest = log_sum = torch.full((len(hidden),), -torch.inf, device=hidden.device)
    ids = torch.zeros(len(hidden), dtype=torch.long, device=hidden.device)
    of_wanted, entropy = torch.empty_like(largest), torch.zeros_like(largest)
    for start, logits in tiles:
        tile_largest = logits.amax(-1)
        # Most tiles hold the largest of few rows, and to find where it stands is slow. One that is not a number counts.
        rows = torch.nonzero(~(tile_largest <= largest))[:, 0]
        ids[rows] = logits[rows].argmax(-1) + start
        above = torch.maximum(largest, tile_largest).clamp(min=_LOWEST)
        p = logits.softmax(-1)  # within the tile, and much faster than exp and logsumexp
        is_nothing = tile_largest == -torch.inf
        tile_log_sum = -p.amax(-1).log().masked_fill(is_nothing, torch.inf)
        before, here = log_sum + (largest - above), tile_log_sum + (tile_largest - above)
        log_sum = torch.logaddexp(before, here)
        if wanted is not None:
            rows = torch.nonzero((wanted >= start) & (wanted < start + logits.shape[1]))[:, 0]
            of_wanted[rows] = logits[rows, wanted[rows] - start]
            # Where there is no probability, a logit may be infinite, and adds nothing.
            below = logits.sub(tile_largest[:, None]).clamp_(min=_LOWEST)
            tile_entropy = (tile_log_sum - torch.linalg.vecdot(p, below)).masked_fill(is_nothing, 0)
            known = log_sum.clamp(min=_LOWEST)
            share, tile_share = (before - known).exp(), (here - known).exp()
            entropy = share * entropy + tile_share * tile_entropy  # each term is at or above zero
            entropy += torch.special.entr(share) + torch.special.entr(tile_share)
        largest = above
    return Best(ids, (-log_sum).exp(), largest, log_sum), of_wanted, entropy


def _tiles(model: LanguageModel, hidden: Tensor) -> Iterator[tuple[int, Tensor]]:
    """The logits (B, C) of a row's ids, from ``start`` on; they may be written over."""
    _, width = _tile_of(model)
    for start in range(0, model.output_width, width):
        yield start, model.logits(hidden, slice(start, start + width))


def _tile_of(model: LanguageModel) -> tuple[int, int]:
    return _TILE.get(model.device.type, _TILE["cpu"])


def answer_bytes(output_width: int, device: torch.device) -> int:
    """Of logits that ``answers`` holds."""
    n_rows = min(_rows_held(output_width, device), _TILE.get(device.type, _TILE["cpu"])[0])
    return n_rows * output_width * torch.float32.itemsize


def _rows_held(output_width: int, device: torch.device) -> int:
    n_bytes = _ANSWER_BYTES.get(device.type, _ANSWER_BYTES["cpu"])
    return max(_LEAST_ROWS_HELD, n_bytes // (output_width * torch.float32.itemsize))


def _joined(
    names: Sequence[str],
    measure: Callable[[slice], Measured],
    n_rows: int,
    model: LanguageModel,
    most_rows: int | None = None,
) -> Measured:
    """The measures of all rows, at most ``most_rows`` and a tile's rows at a time; fewer where memory is too short for
    those."""
    n_tile = _tile_of(model)[0]
    at_once = RowsAtOnce(min(n_tile, most_rows or n_tile, n_rows))
    batches = [batch for _, batch in at_once.batches(measure, n_rows)]
    if not batches:
        return {name: torch.empty(0, device=model.device) for name in names}
    return {name: torch.cat([batch[name] for batch in batches]) for name in names}


def _names(kind: type[Best] | type[Answer]) -> list[str]:
    return [field.name for field in fields(kind)]
