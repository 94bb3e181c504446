"""Models' probabilities of the completions of any prompts that are given: the last token of each, after those before.

Numbers are those of the top tables, made the same way; the catalog lends its tokenizer and its tables to ask SQL of,
and stays as it is. Prompts are worked on in blocks, so that neither they nor the answers need to fit the memory. Each
model runs on its first device.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from taskcatalog.catalog.catalog import Catalog
from taskcatalog.catalog.database import rows_of
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.results import TableFormat, format_of, write_result
from taskcatalog.counting.prompt_file import read_prompts
from taskcatalog.counting.prompt_ids import Prompts, as_ids
from taskcatalog.errors import SettingsError
from taskcatalog.lm.bos import Bos, bos_id_of
from taskcatalog.lm.load import Dtype, FoundModel
from taskcatalog.lm.memory import kept_memory
from taskcatalog.lm.model import LanguageModel
from taskcatalog.runs.outputs import check_result_file
from taskcatalog.runs.progress import note, progress_bar
from taskcatalog.sizes import Size, memory_budget, sufficient_budget
from taskcatalog.storage import locate_here
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.tables.ngrams import predictions
from taskcatalog.tables.parquet import table_writer
from taskcatalog.tables.sorting import parquet_files
from taskcatalog.tasks.checks import check_ids_known, check_length, check_tokenizer
from taskcatalog.tasks.completions import ANSWERS, answered, find_models
from taskcatalog.tasks.on_devices import result_of
from taskcatalog.tasks.predict import predict_needs
from taskcatalog.tasks.prompts import distinct_rows
from taskcatalog.vocabulary import Vocabulary

_PROMPTS_AT_ONCE = 1 << 17
GivenPrompts: TypeAlias = Prompts | PathLike[str] | Any
"""Also a file that ``read_prompts`` reads, or a table with a column ``ids`` or ``text``: Arrow's, or a DataFrame."""


def predict_prompts(
    catalog: str | PathLike[str],
    models: str | Path | Sequence[str | Path],
    prompts: GivenPrompts | None = None,
    *,
    sql: str | None = None,
    out: str | Path | None = None,
    format: TableFormat | None = None,  # noqa: A002
    bos: Bos = False,
    revision: str | None = None,
    revisions: Sequence[str] = (),
    label: str | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    memory: Size | None = None,
    force: bool = False,
) -> pa.Table:
    """Asks models for the probability of the last token of any prompts, after the tokens before it.

    ``prompts`` are texts, lists of ids, a table or DataFrame with a column ``ids`` or ``text``, or a Path of a file
    with one; or the rows of a query over the catalog, ``sql``, with such a column or the columns ``id0``, ``id1`` ….
    Returns a table with a row for each model and prompt, and the columns that ``answers_of`` tells; or None, having
    written it to the file ``out`` (Parquet, CSV or JSON, as ``format`` or its name says). The catalog stays as it is.
    Models and ``bos`` are as in ``predict``.

    Raises SettingsError for what is no prompt, InputError for a model that cannot be used.
    """
    folder = CatalogFolder(locate_here(catalog))
    memory_budget(memory)  # whatever else is wrong, its form is said first
    if (prompts is None) == (sql is None):
        raise SettingsError("prompts and sql: give one or the other")
    file = locate_here(out) if out is not None else None
    if file is not None:
        format = format or format_of(file)  # noqa: A001
        check_result_file(file, force=force)
    vocabulary = folder.vocabulary()
    found = find_models(models, revision=revision, revisions=revisions, label=label, device=device, dtype=dtype)
    for model in found:
        check_tokenizer(vocabulary, model, folder.path)
    with Catalog(folder.path, memory=memory) as opened, given_prompts(opened, prompts, sql) as given:
        for model in found:
            needed = predict_needs(model, [max(2, given.longest)])
            sufficient_budget(memory, needed.least, f"predicting with model {model.name.label}")
        with answers_of(given, found, bos, opened) as answers:
            if file is None or format is None:
                return answers.to_arrow_table()
            write_result(answers, format, file, force=force)
    return None


