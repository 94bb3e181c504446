"""Prompts to the places and documents that they occur in, of a store, or of the store that a catalog is about.

``find`` looks for one prompt and tells of every place. ``count_prompts`` takes a list. Both read the whole store once
and need no index of it: some seconds for a billion tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from taskcatalog.catalog.catalog import Catalog
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.counting.occurrences import Occurrences, count_occurrences
from taskcatalog.counting.prompt_file import read_prompts
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.settings import COUNT, POSITIVE, checked
from taskcatalog.sizes import memory_budget, worker_count
from taskcatalog.storage import AnyPath, locate
from taskcatalog.stores.document import Document, UnknownDocumentError
from taskcatalog.stores.open_store import StoreOptions, open_store
from taskcatalog.stores.store import OpenedStore, unchanged
from taskcatalog.tables.sorting import literal

Place = str | PathLike[str] | AnyPath | OpenedStore | Catalog
"""A store or a catalog, opened, or where it is."""
Prompts = Sequence[str] | Sequence[ArrayLike] | NDArray[Any]
"""Texts, or the ids of each; a matrix is prompts of one length. Also an Arrow array of texts or of lists."""


@dataclass(frozen=True)
class Found:
    """Where a prompt occurs."""

    ids: list[int]
    count: int
    """Occurrences in the whole store."""
    documents: int | None
    """In how many documents these begin; None where the store does not know its documents."""
    table: pa.Table
    """One row for each of the first places, in the store's order: ``token`` (its first token, counted from the store's
    first), ``sequence``, ``start`` (in the sequence), ``document`` (its number), ``source``, ``place`` (line or row
    there, 0 for a file that is one document), ``meta``, and the tokens around it in its sequence, as text and ids:
    ``before``, ``text``, ``after``, ``before_ids``, ``after_ids``. Null is what the store does not know."""


def find(
    where: Place,
    prompt: str | ArrayLike | None = None,
    *,
    task: str | None = None,
    limit: int = 20,
    context: int = 20,
    store: str | AnyPath | None = None,
    options: StoreOptions | None = None,
    workers: int | None = None,
    memory: str | None = None,
) -> Found:
    """Where a prompt, as text or ids, or the long prompt of the task with this id, occurs: the first ``limit`` places.

    ``where`` is a store, or a catalog, whose store is where it was, or at ``store``. Prompts lie within one sequence;
    ``context`` tokens of it are told on both sides. Raises InputError where the store is gone, or is another one than
    the catalog's; SettingsError for a prompt that can occur nowhere.
    """
    limit = checked("limit", limit, Annotated[int, POSITIVE])
    context = checked("context", context, Annotated[int, COUNT])
    if (prompt is None) == (task is None):
        raise SettingsError("find takes a prompt or the id of a task: give one of the two")
    opened = store_of(where, store, options)
    ids, lengths = _as_ids([prompt] if task is None else [_ids_of_task(where, task)], opened)
    with unchanged(opened):
        found = _occurrences(opened, ids, lengths, limit, workers, memory)
        tokens = found.positions[0][found.positions[0] >= 0].tolist()
        table = _table_of_occurrences(opened, ids.tolist(), tokens, context)
    documents = None if found.documents is None else int(found.documents[0])
    return Found(ids.tolist(), int(found.counts[0]), documents, table)


def count_prompts(
    where: Place,
    prompts: Prompts,
    *,
    places: int = 1,
    store: str | AnyPath | None = None,
    options: StoreOptions | None = None,
    workers: int | None = None,
    memory: str | None = None,
) -> pa.Table:
    """How often each of many prompts occurs in a store, or in that of a catalog, in one pass over it.

    Returns a row a prompt, in their order: ``count``; ``documents``, in how many these begin, null where the store does
    not know; ``first``, the first token of its first occurrence, counted from the store's first, null where there is
    none; and with ``places`` above 1, a list ``places`` of the first ones. Raises as ``find`` does.
    """
    places = checked("places", places, Annotated[int, POSITIVE])
    opened = store_of(where, store, options)
    ids, lengths = _as_ids(prompts, opened)
    with unchanged(opened):
        found = _occurrences(opened, ids, lengths, places, workers, memory)
    return _table_of_counts(found, places)


def count_prompt_file(where: Place, file: str | PathLike[str], **how: Any) -> pa.Table:
    """``count_prompts`` of a file of prompts, as ``read_prompts`` reads it: the prompts, and what is said of each."""
    name, prompts = read_prompts(Path(file))
    counted = count_prompts(where, prompts, **how)
    return counted.add_column(0, name, prompts)


def store_of(where: Place, elsewhere: str | AnyPath | None = None, options: StoreOptions | None = None) -> OpenedStore:
    """The store that ``where`` is, or that the catalog there is about.

    Raises SettingsError for options that do not go with it, and as ``CatalogFolder.open_store``.
    """
    folder = _catalog_folder(where)
    if folder is not None:
        return folder.open_store(elsewhere, options if options != StoreOptions() else None)
    if elsewhere is not None:
        raise SettingsError(f"{where}: is no catalog, so no other store than itself can be named for it")
    if isinstance(where, str | PathLike):
        return open_store(where if isinstance(where, str) else locate(str(where)), options)
    if options is not None and options != StoreOptions():
        raise SettingsError("options are for a store that is opened here: this one is open")
    return where  # type: ignore[return-value]


def _catalog_folder(where: Place) -> CatalogFolder | None:
    if isinstance(where, Catalog):
        return where.folder
    if isinstance(where, str | PathLike) and isinstance(path := locate(str(where)), Path):
        folder = CatalogFolder(path)
        return folder if folder.description.is_file() else None
    return None


def _ids_of_task(where: Place, task: str) -> list[int]:
    """The long prompt of the task with this id, in whichever table of a scan it is."""
    folder = _catalog_folder(where)
    if folder is None:
        raise SettingsError(f"task {task!r}: {where} is no catalog: give a prompt as text or ids")
    with Catalog(folder.path) as catalog:
        for name in sorted({stage.parent.name for stage in folder.stages() if stage.parent.name.startswith("scan_")}):
            rows = catalog.table(name).select("task_id", "long_ids").filter(f"task_id = {literal(task)}").fetchall()
            if rows:
                return list(rows[0][1])
    raise SettingsError(f"task {task!r}: is in no scan of {folder.path}: the column task_id has the ids of tasks")


def _as_ids(prompts: Any, store: OpenedStore) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All prompts' ids, one prompt after the other, and the length of each. Raises SettingsError for what is none."""
    if isinstance(prompts, pa.Array | pa.ChunkedArray):
        ids, lengths = _of_arrow(prompts, store)
    elif isinstance(prompts, np.ndarray) and prompts.ndim == 2:
        ids, lengths = prompts.ravel(), np.full(len(prompts), prompts.shape[1], np.int64)
    else:
        rows = [*prompts]
        of_text = [i for i, row in enumerate(rows) if isinstance(row, str)]
        for i, encoded in zip(of_text, _encoded([rows[i] for i in of_text], store), strict=True):
            rows[i] = encoded
        arrays = [_integers(row, i) for i, row in enumerate(rows)]
        lengths = np.array([len(row) for row in arrays], np.int64)
        ids = np.concatenate([np.zeros(0, np.int64), *arrays])
    return _checked_ids(ids, lengths, store), lengths


