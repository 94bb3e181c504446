"""Datasets of the Hugging Face library: by hub name, streamed, or as ``save_to_disk`` wrote them."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskcatalog.documents.batch import Batch, Reading, in_pieces, value_at
from taskcatalog.documents.source import Chunk, DatasetChoice, Format, Source
from taskcatalog.errors import InputError, SettingsError, TaskcatalogError, how_to_install
from taskcatalog.storage import exists, is_folder, is_remote, locate

_ROWS_AT_ONCE = 256
_ROWS_OF_A_CHUNK = 65_536
_HUB_NAME = re.compile(r"[\w][\w.-]*/[\w][\w.-]*")
_SAVED = ("dataset_dict.json", "state.json")


def _detect(name: str) -> bool:
    path = locate(name)
    if is_folder(path):
        return any(exists(path / file) for file in _SAVED)
    return not is_remote(path) and _HUB_NAME.fullmatch(name) is not None


def _cut(source: Source, at_most: int, choice: DatasetChoice) -> list[Chunk]:  # noqa: ARG001 a format's cut
    """Rows where it is on this machine, files where it is streamed.

    Raises InputError where there is no such dataset, SettingsError where ``datasets`` is not installed.
    """
    dataset = _load(source.name, choice)
    if _is_here(source.name):
        at_once, end = _ROWS_OF_A_CHUNK, len(dataset)
    else:
        at_once, end = 1, dataset.num_shards
    return [Chunk(source, 0, i, min(i + at_once, end), choice=choice) for i in range(0, end, at_once)]


def _read(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of a chunk; places are rows, from 1, of the whole dataset or of the streamed file."""
    assert chunk.choice is not None
    assert chunk.stop is not None
    name, start = chunk.source.name, chunk.start
    dataset = _load(name, chunk.choice)
    if _is_here(name):
        rows, first, source = dataset.select(range(start, chunk.stop)), start + 1, name
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


def _load(name: str, choice: DatasetChoice) -> Any:
    try:
        import datasets
    except ModuleNotFoundError as error:
        raise SettingsError(f"{name}: reading a dataset needs datasets: {how_to_install('datasets')}") from error
    with _as_input_errors(name):
        if not _is_here(name):
            return datasets.load_dataset(name, choice.subset, split=choice.split, streaming=True)
        loaded = datasets.load_from_disk(name)
        if not isinstance(loaded, datasets.DatasetDict):
            return loaded
        if (split := choice.split) not in loaded:
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


DATASET = Format(
    name="dataset",
    source="`org/name`, a saved dataset",
    documents="one a row of a dataset of the Hugging Face hub, streamed (`--subset`, `--split`), or of a folder that "
    "`datasets` saved; extra `datasets`",
    read=_read,
    cut=_cut,
    detect=_detect,
)
