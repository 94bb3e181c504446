"""Reads MDS, the format of MosaicML Streaming, in the layouts that hold ids.

``index.json`` lists the shards. A shard, once decompressed, is: uint32 number of samples, uint32 offset of
each sample and of the end, JSON, then the samples. A sample is the uint32 sizes of its columns of variable
size, then the columns one after the other. Each sample is one sequence.

Read here: one column of ids, as ``bytes`` (little-endian ids, as The Pile was stored) or as ``ndarray`` of
fixed type and shape, raw or compressed. Not read: ids among other columns, and arrays of variable shape.
"""

import re
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taskcatalog.catalog.files import read_json
from taskcatalog.catalog.folder import Corpus
from taskcatalog.catalog.schemas import id_dtype
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.corpus.fingerprint import fingerprint_of_files
from taskcatalog.corpus.store import Sequences, starts_after
from taskcatalog.errors import InputError

_CODECS = {"zstd": "zstd", "gz": "gzip", "br": "brotli", "snappy": "snappy", "bz2": "bz2"}
_SHARDS_KEPT = 2


@dataclass(frozen=True)
class _Shard:
    path: Path
    compression: str | None
    raw_bytes: int
    n_samples: int
    encoding: str
    column_size: int | None


class MdsStore:
    """A folder of MDS shards."""

    def __init__(self, path: Path, dtype: np.dtype[Any] | None = None, vocabulary: Vocabulary | None = None) -> None:
        """Raises InputError where the index is damaged, a shard is missing or of another size than it says."""
        self.path = path
        self.vocabulary = vocabulary
        self._shards = [_read_entry(path, entry) for entry in _index_entries(path)]
        self._ends = np.cumsum([shard.n_samples for shard in self._shards], dtype=np.int64)
        encoding = self._shards[0].encoding if self._shards else "bytes"
        self._dtype = (_dtype_of(encoding) or dtype or np.dtype(np.uint16)).newbyteorder("<")
        files = [path / "index.json", *(shard.path for shard in self._shards)]
        self._fingerprint = fingerprint_of_files(files, f"mds {self._dtype.name}")
        self._cache: OrderedDict[int, tuple[NDArray[Any], NDArray[np.int64]]] = OrderedDict()

    @cached_property
    def corpus(self) -> Corpus:
        return Corpus(
            fingerprint=self._fingerprint,
            sequence_length=self._first_length(),
            vocabulary_size=len(self.vocabulary) if self.vocabulary else self._largest_vocabulary(),
            end_of_text=self.vocabulary.end_of_text if self.vocabulary else None,
        )

    @property
    def n_sequences(self) -> int:
        return int(self._ends[-1]) if self._shards else 0

    @property
    def n_tokens(self) -> int:
        return sum(shard.raw_bytes for shard in self._shards) // self._dtype.itemsize

    def read(self, start: int, stop: int) -> Sequences:
        pieces, lengths = [], []
        for i in range(int(np.searchsorted(self._ends, start, side="right")), len(self._shards)):
            begin = int(self._ends[i]) - self._shards[i].n_samples
            if begin >= stop:
                break
            tokens, ends = self._samples(i)
            first, last = max(start - begin, 0), min(stop - begin, self._shards[i].n_samples)
            offset = int(ends[first - 1]) if first else 0
            pieces.append(tokens[offset : int(ends[last - 1])])
            lengths.append(np.diff(ends[first:last], prepend=offset))
        tokens = np.concatenate(pieces) if pieces else np.zeros(0, id_dtype(self.corpus.vocabulary_size))
        ends = np.cumsum(np.concatenate(lengths)) if lengths else np.zeros(0, np.int64)
        return Sequences(tokens, ends, starts_after(tokens, self.corpus.end_of_text))

    def _first_length(self) -> int:
        """Tokens of the first sample: all samples have as many where the format is used for training."""
        first = next((i for i, shard in enumerate(self._shards) if shard.n_samples), None)
        return max(1, int(self._samples(first)[1][0])) if first is not None else 1

    def _largest_vocabulary(self) -> int:
        """Without a tokenizer: all that 16 bits can say, or what occurs among wider ids."""
        if self._dtype.itemsize == 2:
            return 2**16
        return 1 + max((int(self._samples(i)[0].max(initial=0)) for i in range(len(self._shards))), default=0)

    def _samples(self, i: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """All tokens of a shard, and where each sample ends among them."""
        cached = self._cache.get(i)
        if cached is None:
            cached = self._cache[i] = _decode(self._shards[i], self._dtype)
            if len(self._cache) > _SHARDS_KEPT:
                self._cache.popitem(last=False)
        return cached


def _index_entries(path: Path) -> list[dict[str, Any]]:
    index = read_json(path / "index.json")
    if not isinstance(index, dict) or not isinstance(index.get("shards"), list):
        raise InputError(f"{path}/index.json: is no index of MDS shards: it has no list 'shards'")
    entries: list[dict[str, Any]] = index["shards"]
    return entries


def _read_entry(path: Path, entry: dict[str, Any]) -> _Shard:
    try:
        names, encodings = entry["column_names"], entry["column_encodings"]
        zipped = entry["zip_data"] if entry["compression"] else None
        stored = zipped or entry["raw_data"]
        shard = _Shard(
            path=path / stored["basename"],
            compression=entry["compression"].partition(":")[0] if zipped else None,
            raw_bytes=entry["raw_data"]["bytes"],
            n_samples=entry["samples"],
            encoding=encodings[0] if encodings else "",
            column_size=entry["column_sizes"][0] if encodings else None,
        )
        stored_bytes = stored["bytes"]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise InputError(f"{path}/index.json: a shard's entry lacks {error}: the index is damaged") from error
    if len(names) != 1 or (shard.encoding != "bytes" and _dtype_of(shard.encoding) is None):
        raise InputError(
            f"{path}/index.json: columns {names} with encodings {encodings} are not one column of ids "
            "('bytes', or 'ndarray' of fixed type and shape)"
        )
    if shard.compression is not None and shard.compression not in _CODECS:
        raise InputError(f"{path}/index.json: compression {shard.compression!r} is not one of {', '.join(_CODECS)}")
    if not shard.path.is_file():
        raise InputError(f"{shard.path}: is missing, though {path}/index.json lists it: restore it")
    if (size := shard.path.stat().st_size) != stored_bytes:
        raise InputError(f"{shard.path}: has {size} bytes, index.json says {stored_bytes}: the shard is cut off")
    return shard


def _dtype_of(encoding: str) -> np.dtype[Any] | None:
    match = re.fullmatch(r"ndarray:(u?int(?:16|32|64)):[\d,]+", encoding)
    return np.dtype(match[1]) if match else None


def _decode(shard: _Shard, dtype: np.dtype[Any]) -> tuple[NDArray[Any], NDArray[np.int64]]:
    raw = _raw(shard)
    n = shard.n_samples
    if len(raw) < 4 * (n + 2) or int(raw[:4].view("<u4")[0]) != n:
        raise InputError(f"{shard.path}: its header does not say {n} samples, as index.json does: it is damaged")
    offsets = raw[4 : 4 * (n + 2)].view("<u4").astype(np.int64)
    head = 0 if shard.column_size is not None else 4
    sizes = np.diff(offsets) - head
    if np.any(sizes < 0) or offsets[0] < 4 * (n + 2) or offsets[-1] != len(raw):
        raise InputError(f"{shard.path}: its sample offsets are not within its {len(raw)} bytes: it is damaged")
    if head and n and np.any(_heads(raw, offsets) != sizes):
        raise InputError(f"{shard.path}: a sample's size is not what its offsets say: it is damaged")
    if np.any(bad := sizes % dtype.itemsize != 0):
        at = int(np.argmax(bad))
        raise InputError(
            f"{shard.path}: sample {at} has {sizes[at]} bytes, no whole number of {dtype.name} ids: "
            "is --id-dtype right?"
        )
    body = np.concatenate([raw[a + head : b] for a, b in pairwise(offsets)] or [raw[:0]])
    tokens = body.view(dtype)
    if dtype.itemsize > 4 or dtype.kind == "i":
        if tokens.min(initial=0) < 0 or tokens.max(initial=0) >= 2**32:
            raise InputError(f"{shard.path}: holds ids that are negative or beyond 32 bits: is --id-dtype right?")
        tokens = tokens.astype(np.uint32)
    return tokens, np.cumsum(sizes // dtype.itemsize)


def _heads(raw: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """The uint32 in front of each sample: the size of its one column."""
    return np.stack([raw[offsets[:-1] + i] for i in range(4)], 1).view("<u4").ravel().astype(np.int64)


def _raw(shard: _Shard) -> NDArray[np.uint8]:
    if shard.compression is None:
        return np.memmap(shard.path, np.uint8, "r")
    compressed = shard.path.read_bytes()
    try:
        buffer = pa.Codec(_CODECS[shard.compression]).decompress(compressed, shard.raw_bytes)
    except (OSError, ValueError) as error:
        raise InputError(f"{shard.path}: cannot be decompressed ({error}): it is damaged") from error
    return np.frombuffer(buffer, np.uint8)