@dataclass(frozen=True)
class GivenCorpus:
    """What is known of the ids that prompts have."""

    path: Path
    identity: StoreIdentity
    vocabulary: Vocabulary | None


@dataclass(frozen=True)
class Given:
    """Prompts in a file: ``row``, their number, and ``ids``; each row group is a block."""

    file: Path
    n_prompts: int
    longest: int
    """Of them, in tokens."""
    largest_id: int


@contextmanager
def given_prompts(catalog: Catalog, prompts: GivenPrompts | None, sql: str | None) -> Iterator[Given]:
    """The ids of all prompts, in a file that goes at the end. Raises SettingsError for what is no prompt, or for one
    that is too short to have a completion."""
    corpus = GivenCorpus(catalog.folder.path, catalog.identity, catalog.vocabulary)
    blocks = _of_query(catalog, sql, corpus) if sql is not None else iter([as_ids(_column(prompts), corpus)])
    n_prompts, longest, largest_id = 0, 0, 0
    with tempfile.TemporaryDirectory(prefix="taskcatalog-predict-") as name:
        file = Path(name) / "prompts.parquet"
        ids_type = _list_type(corpus.identity)
        schema = pa.schema([pa.field("row", pa.uint64()), pa.field("ids", ids_type)])
        with table_writer(file, schema, _PROMPTS_AT_ONCE) as writer:
            for ids, lengths in blocks:
                if len(lengths) and int(lengths.max()) >= 1:
                    longest = max(longest, int(lengths.max()))
                    largest_id = max(largest_id, int(ids.max()))
                if len(single := np.flatnonzero(lengths < 2)):
                    raise SettingsError(
                        f"prompt {n_prompts + single[0]}: has one token: the last is the completion and those before "
                        "it are the prefix, so give at least two"
                    )
                numbers = np.arange(n_prompts, n_prompts + len(lengths))
                writer.write({"row": numbers, "ids": _lists(ids, lengths, ids_type)})
                n_prompts += len(lengths)
        yield Given(file, n_prompts, longest, largest_id)


@contextmanager
def answers_of(
    given: Given, models: Sequence[FoundModel], bos: Bos, catalog: Catalog
) -> Iterator[duckdb.DuckDBPyRelation]:
    """What each model says of each prompt: rows to read once, in the order of the models and the prompts.

    Columns: ``row``, the number of the prompt; ``ids`` and ``text``; and as in the table ``predictions`` ``model``,
    ``revision``, ``dtype``, ``p``, ``rank``, ``best_id``, ``best_p``, ``entropy``. The last five are null where one is
    no finite number.
    """
    parts = []
    for i, found in enumerate(models):
        bos_id = bos_id_of(found, bos, catalog.vocabulary)
        model = found.load()
        check_length(given.longest - 1 + (bos_id is not None), model)
        check_ids_known(given.largest_id, model, catalog.folder.path)
        parts.append(given.file.with_name(f"answers-{i:05d}.parquet"))
        _ask(given, model, bos_id, catalog, parts[-1])
        del model  # before the next one is loaded
    with duckdb.connect(config={"threads": 1}) as database:
        yield database.sql(f"SELECT * FROM {parquet_files(parts)}")


def _ask(given: Given, model: LanguageModel, bos_id: int | None, catalog: Catalog, out: Path) -> None:
    id_dtype, name, vocabulary = catalog.identity.id_dtype, model.name, catalog.vocabulary
    schema, not_finite = _schema(catalog.identity), 0
    bar = progress_bar(f"predict {name.label}", given.n_prompts, "prompts")
    with kept_memory(), bar, pq.ParquetFile(given.file) as file, table_writer(out, schema) as writer:
        for block in range(file.num_row_groups):
            table = file.read_row_group(block)
            prompts = table["ids"].combine_chunks()
            offsets = prompts.offsets.to_numpy()
            ids = prompts.values.to_numpy()
            columns: dict[str, NDArray[Any]] = {}
            finite = np.zeros(len(prompts), np.bool_)
            for rows, grams in by_length(ids, offsets):
                distinct = distinct_rows(grams, 8 * id_dtype.itemsize)
                said, are_finite = result_of(answered(model, distinct.rows, bos_id))
                for column, values in said.items():
                    columns.setdefault(column, np.zeros(len(prompts), values.dtype))[rows] = values[distinct.inverse]
                finite[rows] = are_finite[distinct.inverse]
                bar.update(len(rows))
            not_finite += int((~finite).sum())
            texts = None if vocabulary is None else [vocabulary.text(one) for one in np.split(ids, offsets[1:-1])]
            writer.write(
                {
                    "row": table["row"].combine_chunks(),
                    "model": np.repeat(name.label, len(prompts)),
                    "revision": np.repeat(name.revision, len(prompts)),
                    "dtype": np.repeat(name.dtype, len(prompts)),
                    "ids": prompts,
                    "text": pa.nulls(len(prompts), pa.string()) if texts is None else pa.array(texts, pa.string()),
                    **{
                        column: pa.array(columns[column], schema.field(column).type, mask=~finite) for column in ANSWERS
                    },
                }
            )
    if not_finite:
        note(f"model {name.label}: {not_finite:,} prompts have an answer that is no finite number: null in the result")


