"""Sets of MDS shards as what they hold: a store of ids, documents of text, or files to be checked.

The format is described in ``mds_format``, its encodings in ``mds_columns``. Each sample is one sequence or one
text. Ids are a column of ``bytes`` (little-endian, as The Pile was stored) or of integer arrays of 16, 32 or
64 bits; other columns may stand beside it. Left out: ids in columns of single numbers.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike, NDArray

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.storage import AnyPath
from taskcatalog.stores.document import Document, check_token
from taskcatalog.stores.fingerprint import fingerprint_of_files
from taskcatalog.stores.format import StoreFormat, StoreOptions
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.mds_columns import (
    TEXTS,
    gather,
    number_encoding,
    number_spans,
    read_arrays,
    read_texts,
)
from taskcatalog.stores.mds_format import (
    Column,
    Shard,
    Spans,
    has_index,
    read_checked,
    read_shard,
    read_shards,
    value_spans,
)
from taskcatalog.stores.store import Sequences, stamp_of_files, starts_after
from taskcatalog.vocabulary import Vocabulary

_SHARDS_KEPT = 2
_ID_TYPES = ("uint16", "int16", "uint32", "int32", "uint64", "int64")
_LARGEST_ID = 2**32 - 1


@dataclass(frozen=True)
class ShardTexts:
    """The texts of one shard: row i is sample i."""

    shard: AnyPath
    texts: pa.Array
    """large_string (samples,)."""


class MdsStore:
    """A folder of MDS shards that hold ids. Threads may read it side by side."""

    options = StoreOptions()

    def __init__(
        self,
        path: AnyPath,
        dtype: DTypeLike | None = None,
        vocabulary: Vocabulary | None = None,
        column: str | None = None,
    ) -> None:
        """``column`` names the one of ids where several could be; ``dtype`` is the type of ids in ``bytes``.

        Raises InputError where the index is damaged, a shard is missing or of another size than it says, or
        no column can hold ids; SettingsError where it must be chosen, or ``dtype`` is not the column's own.
        """
        self.path = path
        self.vocabulary = vocabulary
        self._shards = read_shards(path)
        self.stamp = self.stamp_now()
        self._ends = np.cumsum([shard.n_samples for shard in self._shards], dtype=np.int64)
        self._opened = lru_cache(_SHARDS_KEPT)(self._open)
        self._column = _id_column(path, self._shards, column)
        self._dtype = self._type_of_ids(None if dtype is None else np.dtype(dtype))

    def stamp_now(self) -> str:
        return stamp_of_files([shard.stored.path for shard in self._shards])

    @cached_property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(
            fingerprint=self._fingerprint(),
            sequence_length=max(1, self._first_length),
            vocabulary_size=len(self.vocabulary) if self.vocabulary else self._largest_vocabulary(),
            end_of_text=self.vocabulary.end_of_text if self.vocabulary else None,
        )

    @property
    def n_sequences(self) -> int:
        return int(self._ends[-1]) if self._shards else 0

    @cached_property
    def n_tokens(self) -> int:
        """Exact for samples of one size; an estimate from the sizes of shards, or from the first sample, for others."""
        size = self._column.size
        if size is not None:
            return self.n_sequences * size // self._dtype.itemsize
        if all(len(shard.columns) == 1 for shard in self._shards):
            return sum(map(_bytes_of_values, self._shards)) // self._dtype.itemsize
        return self.n_sequences * self._first_length

    def read(self, start: int, stop: int) -> Sequences:
        lengths = np.zeros(max(0, min(stop, self.n_sequences) - start), np.int64)
        tokens = np.empty(len(lengths) * self._first_length, "<u2" if self._dtype.itemsize == 2 else "<u4")
        n_read = n_tokens = 0
        for i in range(int(np.searchsorted(self._ends, start, side="right")), len(self._shards)):
            begin = int(self._ends[i]) - self._shards[i].n_samples
            if begin >= stop:
                break
            spans = _samples(self._opened(i), max(start - begin, 0), stop - begin)
            sizes = spans.sizes // self._dtype.itemsize
            lengths[n_read : n_read + len(sizes)] = sizes
            n_read += len(sizes)
            begun, n_tokens = n_tokens, n_tokens + int(sizes.sum())
            if n_tokens > len(tokens):
                tokens = np.concatenate([tokens[:begun], np.empty(max(n_tokens, 2 * begun) - begun, tokens.dtype)])
            _copy_ids(self._shards[i], spans, self._dtype, tokens[begun:n_tokens])
        return Sequences(
            tokens[:n_tokens], np.cumsum(lengths), starts_after(tokens[:n_tokens], self.identity.end_of_text)
        )

    def sequence_at(self, token: int) -> tuple[int, int]:
        shard, sample, first = self._sample_at(token)
        return int(self._ends[shard]) - self._shards[shard].n_samples + sample, first

    def document_at(self, token: int) -> Document:
        """The shard, and the number of the sample in it from 1: a set of ids knows no more of its documents."""
        shard, sample, _ = self._sample_at(token)
        return Document(source=str(self._shards[shard].stored.path), place=sample + 1)

    def _sample_at(self, token: int) -> tuple[int, int, int]:
        """The shard and the sample in it that a token is in, and the first token of that sample."""
        ends = self._token_ends
        check_token(self.path, token, int(ends[-1]) if len(ends) else 0)
        shard = int(np.searchsorted(ends, token, side="right"))
        lengths = self._opened(shard).sizes // self._dtype.itemsize
        begin = int(ends[shard]) - int(lengths.sum())
        sample_ends = begin + np.cumsum(lengths, dtype=np.int64)
        sample = int(np.searchsorted(sample_ends, token, side="right"))
        return shard, sample, int(sample_ends[sample - 1]) if sample else begin

    @cached_property
    def _token_ends(self) -> NDArray[np.int64]:
        """Where each shard ends among the tokens of all. For samples of different sizes this opens every shard."""
        if self._column.size is not None:
            return self._ends * (self._column.size // self._dtype.itemsize)
        of_shards = [int(self._opened(i).sizes.sum()) // self._dtype.itemsize for i in range(len(self._shards))]
        return np.cumsum(of_shards, dtype=np.int64)

    def _type_of_ids(self, given: np.dtype[Any] | None) -> np.dtype[Any]:
        if given is not None and given.name not in _ID_TYPES:
            raise SettingsError(f"ids are of type {given.name}: they must be one of {', '.join(_ID_TYPES)}")
        own = self._own_type()
        if own is not None and given is not None and own.newbyteorder("=") != given.newbyteorder("="):
            raise SettingsError(
                f"{self.path}: its column {self._column.name!r} holds {own.name}, not {given.name}: "
                "leave out --id-dtype"
            )
        return (own or given or np.dtype(np.uint16)).newbyteorder("<")

    def _own_type(self) -> np.dtype[Any] | None:
        """What the encoding says, or the first array where each says its own; None for bytes."""
        numbers = number_encoding(self._column.encoding)
        first = next((shard for shard in self._shards if shard.n_samples), None)
        if numbers is None or numbers.dtype is not None or first is None:
            return numbers.dtype if numbers else None
        dtype = read_arrays(first, read_shard(first), self._column.name).first_dtype
        if dtype.name not in _ID_TYPES:
            raise InputError(f"{first.stored.path}: its column {self._column.name!r} holds {dtype.name}: no ids")
        return dtype

    @cached_property
    def _first_length(self) -> int:
        """Tokens of the first sample: all samples have as many where the format is used for training."""
        if self._column.size is not None:
            return self._column.size // self._dtype.itemsize
        first = next((i for i, shard in enumerate(self._shards) if shard.n_samples), None)
        return 0 if first is None else int(self._opened(first).sizes[0]) // self._dtype.itemsize

    def _largest_vocabulary(self) -> int:
        """Without a tokenizer: all that 16 bits can say, or what occurs among wider ids."""
        if self._dtype.itemsize == 2:
            return 2**16
        largest = 0
        for i, shard in enumerate(self._shards):
            tokens = np.empty(int(self._opened(i).sizes.sum()) // self._dtype.itemsize, np.uint32)
            _copy_ids(shard, self._opened(i), self._dtype, tokens)
            largest = max(largest, int(tokens.max(initial=0)))
        return largest + 1

    def _fingerprint(self) -> str:
        """The same for a set and its copy elsewhere, merged or in parts."""
        files = [shard.stored for shard in self._shards]
        listed = [(shard.n_samples, shard.raw.n_bytes, dict(shard.raw.hashes)) for shard in self._shards]
        layout = f"mds {self._column.name} {self._dtype.name} {json.dumps(listed, sort_keys=True)}"
        return fingerprint_of_files([file.path for file in files], layout, [file.n_bytes for file in files])

    def _open(self, i: int) -> Spans:
        """Where the ids of every sample of a shard are."""
        shard, numbers = self._shards[i], number_encoding(self._column.encoding)
        raw = read_shard(shard)
        if numbers is None:
            spans = value_spans(shard, raw, self._column.name)
        elif numbers.shape is not None:
            spans = number_spans(shard, raw, self._column.name)
        else:
            arrays = read_arrays(shard, raw, self._column.name)
            if arrays.dtypes not in ([], [self._dtype]):
                there = ", ".join(dtype.name for dtype in arrays.dtypes)
                raise InputError(f"{shard.stored.path}: holds arrays of {there}, the first shard of {self._dtype.name}")
            spans = arrays.values
        if np.any(bad := spans.sizes % self._dtype.itemsize != 0):
            at = int(np.argmax(bad))
            raise InputError(
                f"{shard.stored.path}: sample {at} has {spans.sizes[at]} bytes, no whole number of "
                f"{self._dtype.name} ids: is --id-dtype right?"
            )
        return spans


def read_mds_texts(path: AnyPath, column: str) -> Iterator[ShardTexts]:
    """The texts in a column of text, or of bytes that are UTF-8, shard by shard.

    Raises InputError where the set is damaged, has no such column, or one of another kind.
    """
    for shard in read_shards(path):
        encoding = shard.column(column).encoding
        if encoding not in ("bytes", *TEXTS):
            raise InputError(f"{shard.stored.path}: its column {column!r} is of {encoding}, which is no text")
        yield ShardTexts(shard.stored.path, read_texts(shard, read_shard(shard), column))


def problems_of_mds(path: AnyPath) -> list[str]:
    """What is wrong with a set of MDS shards, one line a shard; checks hashes, and that all columns fit.

    Raises InputError where the index is damaged, or a shard is missing or of another size than it says.
    """
    problems = []
    for shard in read_shards(path):
        try:
            raw = read_checked(shard)
            if shard.columns:
                value_spans(shard, raw, shard.columns[0].name)
        except InputError as error:
            problems.append(str(error))
    return problems


def _id_column(path: AnyPath, shards: list[Shard], name: str | None) -> Column:
    """The column of ids, the same in all shards."""
    if not shards:
        return Column(name or "tokens", "bytes", None)
    possible = {column.name: column for column in shards[0].columns if _can_hold_ids(column.encoding)}
    listed = ", ".join(f"{column.name} ({column.encoding})" for column in shards[0].columns)
    if name is None and len(possible) > 1:
        raise SettingsError(f"{path}: several of its columns can hold ids, of {listed}: name one with --column")
    found = possible.get(name if name is not None else next(iter(possible), ""))
    if found is None:
        what = "none of its columns" if name is None else f"its column {name!r} is not there, or no column that"
        raise InputError(
            f"{path}: {what} can hold ids ('bytes', or 'ndarray' of integers of 16, 32 or 64 bits): "
            f"its columns are {listed}"
        )
    for shard in shards:
        if (other := shard.column(found.name)) != found:
            raise InputError(
                f"{shard.stored.path}: its column {found.name!r} is of {other.encoding} and size {other.size}, "
                f"the first shard's of {found.encoding} and size {found.size}"
            )
    return found


def _can_hold_ids(encoding: str) -> bool:
    numbers = number_encoding(encoding)
    if numbers is None:
        return encoding == "bytes"
    return numbers.dtype is None or numbers.dtype.name in _ID_TYPES


def _bytes_of_values(shard: Shard) -> int:
    """Of a shard with one column: what is left beside offsets, sizes and the JSON, as mosaicml-streaming writes it."""
    return max(0, shard.raw.n_bytes - shard.header_bytes - 4 * shard.n_samples - shard.config_bytes)


def _samples(spans: Spans, first: int, stop: int) -> Spans:
    return Spans(spans.raw, spans.starts[first:stop], spans.sizes[first:stop])


def _copy_ids(shard: Shard, spans: Spans, dtype: np.dtype[Any], target: NDArray[Any]) -> None:
    """Writes ids to ``target``. Raises InputError where one is negative or beyond 32 bits."""
    if dtype.kind == "u" and dtype.itemsize == target.itemsize:
        gather(spans, target.view(np.uint8))
        return
    ids = gather(spans).view(dtype)
    if ids.min(initial=0) < 0 or ids.max(initial=0) > _LARGEST_ID:
        raise InputError(f"{shard.stored.path}: holds ids that are negative or beyond 32 bits: is --id-dtype right?")
    target[:] = ids


def _open(path: AnyPath, options: StoreOptions, vocabulary: Vocabulary | None) -> MdsStore:
    return MdsStore(path, options.id_dtype, vocabulary, options.column)


MDS = StoreFormat(
    name="an MDS folder",
    found_by="`index.json`, merged ones and sub-folders too",
    notes="any compression that MDS has (zstd, gz, br, bz2, snappy, none); arrays or bytes of 16, 32 or 64 bits; "
    "`--column`, `--id-dtype`",
    detect=lambda path, options: has_index(path),  # noqa: ARG005
    open=_open,
    refuses={"sequence_length": "each MDS sample is one sequence"},
    problems=problems_of_mds,
)
