"""Prompts as they are given, texts or ids, to the ids of all of them in one row."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.storage import AnyPath
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.vocabulary import Vocabulary

Prompts = Sequence[str] | Sequence[ArrayLike] | NDArray[Any]
"""Texts, or the ids of each; a matrix is prompts of one length. Also an Arrow array of texts or of lists."""


class Corpus(Protocol):
    """Whose ids they are: a store, opened, or what a catalog tells of one."""

    @property
    def path(self) -> AnyPath: ...

    @property
    def identity(self) -> StoreIdentity: ...

    @property
    def vocabulary(self) -> Vocabulary | None: ...


def as_ids(prompts: Any, corpus: Corpus) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """All prompts' ids, one prompt after the other, and the length of each. Raises SettingsError for what is none."""
    if isinstance(prompts, pa.Array | pa.ChunkedArray):
        ids, lengths = _of_arrow(prompts, corpus)
    elif isinstance(prompts, np.ndarray) and prompts.ndim == 2:
        ids, lengths = prompts.ravel(), np.full(len(prompts), prompts.shape[1], np.int64)
    else:
        rows = [*prompts]
        of_text = [i for i, row in enumerate(rows) if isinstance(row, str)]
        for i, encoded in zip(of_text, _encoded([rows[i] for i in of_text], corpus), strict=True):
            rows[i] = encoded
        arrays = [_integers(row, i) for i, row in enumerate(rows)]
        lengths = np.array([len(row) for row in arrays], np.int64)
        ids = np.concatenate([np.zeros(0, np.int64), *arrays])
    return _checked_ids(ids, lengths, corpus), lengths


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


def _of_arrow(prompts: pa.Array | pa.ChunkedArray, corpus: Corpus) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if isinstance(prompts, pa.ChunkedArray):
        prompts = prompts.combine_chunks()
    if prompts.null_count:
        row = pc.index(pc.is_null(prompts), True).as_py()
        raise SettingsError(f"prompt {row}: is null: leave such rows out")
    kind = prompts.type
    if pa.types.is_dictionary(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return as_ids(prompts.to_pylist(), corpus)
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise SettingsError(f"prompts are of type {kind}: they must be texts, or lists of integer ids")
    lengths = pc.list_value_length(prompts).to_numpy(zero_copy_only=False).astype(np.int64)
    values = prompts.flatten()
    if values.null_count or not pa.types.is_integer(values.type):
        raise SettingsError(f"prompts are lists of {values.type}, or have nulls: they must be lists of integer ids")
    return values.to_numpy(zero_copy_only=False), lengths


def _encoded(texts: list[str], corpus: Corpus) -> list[list[int]]:
    if texts and corpus.vocabulary is None:
        raise InputError(f"{corpus.path}: has no tokenizer: --tokenizer names one, or give ids instead of text")
    return corpus.vocabulary.encode_batch(texts) if corpus.vocabulary and texts else []


def _checked_ids(ids: NDArray[Any], lengths: NDArray[np.int64], corpus: Corpus) -> NDArray[Any]:
    """The ids as the corpus's type has them."""
    if len(empty := np.flatnonzero(lengths == 0)):
        raise SettingsError(f"prompt {empty[0]}: is empty: give at least one token")
    limit = corpus.identity.vocabulary_size
    if ids.dtype.kind not in "iu":
        raise SettingsError(f"prompts have ids of type {ids.dtype}: they must be integers")
    if len(ids) and (int(ids.min()) < 0 or int(ids.max()) >= limit):
        at = int(np.argmax((ids < 0) | (ids >= limit)))
        row = int(np.searchsorted(np.cumsum(lengths), at, side="right"))
        raise SettingsError(f"prompt {row}: has the id {ids[at]}: the ids of {corpus.path} are 0 to {limit - 1}")
    return np.ascontiguousarray(ids, corpus.identity.id_dtype)