def by_length(ids: NDArray[Any], offsets: NDArray[Any]) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Prompts in a row, each from its offset on, as one matrix (rows, n) for each length, with which rows those are."""
    lengths = np.diff(offsets)
    for n in np.unique(lengths).tolist():
        rows = np.flatnonzero(lengths == n)
        yield rows, ids[offsets[rows][:, None] + np.arange(n)]


def _of_query(catalog: Catalog, query: str, corpus: GivenCorpus) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    schema, batches = rows_of(catalog.sql(query), _PROMPTS_AT_ONCE)
    first = 0
    for batch in batches:
        try:
            yield as_ids(_of_table(pa.Table.from_batches([batch], schema)), corpus)
        except SettingsError as error:
            raise SettingsError(f"rows of the query from {first} on: {error}") from error
        first += batch.num_rows
    if not first:
        _of_table(schema.empty_table())  # says what is wrong with its columns


def _column(prompts: GivenPrompts | None) -> Any:
    """The texts or ids of prompts, however they were given."""
    if isinstance(prompts, PathLike):
        return read_prompts(Path(prompts))[1]
    if isinstance(prompts, str):
        raise SettingsError(f"prompts are the text {prompts[:60]!r}: give a list of texts, or a Path for a file")
    if isinstance(prompts, pa.Array | pa.ChunkedArray | np.ndarray):
        return prompts
    if hasattr(prompts, "columns"):  # a DataFrame, or Arrow's table
        return _of_table(pa.table(prompts))
    return prompts


def _of_table(table: pa.Table) -> Any:
    """The column ``ids`` or ``text``, or the columns ``id0``, ``id1`` … as a matrix (rows, n)."""
    for name in ("ids", "text"):
        if name in table.column_names:
            return table[name]
    numbered = [f"id{i}" for i in range(len(table.column_names)) if f"id{i}" in table.column_names]
    if not numbered or numbered != [f"id{i}" for i in range(len(numbered))]:
        there = ", ".join(table.column_names)
        raise SettingsError(f"prompts have the columns {there}: name one 'ids' or 'text', or several 'id0', 'id1', …")
    columns = [table[name] for name in numbered]
    if any(column.null_count or not pa.types.is_integer(column.type) for column in columns):
        raise SettingsError(f"prompts have columns {', '.join(numbered)} that are not all integers, or have nulls")
    return np.stack([column.to_numpy() for column in columns], 1)


def _list_type(identity: StoreIdentity) -> pa.DataType:
    return predictions().schema(identity.id_dtype).field("ids").type


def _lists(ids: NDArray[Any], lengths: NDArray[np.int64], kind: pa.DataType) -> pa.ListArray:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(offsets, ids, type=kind)


def _schema(identity: StoreIdentity) -> pa.Schema:
    declared = predictions().schema(identity.id_dtype)
    names = ("model", "revision", "dtype", "ids")
    return pa.schema(
        [
            pa.field("row", pa.uint64(), nullable=False),
            *(declared.field(name) for name in names),
            pa.field("text", pa.string()),
            *(declared.field(name).with_nullable(True) for name in ANSWERS),
        ]
    )