def _integers(row: Any, i: int) -> NDArray[Any]:
    try:
        array = np.asarray(row)
    except (ValueError, TypeError, OverflowError):
        array = np.array("")
    if array.ndim == 1 and not len(array):
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SettingsError(f"prompt {i}: is neither text nor a row of integer ids: {str(row)[:60]}")
    return array


def _of_arrow(prompts: pa.Array | pa.ChunkedArray, store: OpenedStore) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if isinstance(prompts, pa.ChunkedArray):
        prompts = prompts.combine_chunks()
    if prompts.null_count:
        row = pc.index(pc.is_null(prompts), True).as_py()
        raise SettingsError(f"prompt {row}: is null: leave such rows out")
    kind = prompts.type
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _as_ids(prompts.to_pylist(), store)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise SettingsError(f"prompts are of type {kind}: they must be texts, or lists of integer ids")
    lengths = pc.list_value_length(prompts).to_numpy(zero_copy_only=False).astype(np.int64)
    values = prompts.flatten()
    if values.null_count or not pa.types.is_integer(values.type):
        raise SettingsError(f"prompts are lists of {values.type}, or have nulls: they must be lists of integer ids")
    return values.to_numpy(zero_copy_only=False), lengths


def _encoded(texts: list[str], store: OpenedStore) -> list[list[int]]:
    if texts and store.vocabulary is None:
        raise InputError(f"{store.path}: has no tokenizer: --tokenizer names one, or give ids instead of text")
    return store.vocabulary.encode_batch(texts) if store.vocabulary and texts else []


