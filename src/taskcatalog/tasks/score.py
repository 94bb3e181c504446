"""Distinct long prompts to tasks: which ones does the model answer with confidence, and differently without
their first token?

The short prompts are asked only for long prompts that pass the threshold on ``p_long``, and each distinct one
once. In a 16-bit run, what is within rounding of a threshold or not finite is asked again in float32. How far rounding
goes is measured for each model, on a sample of the prompts.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from taskcatalog.lm.forward import PromptRunner
from taskcatalog.lm.measures import Asked, AskedInPieces, changes
from taskcatalog.lm.model import LanguageModel
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.tables.parquet import list_array, table_writer, text_array
from taskcatalog.tables.schemas import SCAN_MEASURES, id_columns, measures_schema
from taskcatalog.tasks.asking import Asker, AskJob
from taskcatalog.tasks.prompts import distinct_rows, ids_of, n_parts, read_part

Divergence = Literal["jeffreys", "jsd"]
T = TypeVar("T")

_SAMPLED_PARTS, _SAMPLED_ROWS = 16, 128
"""Of the prompts, to measure rounding: so many parts, and rows of each."""
_MARGIN = 3.0
"""Rounding may do so many times what it does to the sample."""
_LEAST_NEAR = 64
"""Rows of the sample whose divergence is near the threshold, for those to speak for all."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What makes a prompt a task; both strictly."""

    min_probability: float
    min_divergence: float
    divergence: Divergence


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """How far from a threshold a 16-bit value may be and still fall on its other side in float32."""

    p: float
    divergence: float


