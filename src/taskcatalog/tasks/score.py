"""Distinct long prompts to tasks: which ones does the model answer with confidence, and differently without
their first token?

The short prompts are asked only for long prompts that pass the threshold on ``p_long``, and each distinct one
once. In a 16-bit run, what is within rounding of a threshold or not finite is asked again in float32. How far rounding
goes is measured for each model, on a sample of the prompts.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from taskcatalog.lm.forward import PromptRunner
from taskcatalog.lm.measures import States, StatesInBatches, changes
from taskcatalog.lm.model import LanguageModel
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.tables import measures as declared
from taskcatalog.tables import scans
from taskcatalog.tables.measures import DIVERGENCE_MEASURE, Divergence
from taskcatalog.tables.names import id_columns
from taskcatalog.tables.parquet import list_array, table_writer, text_array
from taskcatalog.tasks.on_devices import DeviceModel, ModelJob
from taskcatalog.tasks.prompts import distinct_rows, ids_of, n_parts, read_part

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
class PromptModel:
    """A model, set up to run prompts with and without their first token."""

    model: LanguageModel
    short: PromptRunner
    long: PromptRunner

    @classmethod
    def of(cls, model: LanguageModel, prompt_length: int, bos_id: int | None) -> "PromptModel":
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
    """The measures of the prompts ``rows`` of those that were run; each array is (len(rows),)."""

    rows: NDArray[np.int64]
    measures: dict[str, NDArray[Any]]
    """By name, as ``tables.measures`` declares them."""

    def where(self, keep: NDArray[Any]) -> "Scores":
        """Some of them: a mask, or indices."""
        return Scores(rows=self.rows[keep], measures={name: one[keep] for name, one in self.measures.items()})

    def joined(self, other: "Scores") -> "Scores":
        """Both, by row."""
        measures = {name: np.concatenate([one, other.measures[name]]) for name, one in self.measures.items()}
        both = Scores(rows=np.concatenate([self.rows, other.rows]), measures=measures)
        return both.where(np.argsort(both.rows, kind="stable"))

    @property
    def p_long(self) -> NDArray[np.float32]:
        return self.measures["p_long"]

    def divergence(self, kind: Divergence) -> NDArray[np.float32]:
        return self.measures[DIVERGENCE_MEASURE[kind]]

    def finite(self) -> NDArray[np.bool_]:
        finite: NDArray[np.bool_] = np.logical_and.reduce([np.isfinite(measure) for measure in self.measures.values()])
        return finite


def score(
    model: PromptModel, prompts: NDArray[Any], bits: int, above_p: float
) -> Generator[int, None, tuple[Scores, NDArray[np.int64]]]:
    """The measures of those sorted, distinct long prompts (rows, length) whose ``p_long`` is above ``above_p``, and
    the rows whose ``p_long`` is not finite. Yields how many prompts were run, on the way."""
    kept, confident, not_finite = StatesInBatches(len(prompts)), [], []
    for rows, hidden in model.long.batches(prompts):
        states = States.of(model.model, hidden)
        above = torch.nonzero(states.best.p > above_p)[:, 0]
        kept.add(states.rows(above))
        confident.append(rows.start + _numpy(above))
        not_finite.append(rows.start + np.flatnonzero(~_numpy(torch.isfinite(states.best.p))))
        yield len(hidden)
    longs, chosen = kept.joined(), np.concatenate(confident)
    # Long prompts with different first tokens share short ones.
    short = distinct_rows(prompts[chosen, 1:], bits)
    kept = StatesInBatches(len(short.rows))
    for _, hidden in model.short.batches(short.rows):
        kept.add(States.of(model.model, hidden))
    shorts = kept.joined()
    change = changes(model.model, shorts, torch.from_numpy(short.inverse).to(model.model.device), longs)
    measures = {
        "short_max_id": _numpy(shorts.best.ids)[short.inverse].astype(np.int64),
        "long_max_id": _numpy(longs.best.ids).astype(np.int64),
        "p_short": _numpy(shorts.best.p)[short.inverse],
        "p_long": _numpy(longs.best.p),
        **{name: _numpy(one) for name, one in change.items()},
    }
    scores = Scores(rows=chosen, measures={measure.name: measures[measure.name] for measure in declared.MEASURES})
    return scores, np.concatenate(not_finite)


def measured_doubt(
    model: PromptModel, in_float32: PromptModel, prompts: NDArray[Any], bits: int, thresholds: Thresholds
) -> Doubt:
    """What rounding does to a 16-bit model's answers to a sample of sorted, distinct long prompts (rows, length), and a
    margin."""
    rounded, true = (_result(score(one, prompts, bits, -1.0))[0] for one in (model, in_float32))
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
    model: PromptModel,
    in_float32: PromptModel | None,
    prompts: NDArray[Any],
    bits: int,
    thresholds: Thresholds,
    everything: bool,
    doubt: Doubt,
) -> Generator[int, None, tuple[Scores, NDArray[np.bool_], int]]:
    """The prompts that may be tasks, or ``everything``, which of them are accepted, and how many prompts were not
    finite; ``in_float32`` runs again what a 16-bit model leaves in ``doubt``. Yields as ``score`` does."""
    floor = -1.0 if everything else thresholds.min_probability
    if in_float32 is None:
        scores, not_finite = yield from score(model, prompts, bits, floor)
        n_not_finite = len(not_finite)
    else:
        scores, not_finite = yield from score(model, prompts, bits, floor - doubt.p)
        above_p = scores.p_long - thresholds.min_probability
        above_divergence = scores.divergence(thresholds.divergence) - thresholds.min_divergence
        may_be_task = (above_p >= -doubt.p) & (above_divergence >= -doubt.divergence)
        is_surely_task = (above_p > doubt.p) & (above_divergence > doubt.divergence)
        in_doubt = may_be_task & ~is_surely_task | ~scores.finite()
        again = np.union1d(scores.rows[in_doubt], not_finite)
        settled, not_finite = _result(score(in_float32, prompts[again], bits, floor))
        scores = scores.where(~in_doubt).joined(replace(settled, rows=again[settled.rows]))
        n_not_finite = len(not_finite)
    finite = scores.finite()
    scores = scores.where(finite)
    accepted = (scores.p_long > thresholds.min_probability) & (
        scores.divergence(thresholds.divergence) > thresholds.min_divergence
    )
    return scores, accepted, n_not_finite + int((~finite).sum())


@dataclass
class Scorer(DeviceModel):
    """Scores prompts: in the model's own type, and again in float32 what rounding leaves in doubt."""

    prompt_length: int
    bos_id: int | None
    bits: int
    """Of an id."""
    thresholds: Thresholds

    @cached_property
    def prompt_model(self) -> PromptModel:
        return self._prompt_model(self.found.name.dtype)

    @cached_property
    def in_float32(self) -> PromptModel | None:
        return None if self.found.name.dtype == "float32" else self._prompt_model("float32")

    @cached_property
    def _doubts(self) -> dict[Path, Doubt]:
        return {}

    def doubt(self, prompts: Path) -> Doubt:
        """The same in every process and on every day: its sample is of the whole file."""
        if self.in_float32 is None:
            return Doubt(p=0, divergence=0)
        if prompts not in self._doubts:
            parts = np.unique(np.linspace(0, n_parts(prompts) - 1, _SAMPLED_PARTS).astype(int))
            tables = [ids_of(read_part(prompts, int(part)), self.prompt_length + 1) for part in parts]
            sample = [
                ids[np.unique(np.linspace(0, len(ids) - 1, _SAMPLED_ROWS * _SAMPLED_PARTS // len(parts)).astype(int))]
                for ids in tables
            ]
            rows = np.concatenate(sample)
            self._doubts[prompts] = measured_doubt(self.prompt_model, self.in_float32, rows, self.bits, self.thresholds)
        return self._doubts[prompts]

    def _prompt_model(self, dtype: str) -> PromptModel:
        return PromptModel.of(self.found.load(dtype, self.device), self.prompt_length, self.bos_id)


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
class ScoreJob(ModelJob[Scorer]):
    """One row group of the distinct prompts; the accepted ones go to ``out``, all of them to ``measures``."""

    folder: Path
    prompts: Path
    row_group: int
    out: Path
    measures: Path | None

    def run_with(self, model: Scorer) -> Iterator[int | Part]:
        table = read_part(self.prompts, self.row_group)
        prompts = ids_of(table, model.prompt_length + 1)
        models = [one for one in (model.prompt_model, model.in_float32) if one is not None]
        doubt = model.doubt(self.prompts)
        before = sum(one.n_positions for one in models)
        scores, is_accepted, n_not_finite = yield from score_exactly(
            model.prompt_model,
            model.in_float32,
            prompts,
            model.bits,
            model.thresholds,
            self.measures is not None,
            doubt,
        )
        accepted = scores.where(is_accepted)
        occurrences = {name: table[name].to_numpy()[accepted.rows] for name in ("count", "position")}
        with table_writer(self.out, accepted_schema(prompts.dtype)) as writer:
            writer.write({"long_ids": list_array(prompts[accepted.rows])} | occurrences | accepted.measures)
        files = [self.out]
        if self.measures is not None:
            rows = dict(zip(id_columns(prompts.shape[1]), prompts[scores.rows].T, strict=True))
            rows |= {"count": table["count"].to_numpy()[scores.rows]}
            rows |= {"model": text_array([model.found.name.label] * len(scores.rows))} | scores.measures
            schema = scans.measures(model.prompt_length).schema(prompts.dtype)
            with table_writer(self.measures, schema) as writer:
                writer.write(rows)
            files.append(self.measures)
        positions = sum(one.n_positions for one in models) - before
        windows = int(table["count"].to_numpy().sum())
        facts = Scored(amount=len(prompts), not_finite=n_not_finite, positions=positions, windows=windows)
        yield finished(self.folder, files, facts)


def _result(steps: Generator[int, None, T]) -> T:
    """What they end in."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: T = end.value
            return result


def accepted_schema(ids: np.dtype[Any]) -> pa.Schema:
    """An accepted prompt: its ids, where and how often it occurs, its measures."""
    id_list = pa.list_(pa.field("element", pa.from_numpy_dtype(ids), nullable=False))
    return pa.schema(
        [
            pa.field("long_ids", id_list),
            *(pa.field(name, pa.uint64()) for name in ("count", "position")),
            *(measure.field(ids) for measure in declared.MEASURES),
        ]
    )


def _numpy(tensor: torch.Tensor) -> NDArray[Any]:
    array: NDArray[Any] = tensor.cpu().numpy()
    return array