def _checked_ids(ids: NDArray[Any], lengths: NDArray[np.int64], store: OpenedStore) -> NDArray[Any]:
    """The ids as the store's type has them."""
    if len(empty := np.flatnonzero(lengths == 0)):
        raise SettingsError(f"prompt {empty[0]}: is empty: give at least one token")
    limit = store.identity.vocabulary_size
    if ids.dtype.kind not in "iu":
        raise SettingsError(f"prompts have ids of type {ids.dtype}: they must be integers")
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= limit):
        at = int(np.argmax((ids < 0) | (ids >= limit)))
        row = int(np.searchsorted(np.cumsum(lengths), at, side="right"))
        raise SettingsError(f"prompt {row}: has the id {ids[at]}: the ids of {store.path} are 0 to {limit - 1}")
    return np.ascontiguousarray(ids, store.identity.id_dtype)


def _occurrences(
    store: OpenedStore,
    ids: NDArray[Any],
    lengths: NDArray[np.int64],
    places: int,
    workers: int | None,
    memory: str | None,
) -> Occurrences:
    return count_occurrences(
        store, ids, lengths, positions=places, workers=worker_count(workers), memory=memory_budget(memory)
    )


def _table_of_counts(found: Occurrences, places: int) -> pa.Table:
    first = pa.array(found.positions[:, 0], pa.int64(), mask=found.positions[:, 0] < 0).cast(pa.uint64())
    n_prompts = len(found.counts)
    documents = pa.nulls(n_prompts, pa.uint64()) if found.documents is None else pa.array(found.documents)
    columns = {"count": pa.array(found.counts), "documents": documents, "first": first}
    if places > 1:
        there = found.positions >= 0
        ends = np.concatenate([[0], np.cumsum(there.sum(1))]).astype(np.int64)
        columns["places"] = pa.LargeListArray.from_arrays(ends, found.positions[there].astype(np.uint64))
    return pa.table(columns)


def _table_of_occurrences(store: OpenedStore, ids: list[int], tokens: list[int], context: int) -> pa.Table:
    rows = [_row(store, token, len(ids), context) for token in tokens]
    element = pa.from_numpy_dtype(store.identity.id_dtype)
    schema = pa.schema(
        [
            ("token", pa.uint64()), ("sequence", pa.uint64()), ("start", pa.uint64()), ("document", pa.uint64()),
            ("source", pa.string()), ("place", pa.uint64()), ("meta", pa.string()),
            ("before", pa.string()), ("text", pa.string()), ("after", pa.string()),
            ("before_ids", pa.list_(element)), ("after_ids", pa.list_(element)),
        ]
    )  # fmt: skip
    text = store.vocabulary.text if store.vocabulary is not None else lambda _: None
    for row in rows:
        row |= {"before": text(row["before_ids"]), "text": text(ids), "after": text(row["after_ids"])}
    return pa.Table.from_pylist(rows, schema)


def _row(store: OpenedStore, token: int, n: int, context: int) -> dict[str, Any]:
    number, first = store.sequence_at(token)
    sequence = store.read(number, number + 1).tokens
    start = token - first
    try:
        document = store.document_at(token)
    except UnknownDocumentError:
        document = Document()
    return {
        "token": token,
        "sequence": number,
        "start": start,
        "document": document.index,
        "source": document.source,
        "place": document.place,
        "meta": document.meta,
        "before_ids": sequence[max(0, start - context) : start].tolist(),
        "after_ids": sequence[start + n : start + n + context].tolist(),
    }
