"""Each model's probability of every completion in the top tables."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.made import Made
from taskcatalog.errors import ConflictError, InputError
from taskcatalog.lm.bos import Bos, bos_id_of
from taskcatalog.lm.load import Dtype, FoundModel
from taskcatalog.lm.measures import answer_bytes
from taskcatalog.lm.model import LanguageModel
from taskcatalog.lm.needs import MOST_PROMPTS, Needs, largest, needs
from taskcatalog.runs.driver import Work
from taskcatalog.runs.files import folder_held
from taskcatalog.runs.jobs import Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part, finished, problem_of
from taskcatalog.runs.stage import Stage
from taskcatalog.sizes import Size, memory_budget, sufficient_budget
from taskcatalog.storage import locate_here
from taskcatalog.tables import ngrams, registry
from taskcatalog.tables.names import id_columns, top_table
from taskcatalog.tables.parquet import list_array, table_writer
from taskcatalog.tables.sorting import parquet_files, write_sorted
from taskcatalog.tasks.checks import check_ids_known, check_label, check_length, check_tokenizer
from taskcatalog.tasks.completions import answered, find_models
from taskcatalog.tasks.on_devices import DeviceModel, ModelJob, run_on_devices
from taskcatalog.tasks.prompts import PROMPTS_PER_PART, ids_of, n_parts, read_part

STAGE = Stage("predict", registry.files_of("predict"), {"bos": False})


@dataclass(frozen=True, kw_only=True)
class PredictResult(Made):
    """What was asked. The rows are those of the models of this call."""

    completions: Mapping[str, int]
    """How many completions each model was asked for, by its label."""


@dataclass(frozen=True, kw_only=True)
class _Predicted(Facts):
    """Of some n-grams. Its amount is their number."""

    predictions: int
    not_finite: int


@dataclass
class _Predictor(DeviceModel):
    bos_id: int | None

    @cached_property
    def loaded(self) -> LanguageModel:
        return self.found.load(device=self.device)


@dataclass(frozen=True, kw_only=True)
class _PredictJob(ModelJob[_Predictor]):
    """One row group of sorted n-grams."""

    folder: Path
    prompts: Path
    row_group: int
    n: int

    def run_with(self, model: _Predictor) -> Iterator[int | Part]:
        loaded, name = model.loaded, model.loaded.name
        grams = ids_of(read_part(self.prompts, self.row_group), self.n)
        columns, finite = yield from answered(loaded, grams, model.bos_id)
        n_rows = int(finite.sum())
        out = self.folder / f"{self.n}-{self.row_group:05d}.parquet"
        with table_writer(out, ngrams.predictions().schema(grams.dtype)) as writer:
            writer.write(
                {
                    "model": np.repeat(name.label, n_rows),
                    "revision": np.repeat(name.revision, n_rows),
                    "dtype": np.repeat(name.dtype, n_rows),
                    "n": np.full(n_rows, self.n),
                    "ids": list_array(grams[finite]),
                    **{column: values[finite] for column, values in columns.items()},
                }
            )
        facts = _Predicted(amount=len(grams), predictions=n_rows, not_finite=len(grams) - n_rows)
        yield finished(self.folder, [out], facts)


def predict(
    catalog: str | PathLike[str],
    models: str | Path | Sequence[str | Path],
    *,
    bos: Bos = False,
    revision: str | None = None,
    revisions: Sequence[str] = (),
    label: str | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    memory: Size | None = None,
    pool: Pool | None = None,
    force: bool = False,
) -> PredictResult:
    """Asks models for the probability of every completion in the catalog's top tables.

    Each model (a hub name, a folder, or ``pythia`` for all eight deduplicated sizes) gets files of its own under its
    label; the others' stay as they are. With ``revisions``, each model is asked as it was at each of them. The same
    call again goes on where it was stopped, or does nothing. ``pool`` does the work in place of a process for each
    device. ``bos`` puts the model's beginning-of-sequence token in front of every prompt; ``auto`` where ``lm.bos``
    finds that it was trained so.

    Raises InputError for a catalog without top tables or a model that cannot be used.
    """
    started = time.perf_counter()
    folder = CatalogFolder(locate_here(catalog))
    identity = folder.identity()
    memory_budget(memory)  # whatever else is wrong, its form is said first
    found = find_models(models, revision=revision, revisions=revisions, label=label, device=device, dtype=dtype)
    vocabulary = folder.vocabulary()
    for model in found:
        check_tokenizer(vocabulary, model, folder.path)
    for model in found:
        check_label(model.name.label, folder)
    with _counted(folder) as tops:
        runs = []
        for model in found:
            asker = _Predictor(model, bos_id_of(model, bos, vocabulary))
            needed = predict_needs(model, tops)
            is_done = Ledger.is_done(*_run_of(folder, asker, tops))
            doing = f"predicting with model {model.name.label}"
            budget = sufficient_budget(memory, 0 if is_done else needed.least, doing)
            runs.append((asker, budget - needed.held))
        asked_of = {
            asker.found.name.label: _predict_one(folder, asker, tops, identity.id_dtype, rest, pool, force)
            for asker, rest in runs
        }
    rows, seconds = {"predictions": sum(asked_of.values())}, time.perf_counter() - started
    return PredictResult(folder=folder.path, rows=rows, seconds=seconds, completions=asked_of)


def predict_needs(found: FoundModel, ns: Iterable[int]) -> Needs:
    """The system's memory that predicting n-grams takes, besides what DuckDB may use of more."""
    width = largest(found.config.get_text_config(), "vocab_size")
    held = answer_bytes(width, torch.device("cpu")) if width else 0
    lengths = [n - 1 for n in ns] or [1]
    return needs(found.config, found.devices, {found.name.dtype}, lengths, MOST_PROMPTS, held)


