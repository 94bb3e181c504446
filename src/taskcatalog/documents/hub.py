"""Datasets of the Hugging Face library: by hub name, streamed, or as ``save_to_disk`` wrote them."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskcatalog.documents.batch import Batch, Reading, in_pieces, value_at
from taskcatalog.errors import InputError, SettingsError, TaskcatalogError

_ROWS_AT_ONCE = 256
_ROWS_OF_A_STRETCH = 65_536


def dataset_stretches(name: str, subset: str | None, split: str) -> list[tuple[int, int]]:
    """Stretches of a dataset: of rows where it is on this machine, of its files where it is streamed.

    Raises InputError where there is no such dataset, SettingsError where ``datasets`` is not installed.
    """
    dataset = _load(name, subset, split)
    if _is_here(name):
        return [(i, min(i + _ROWS_OF_A_STRETCH, len(dataset))) for i in range(0, len(dataset), _ROWS_OF_A_STRETCH)]
    return [(i, i + 1) for i in range(dataset.num_shards)]


def read_dataset(name: str, subset: str | None, split: str, start: int, stop: int, reading: Reading) -> Iterator[Batch]:
    """The documents of a stretch; places are rows, from 1, of the whole dataset or of the streamed file."""
    dataset = _load(name, subset, split)
    if _is_here(name):
        rows, first, source = dataset.select(range(start, stop)), start + 1, name
    else:
        rows, first, source = dataset.shard(dataset.num_shards, start), 1, f"{name} file {start}"
    with _as_input_errors(source):
        for columns in rows.iter(_ROWS_AT_ONCE):
            yield from in_pieces(_documents(columns, first, source, reading), reading)
            first += len(next(iter(columns.values())))


def _documents(columns: dict[str, list[Any]], first: int, source: str, reading: Reading) -> Batch:
    if reading.field not in columns:
        fields = ", ".join(columns)
        raise InputError(f"{source}: has no column {reading.field!r} (its columns are {fields}): --field names another")
    batch = Batch(source, [], [], [])
    for row, text in enumerate(columns[reading.field], first):
        if not isinstance(text, str):
            reading.problems.met(InputError(f"{source}: row {row}: has no text in the column {reading.field!r}"))
            continue
        meta = None
        if reading.meta:
            meta = value_at({name: values[row - first] for name, values in columns.items()}, reading.meta)
        batch.texts.append(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
        batch.places.append(row)
        batch.metas.append(meta if meta is None or isinstance(meta, str) else json.dumps(meta, default=str))
    return batch


def _is_here(name: str) -> bool:
    return Path(name).is_dir()


def _load(name: str, subset: str | None, split: str) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise SettingsError(f"{name}: reading a dataset needs datasets: pip install 'taskcatalog[datasets]'") from error
    with _as_input_errors(name):
        if not _is_here(name):
            return datasets.load_dataset(name, subset, split=split, streaming=True)
        loaded = datasets.load_from_disk(name)
        if not isinstance(loaded, datasets.DatasetDict):
            return loaded
        if split not in loaded:
            raise InputError(f"{name}: has no split {split!r} (it has {', '.join(loaded)}): --split names another")
        return loaded[split]


@contextmanager
def _as_input_errors(name: str) -> Iterator[None]:
    """What the library raises is of many kinds; all of it is about the dataset."""
    try:
        yield
    except TaskcatalogError:
        raise
    except Exception as error:
        raise InputError(f"dataset {name!r}: cannot be read ({type(error).__name__}: {error})") from error
