"""Reads Megatron datasets: ids in ``NAME.bin``, and ``NAME.idx``, which says where each item lies in it.

What is a sequence depends on the items:

- Items of different lengths are documents, or sentences of them. All items run as one stream, in the order
  of the index, which is cut into sequences; where documents begin is known from the index.
- Items that all have one length above 1, where there are two or more, are rows as the model saw them: each
  is one sequence. Pythia's training order (``pile-deduped-pythia-preshuffled``) is of this kind: rows of
  2,049 ids, 2,048 inputs and the last target. A sequence length that is given cuts the stream instead.

A ``.bin`` may be in pieces, ``NAME-00000-of-00020.bin`` and so on, as Pythia's is published; rows may cross
their ends.
"""

import re
from collections.abc import Sequence

from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, is_file, list_folder
from taskcatalog.stores.format import StoreFormat, StoreOptions
from taskcatalog.stores.id_file import IdFiles
from taskcatalog.stores.megatron_index import check_items, is_index, read_index
from taskcatalog.stores.stream_store import StreamStore
from taskcatalog.vocabulary import Vocabulary

_PIECE = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.bin")


def _find_index(path: AnyPath) -> AnyPath | None:
    """The ``.idx`` of a dataset that is named by it, by its ``.bin``, or by what is common to both."""
    if not path.name:  # the folder that one is in
        return None
    if path.suffix == ".idx":
        index = path
    elif path.suffix == ".bin":
        index = path.with_suffix(".idx")
    else:
        index = path.with_name(f"{path.name}.idx")
    return index if is_file(index) else None


def whole_of_piece(path: AnyPath) -> AnyPath | None:
    """The ``.idx`` of the dataset of which a ``.bin`` is one piece, where it is there."""
    match = _PIECE.fullmatch(path.name)
    return _find_index(path.with_name(f"{match[1]}.idx")) if match else None


def _detect(path: AnyPath, options: StoreOptions) -> bool:
    """``--id-dtype`` is for the ``.bin`` alone, where what lies beside it is no index."""
    index = _find_index(path)
    return index is not None and not (options.id_dtype and not is_index(index))


def _open(path: AnyPath, options: StoreOptions, vocabulary: Vocabulary | None) -> StreamStore:
    """The dataset of an ``.idx``. Without a sequence length, rows of one length are sequences.

    Raises InputError where the index is damaged, or the ``.bin`` is missing or shorter than the index says.
    """
    index_path = _find_index(path)
    assert index_path is not None
    index = read_index(index_path)
    files = _bin_files(index_path)
    ids = IdFiles(files, index.dtype)
    survey = check_items(index, len(ids))
    rows = survey.item_length if index.n_items > 1 and survey.item_length != 1 else None
    return StreamStore(
        path,
        ids,
        survey.n_tokens,
        sequence_length=options.sequence_length or rows,
        vocabulary=vocabulary,
        files=[index_path, *files],
        layout="megatron",
        document_starts=index.document_starts,
    )


def _bin_files(index_path: AnyPath) -> Sequence[AnyPath]:
    whole = index_path.with_suffix(".bin")
    if is_file(whole):
        return [whole]
    pieces = {match[2]: match[3] for path in list_folder(whole.parent) if (match := _piece(path, whole.stem))}
    if not pieces:
        raise InputError(f"{whole}: is missing, though {index_path.name} is there: put both in one folder")
    [*others, total] = sorted(set(pieces.values()))
    if others:
        raise InputError(f"{whole}: its pieces are of {others[0]} and of {total}: keep those of one splitting only")
    # Pythia's pieces are numbered from 0 to their total, others' to one less; the index tells the rest.
    last = max(int(total) - 1, *map(int, pieces))
    files = [whole.with_name(f"{whole.stem}-{i:05d}-of-{total}.bin") for i in range(last + 1)]
    missing = [file for i, file in enumerate(files) if f"{i:05d}" not in pieces]
    if missing:
        raise InputError(f"{missing[0]}: is missing, one of {len(files)} pieces: put it there")
    return files


def _piece(path: AnyPath, stem: str) -> re.Match[str] | None:
    match = _PIECE.fullmatch(path.name)
    return match if match and match[1] == stem else None


MEGATRON = StoreFormat(
    name="a Megatron dataset",
    found_by="`.bin` and `.idx`",
    notes="both index versions; one in pieces, `…-00000-of-00020.bin`, is opened by the name of the whole",
    detect=_detect,
    open=_open,
    refuses={
        "column": "a Megatron dataset has no columns",
        "id_dtype": "a Megatron dataset has its own type of ids",
    },
)