@contextmanager
def _counted(folder: CatalogFolder) -> Iterator[dict[int, Path]]:
    """The top tables that are there, by n, held against a command that would replace them.

    Raises InputError where there are none, ConflictError where a command is writing them.
    """
    if not Ledger.exists(folder.ngrams) or not (ledger := Ledger.read(folder.ngrams)).complete:
        raise InputError(f"{folder.path}: has no finished top tables: run 'taskcatalog ngrams STORE --out …' first")
    with folder_held(folder.ngrams):
        if Ledger.read(folder.ngrams).digest != ledger.digest:
            raise ConflictError(f"{folder.ngrams}: was just made anew: give the command again")
        tops = {n: folder.ngrams / f"{top_table(n)}.parquet" for n in ledger.settings["n"] if n > 1}
        for path in tops.values():
            if problem := problem_of(path, ledger.files()[path], quickly=True):
                raise InputError(f"{problem}: restore it, or make the tables anew")
        yield tops


def _predict_one(
    folder: CatalogFolder,
    predictor: _Predictor,
    tops: dict[int, Path],
    id_dtype: np.dtype[np.uint16] | np.dtype[np.uint32],
    memory: int,
    pool: Pool | None,
    force: bool,
) -> int:
    name = predictor.found.name
    with Ledger.begin(*_run_of(folder, predictor, tops), force=force) as ledger:
        if not ledger.complete:
            _check_tops(tops, predictor)
            jobs = _jobs(ledger, predictor, tops, id_dtype, memory)
            total = sum(pq.read_metadata(path).num_rows for path in tops.values())
            work = Work(description=f"predict {name.label}", unit="prompts", total=total)
            run_on_devices(ledger, jobs, predictor, pool, work)
            parts = ledger.facts_of(_Predicted).values()
            predictions, not_finite = sum(part.predictions for part in parts), sum(part.not_finite for part in parts)
            ledger.finish({"predictions": predictions, "not_finite": not_finite})
    return int(ledger.facts["predictions"])


def _run_of(
    folder: CatalogFolder, predictor: _Predictor, tops: dict[int, Path]
) -> tuple[Path, Stage, dict[str, Any], dict[str, Any]]:
    """What a ledger is to say of asking this model: its folder, stage, inputs and settings."""
    top_files = Ledger.read(folder.ngrams).files()
    inputs = {
        "store": folder.identity().fingerprint,
        "tops": {str(n): top_files[path]["sha256"] for n, path in tops.items()},
    }
    name, bos = predictor.found.name, predictor.bos_id is not None
    settings = {"label": name.label, "revision": name.revision, "dtype": name.dtype, "bos": bos}
    return folder.predictions(name.label), STAGE, inputs, settings


def _check_tops(tops: dict[int, Path], predictor: _Predictor) -> None:
    model = predictor.loaded
    check_length(max(tops, default=1) - 1 + (predictor.bos_id is not None), model)
    for n, path in tops.items():
        metadata = pq.read_metadata(path)
        for group in range(metadata.num_row_groups):
            for column in range(n):
                check_ids_known(metadata.row_group(group).column(column).statistics.max, model, path)


def _jobs(
    ledger: Ledger,
    predictor: _Predictor,
    tops: dict[int, Path],
    id_dtype: np.dtype[np.uint16] | np.dtype[np.uint32],
    memory: int,
) -> list[_PredictJob]:
    """The top tables' n-grams, sorted by ids so that prefixes are shared, one row group each."""
    jobs: list[_PredictJob] = []
    for n, top in tops.items():
        prompts = ledger.work / f"prompts-{n}.parquet"
        if (name := f"prompts-{n}") not in ledger.parts:
            ids = ", ".join(id_columns(n))
            query = f"SELECT {ids}, max_count AS count FROM {parquet_files([top])} ORDER BY {ids}"
            schema, spill = ngrams.ngrams(n).schema(id_dtype), prompts.with_suffix(".sort")
            write_sorted(query, schema, prompts, memory, spill, PROMPTS_PER_PART)
            ledger.finish_part(name, finished(ledger.folder, [prompts], Facts()))
        jobs += [
            _PredictJob(name=f"{n}-{i:05d}", model=predictor, folder=ledger.folder, prompts=prompts, row_group=i, n=n)
            for i in range(n_parts(prompts))
        ]
    return jobs