@dataclass(frozen=True, kw_only=True)
class PromptAsker:
    """A model, set up to be asked about prompts with and without their first token."""

    model: LanguageModel
    short: PromptRunner
    long: PromptRunner

    @classmethod
    def of(cls, model: LanguageModel, prompt_length: int, bos_id: int | None) -> "PromptAsker":
        return cls(
            model=model,
            short=PromptRunner(model, prompt_length, bos_id),
            long=PromptRunner(model, prompt_length + 1, bos_id),
        )

    @property
    def n_positions(self) -> int:
        """Tokens that the model was run on, until now."""
        return self.short.n_positions + self.long.n_positions


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The measures of the prompts ``rows`` of those that were asked; each array is (len(rows),)."""

    rows: NDArray[np.int64]
    p_short: NDArray[np.float32]
    p_long: NDArray[np.float32]
    short_max_id: NDArray[np.int64]
    long_max_id: NDArray[np.int64]
    half_jeffreys: NDArray[np.float32]
    jsd: NDArray[np.float32]
    p_delta_max: NDArray[np.float32]
    logit_excite_max: NDArray[np.float32]
    logit_inhibit_max: NDArray[np.float32]

    def where(self, keep: NDArray[np.bool_]) -> "Scores":
        return Scores(**{field.name: getattr(self, field.name)[keep] for field in fields(self)})

    def joined(self, other: "Scores") -> "Scores":
        columns = {
            field.name: np.concatenate([getattr(self, field.name), getattr(other, field.name)])
            for field in fields(self)
        }
        order = np.argsort(columns["rows"], kind="stable")
        return Scores(**{name: column[order] for name, column in columns.items()})

    def divergence(self, kind: Divergence) -> NDArray[np.float32]:
        return self.half_jeffreys if kind == "jeffreys" else self.jsd

    def finite(self) -> NDArray[np.bool_]:
        measures = (getattr(self, field.name) for field in fields(self) if field.name != "rows")
        finite: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(measure) for measure in measures])
        return finite


def score(
    asker: PromptAsker, prompts: NDArray[Any], bits: int, above_p: float
) -> Generator[int, None, tuple[Scores, NDArray[np.int64]]]:
    """The measures of those sorted, distinct long prompts (rows, length) whose ``p_long`` is above ``above_p``, and
    the rows whose ``p_long`` is not finite. Yields how many prompts were asked, on the way."""
    model = asker.model
    kept, places, lost = AskedInPieces(len(prompts)), [], []
    for stretch, hidden in asker.long.stretches(prompts):
        asked = Asked.of(model, hidden)
        above = torch.nonzero(asked.best.p > above_p)[:, 0]
        kept.add(asked.rows(above))
        places.append(stretch.start + _numpy(above))
        lost.append(stretch.start + np.flatnonzero(~_numpy(torch.isfinite(asked.best.p))))
        yield len(hidden)
    longs, chosen = kept.joined(), np.concatenate(places)
    # Long prompts with different first tokens share short ones.
    short = distinct_rows(prompts[chosen, 1:], bits)
    kept = AskedInPieces(len(short.rows))
    for _, hidden in asker.short.stretches(short.rows):
        kept.add(Asked.of(model, hidden))
    shorts = kept.joined()
    change = changes(model, shorts, torch.from_numpy(short.inverse).to(model.device), longs)
    scores = Scores(
        rows=chosen,
        p_short=_numpy(shorts.best.p)[short.inverse],
        p_long=_numpy(longs.best.p),
        short_max_id=_numpy(shorts.best.ids)[short.inverse].astype(np.int64),
        long_max_id=_numpy(longs.best.ids).astype(np.int64),
        **{field.name: _numpy(getattr(change, field.name)) for field in fields(change)},
    )
    return scores, np.concatenate(lost)


def measured_doubt(
    asker: PromptAsker, exact: PromptAsker, prompts: NDArray[Any], bits: int, thresholds: Thresholds
) -> Doubt:
    """What rounding does to a 16-bit model's answers to a sample of sorted, distinct long prompts (rows, length), and a
    margin."""
    rounded, true = (_result(score(one, prompts, bits, -1.0))[0] for one in (asker, exact))
    rounded, true = (scores.where(scores.finite()) for scores in (rounded, true))
    rounded, true = (one.where(np.isin(one.rows, other.rows)) for one, other in ((rounded, true), (true, rounded)))
    p = np.abs(rounded.p_long - true.p_long)
    divergence = true.divergence(thresholds.divergence)
    change = np.abs(rounded.divergence(thresholds.divergence) - divergence)
    # A large divergence is rounded by more than one near the threshold.
    near = (divergence > thresholds.min_divergence / 4) & (divergence < thresholds.min_divergence * 4)
    change = change[near] if near.sum() >= _LEAST_NEAR else change
    return Doubt(p=_MARGIN * float(p.max(initial=0)), divergence=_MARGIN * float(change.max(initial=0)))


def score_exactly(
    asker: PromptAsker,
    exact: PromptAsker | None,
    prompts: NDArray[Any],
    bits: int,
    thresholds: Thresholds,
    everything: bool,
    doubt: Doubt,
) -> Generator[int, None, tuple[Scores, NDArray[np.bool_], int]]:
    """The prompts that may be tasks, or ``everything``, which of them are accepted, and how many prompts were not
    finite; ``exact`` asks again what a 16-bit model leaves in ``doubt``. Yields as ``score`` does."""
    floor = -1.0 if everything else thresholds.min_probability
    if exact is None:
        scores, lost = yield from score(asker, prompts, bits, floor)
        n_lost = len(lost)
    else:
        scores, lost = yield from score(asker, prompts, bits, floor - doubt.p)
        above_p = scores.p_long - thresholds.min_probability
        above_divergence = scores.divergence(thresholds.divergence) - thresholds.min_divergence
        may_be_task = (above_p >= -doubt.p) & (above_divergence >= -doubt.divergence)
        is_surely_task = (above_p > doubt.p) & (above_divergence > doubt.divergence)
        in_doubt = may_be_task & ~is_surely_task | ~scores.finite()
        again = np.union1d(scores.rows[in_doubt], lost)
        settled, lost = _result(score(exact, prompts[again], bits, floor))
        scores = scores.where(~in_doubt).joined(Scores(**vars(settled) | {"rows": again[settled.rows]}))
        n_lost = len(lost)
    finite = scores.finite()
    scores = scores.where(finite)
    accepted = (scores.p_long > thresholds.min_probability) & (
        scores.divergence(thresholds.divergence) > thresholds.min_divergence
    )
    return scores, accepted, n_lost + int((~finite).sum())


@dataclass
class Scorer(Asker):
    prompt_length: int
    bos_id: int | None
    bits: int
    """Of an id."""
    thresholds: Thresholds

    @cached_property
    def asker(self) -> PromptAsker:
        return self._asker(self.found.name.dtype)

    @cached_property
    def exact(self) -> PromptAsker | None:
        return None if self.found.name.dtype == "float32" else self._asker("float32")

    @cached_property
    def _doubts(self) -> dict[Path, Doubt]:
        return {}

    def doubt(self, prompts: Path) -> Doubt:
        """The same in every process and on every day: its sample is of the whole file."""
        if self.exact is None:
            return Doubt(p=0, divergence=0)
        if prompts not in self._doubts:
            parts = np.unique(np.linspace(0, n_parts(prompts) - 1, _SAMPLED_PARTS).astype(int))
            tables = [ids_of(read_part(prompts, int(part)), self.prompt_length + 1) for part in parts]
            sample = [
                ids[np.unique(np.linspace(0, len(ids) - 1, _SAMPLED_ROWS * _SAMPLED_PARTS // len(parts)).astype(int))]
                for ids in tables
            ]
            rows = np.concatenate(sample)
            self._doubts[prompts] = measured_doubt(self.asker, self.exact, rows, self.bits, self.thresholds)
        return self._doubts[prompts]

    def _asker(self, dtype: str) -> PromptAsker:
        return PromptAsker.of(self.found.load(dtype, self.device), self.prompt_length, self.bos_id)


@dataclass(frozen=True, kw_only=True)
class Scored(Facts):
    """Of some distinct prompts. Its amount is their number."""

    not_finite: int
    """Prompts left out, as a measure was not a finite number."""
    positions: int
    """Tokens that the model was run on."""
    windows: int
    """The prompts, as often as they occur in the corpus."""


@dataclass(frozen=True, kw_only=True)
class ScoreJob(AskJob[Scorer]):
    """One row group of the distinct prompts; the accepted ones go to ``out``, all of them to ``measures``."""

    folder: Path
    prompts: Path
    row_group: int
    out: Path
    measures: Path | None

    def ask(self, asker: Scorer) -> Iterator[int | Part]:
        table = read_part(self.prompts, self.row_group)
        prompts = ids_of(table, asker.prompt_length + 1)
        askers = [one for one in (asker.asker, asker.exact) if one is not None]
        doubt = asker.doubt(self.prompts)
        before = sum(one.n_positions for one in askers)
        scores, is_accepted, n_lost = yield from score_exactly(
            asker.asker, asker.exact, prompts, asker.bits, asker.thresholds, self.measures is not None, doubt
        )
        accepted = scores.where(is_accepted)
        places = {name: table[name].to_numpy()[accepted.rows] for name in ("count", "place")}
        with table_writer(self.out, accepted_schema(prompts.dtype)) as writer:
            writer.write({"long_ids": list_array(prompts[accepted.rows])} | places | _measures(accepted))
        files = [self.out]
        if self.measures is not None:
            rows = dict(zip(id_columns(prompts.shape[1]), prompts[scores.rows].T, strict=True))
            rows |= {"count": table["count"].to_numpy()[scores.rows]}
            rows |= {"model": text_array([asker.found.name.label] * len(scores.rows))} | _measures(scores)
            with table_writer(self.measures, measures_schema(prompts.shape[1], prompts.dtype)) as writer:
                writer.write(rows)
            files.append(self.measures)
        positions = sum(one.n_positions for one in askers) - before
        windows = int(table["count"].to_numpy().sum())
        facts = Scored(amount=len(prompts), not_finite=n_lost, positions=positions, windows=windows)
        yield finished(self.folder, files, facts)


def _result(steps: Generator[int, None, T]) -> T:
    """What they end in."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def _measures(scores: Scores) -> dict[str, Any]:
    """Columns by name."""
    columns = {field.name: getattr(scores, field.name) for field in fields(scores) if field.name != "rows"}
    columns["JS"] = columns.pop("half_jeffreys")
    return columns


def accepted_schema(ids: np.dtype[Any]) -> pa.Schema:
    """An accepted prompt: its ids, where and how often it occurs, its measures."""
    id_list = pa.list_(pa.field("element", pa.from_numpy_dtype(ids), nullable=False))
    return pa.schema(
        [
            pa.field("long_ids", id_list),
            *(pa.field(name, pa.uint64()) for name in ("count", "place")),
            *(pa.field(name, pa.uint32()) for name in ("short_max_id", "long_max_id")),
            *(pa.field(name, pa.float32()) for name in SCAN_MEASURES),
        ]
    )


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
