"""Reads token files of datatrove: ids in ``NAME.ds``, one document after the other; a folder of them is one store.

Beside a ``.ds`` file may lie, and all are optional:

- ``NAME.ds.metadata``, text: the tokenizer's name, ``|`` and the bytes of an id (2 or 4), the number of
  ids, and that number for people, one line each.
- ``NAME.ds.index``: uint64 end of each document, in ids.
- ``NAME.ds.loss``: which ids count in training. It is not read.

Ids are uint16 or uint32, as the metadata says, or else the index by its last end.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.storage import AnyPath, is_file, is_folder, list_folder, read_bytes, size_of
from taskcatalog.stores.format import StoreFormat, StoreOptions
from taskcatalog.stores.id_file import IdFiles, NumberFile
from taskcatalog.stores.stream_store import StreamStore
from taskcatalog.vocabulary import Vocabulary

_SUFFIX = ".ds"
_ID_TYPES = {2: "uint16", 4: "uint32"}
_METADATA_BYTES = 4_096


def _token_files(path: AnyPath) -> list[AnyPath]:
    """The ``.ds`` file that ``path`` is, or those in the folder that it is, by name."""
    if path.suffix == _SUFFIX and is_file(path):
        return [path]
    return [file for file in list_folder(path) if file.suffix == _SUFFIX] if is_folder(path) else []


def _detect(path: AnyPath, options: StoreOptions) -> bool:  # noqa: ARG001 a format's detect
    return bool(_token_files(path))


def _open(path: AnyPath, options: StoreOptions, vocabulary: Vocabulary | None) -> StreamStore:
    """The files' documents, in sequences of one length, 2,048 if none is given.

    ``id_dtype`` is for files with neither metadata nor index; uint16 if not given. Raises InputError where
    files do not fit together, or one does not fit what lies beside it.
    """
    files = _token_files(path)
    described = {file: found for file in files if (found := _described_type(file))}
    if described and options.id_dtype:
        raise SettingsError(f"{next(iter(described))}: its type of ids is known: leave out --id-dtype")
    types = {described.get(file, options.id_dtype or "uint16") for file in files}
    if len(types) > 1:
        raise InputError(f"{path}: holds files of different types of ids ({', '.join(sorted(types))}): part them")
    [stored] = types
    ids = IdFiles(files, stored)
    return StreamStore(
        path,
        ids,
        len(ids),
        sequence_length=options.sequence_length,
        vocabulary=vocabulary,
        files=files,
        layout=f"datatrove {stored}",
        document_starts=lambda: _document_starts(files, ids),
    )


def _beside(file: AnyPath, kind: str) -> AnyPath | None:
    """The file of this kind that lies beside a ``.ds`` file, if it does."""
    found = file.with_name(f"{file.name}.{kind}")
    return found if is_file(found) else None


def _described_type(file: AnyPath) -> str | None:
    """The type of ids that the files beside a ``.ds`` file tell, if any does.

    Raises InputError where they are damaged, or do not fit the file's size.
    """
    size = size_of(file)
    if metadata := _beside(file, "metadata"):
        id_bytes, n_ids = _read_metadata(metadata)
        if id_bytes * n_ids != size:
            raise InputError(
                f"{file}: has {size} bytes, but {metadata.name} says {n_ids} ids of {id_bytes} bytes: "
                "the file is cut off, or these two do not belong together"
            )
        return _ID_TYPES[id_bytes]
    if (index := _beside(file, "index")) and (n_ids := _last_end(index)):
        found = next((name for id_bytes, name in _ID_TYPES.items() if id_bytes * n_ids == size), None)
        if found is None:
            raise InputError(
                f"{file}: has {size} bytes, but {index.name} ends at id {n_ids}, which is neither 2 nor 4 bytes an id: "
                "the file is cut off, or these two do not belong together"
            )
        return found
    return None


def _read_metadata(path: AnyPath) -> tuple[int, int]:
    """Bytes of an id and number of ids."""
    lines = read_bytes(path, 0, min(size_of(path), _METADATA_BYTES)).decode("utf-8", "replace").split("\n")
    id_bytes = lines[0].rpartition("|")[2]
    if id_bytes not in map(str, _ID_TYPES):
        raise InputError(f"{path}: line 1: does not end with '|2' or '|4', the bytes of an id: it is no metadata")
    if len(lines) < 2 or not lines[1].isdecimal():
        raise InputError(f"{path}: line 2: is not the number of ids: it is no metadata")
    return int(id_bytes), int(lines[1])


def _last_end(index: AnyPath) -> int:
    ends = _ends(index)
    return int(ends.read(len(ends) - 1, len(ends))[0]) if len(ends) else 0


def _ends(index: AnyPath) -> NumberFile:
    size = size_of(index)
    if size % 8:
        raise InputError(f"{index}: has {size} bytes, no whole number of 8-byte ends: it is cut off")
    return NumberFile(index, "<u8", count=size // 8)


def _document_starts(files: Sequence[AnyPath], ids: IdFiles) -> NDArray[np.int64] | None:
    """Of all files together; None where one of them has no index.

    Raises InputError where an index does not ascend to the end of its file.
    """
    indices = [_beside(file, "index") for file in files]
    starts = [np.zeros(0, np.int64)]
    begin = 0
    for index, end in zip(indices, ids.ends.tolist(), strict=True):
        if index is None:
            return None
        starts.append(_starts_in(index, end - begin) + begin)
        begin = end
    return np.concatenate(starts)


def _starts_in(index: AnyPath, n_ids: int) -> NDArray[np.int64]:
    numbers = _ends(index)
    # One that no int64 holds becomes negative, and so descends.
    bounds = np.concatenate([[0], numbers.read(0, len(numbers)).astype(np.int64)])
    descends = np.flatnonzero(bounds[1:] < bounds[:-1])
    if len(descends) or bounds[-1] != n_ids:
        at = int(descends[0]) if len(descends) else len(numbers) - 1
        raise InputError(
            f"{index}: document {at} of {len(numbers)} ends at id {bounds[at + 1]}: the ends do not ascend to the "
            f"{n_ids} ids of the file: one of the two is damaged"
        )
    return bounds[:-1]


DATATROVE = StoreFormat(
    name="a datatrove file",
    found_by="`.ds`, with `.ds.index`",
    notes="one file or a folder of them",
    detect=_detect,
    open=_open,
    refuses={"column": "a datatrove file has no columns"},
)
