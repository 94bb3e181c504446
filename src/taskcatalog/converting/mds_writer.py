"""Writes MDS, the format of MosaicML Streaming, as The Pile was stored in it.

One column, ``tokens``, of ``bytes``: little-endian uint16 or uint32 ids, one sequence a sample. A shard is
uint32 number of samples, uint32 offset of each sample and of the end, JSON that describes the columns, then the
samples, each the uint32 size of its ids and the ids. A folder's ``index.json`` lists its shards; that of the
folder above lists those of all its sub-directories. Shards are cut where mosaicml-streaming's own writer cuts
them, so that uncompressed files are the same byte for byte.

Not written: other columns, arrays of a type and shape, splits.
"""

import bz2
import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import xxhash

from taskcatalog.errors import SettingsError
from taskcatalog.runs.files import read_json, written_atomically
from taskcatalog.stores.store import Sequences

Entry: TypeAlias = dict[str, Any]
"""What an index says of one shard."""
INDEX = "index.json"
DEFAULT_SIZE_LIMIT = 1 << 26
LARGEST_SIZE_LIMIT = 2**32 - 1
"""Offsets in a shard have 32 bits."""
_VERSION = 2
_SAMPLE_OVERHEAD = 8
"""Bytes of a sample's size and of its offset."""


@dataclass(frozen=True)
class _Codec:
    arrow_name: str
    levels: range
    default_level: int | None
    """The level that mosaicml-streaming takes where none is given."""


_CODECS = {
    "zstd": _Codec("zstd", range(1, 23), 3),
    "gz": _Codec("gzip", range(1, 10), 9),
    "br": _Codec("brotli", range(12), 11),
    "bz2": _Codec("bz2", range(1, 10), 9),
    "snappy": _Codec("snappy", range(0), None),
}
HASHES: dict[str, Callable[[bytes], Any]] = {"sha1": hashlib.sha1, "xxh64": xxhash.xxh64}


@dataclass(frozen=True, kw_only=True)
class MdsLayout:
    """What decides the bytes of shards, besides the ids."""

    ids: np.dtype[np.uint16] | np.dtype[np.uint32]
    compression: str | None
    """A codec, or a codec and its level as ``zstd:16``; None for raw shards."""
    hashes: tuple[str, ...]
    """Which digests of each shard the index holds."""
    size_limit: int
    """Bytes that an uncompressed shard may have; one sample may have more."""

    @cached_property
    def description(self) -> dict[str, Any]:
        """What the index says of every shard, and each shard of itself."""
        return {
            "column_encodings": ["bytes"],
            "column_names": ["tokens"],
            "column_sizes": [None],
            "compression": self.compression,
            "format": "mds",
            "hashes": list(self.hashes),
            "size_limit": self.size_limit,
            "version": _VERSION,
        }

    @cached_property
    def header(self) -> bytes:
        return json.dumps(self.description, sort_keys=True).encode()

    @property
    def empty_shard_bytes(self) -> int:
        return 2 * 4 + len(self.header)

    def samples_in_shard(self, n_tokens: int) -> int:
        """How many samples of so many tokens a shard holds, at least one."""
        sample_bytes = n_tokens * self.ids.itemsize + _SAMPLE_OVERHEAD
        return max(1, (self.size_limit - self.empty_shard_bytes) // sample_bytes)


def check_compression(name: str) -> None:
    """Raises SettingsError unless ``name`` is a codec of MDS, with or without one of its levels."""
    codec, colon, level = name.partition(":")
    if codec not in _CODECS:
        raise SettingsError(f"compression is {name!r}: it must be none, {', '.join(_CODECS)}, or one with its level")
    levels = _CODECS[codec].levels
    if colon and not (level.isdecimal() and len(level) < 4 and int(level) in levels):
        rule = f"from {levels[0]} to {levels[-1]}" if levels else "left out"
        raise SettingsError(f"compression is {name!r}: the level of {codec} must be {rule}")


def write_shards(folder: Path, sequences: Iterable[Sequences], layout: MdsLayout) -> list[Entry]:
    """Writes the sequences as shards of a folder; returns their entries for its index.

    Holds up to three times ``size_limit`` in memory.
    """
    shards = enumerate(_shards(_samples(sequences, layout), layout))
    return [_write_shard(folder, f"shard.{number:05d}.mds", samples, layout) for number, samples in shards]


def shard_file(entry: Entry) -> str:
    """The name of a shard's file, as it is stored."""
    name: str = (entry["zip_data"] or entry["raw_data"])["basename"]
    return name


def write_index(path: Path, entries: Iterable[Entry]) -> None:
    with written_atomically(path) as temporary:
        temporary.write_text(json.dumps({"shards": list(entries), "version": _VERSION}, sort_keys=True))


def read_index(path: Path) -> list[Entry]:
    """The entries of an index that ``write_index`` wrote."""
    entries: list[Entry] = read_json(path)["shards"]
    return entries


def moved_up(entries: Iterable[Entry], folder: str) -> list[Entry]:
    """The entries of a sub-directory's index, as that of the folder above has them."""
    return [_moved(entry, folder) for entry in entries]


def _moved(entry: Entry, folder: str) -> Entry:
    names = {key: entry[key] for key in ("raw_data", "zip_data") if entry[key]}
    return entry | {key: data | {"basename": f"{folder}/{data['basename']}"} for key, data in names.items()}


def _samples(sequences: Iterable[Sequences], layout: MdsLayout) -> Iterator[bytes]:
    for some in sequences:
        ids = some.tokens.astype(layout.ids.newbyteorder("<"), copy=False)
        raw = ids.tobytes()
        start = 0
        for end in (some.ends * layout.ids.itemsize).tolist():
            yield struct.pack("<I", end - start) + raw[start:end]
            start = end


def _shards(samples: Iterable[bytes], layout: MdsLayout) -> Iterator[list[bytes]]:
    """The samples in groups that fill a shard each."""
    shard: list[bytes] = []
    room = layout.size_limit - layout.empty_shard_bytes
    for sample in samples:
        if shard and room < len(sample) + 4:
            yield shard
            shard, room = [], layout.size_limit - layout.empty_shard_bytes
        shard.append(sample)
        room -= len(sample) + 4
    if shard:
        yield shard


def _write_shard(folder: Path, name: str, samples: list[bytes], layout: MdsLayout) -> Entry:
    """Writes one shard; returns its entry in the index."""
    offsets = np.cumsum([4 * (len(samples) + 2) + len(layout.header), *map(len, samples)]).astype("<u4")
    raw = b"".join([struct.pack("<I", len(samples)), offsets.tobytes(), layout.header, *samples])
    entry = layout.description | {"samples": len(samples), "raw_data": _described(name, raw, layout), "zip_data": None}
    if layout.compression is not None:
        name = f"{name}.{layout.compression.partition(':')[0]}"
        raw = _compressed(raw, layout.compression)
        entry["zip_data"] = _described(name, raw, layout)
    with written_atomically(folder / name) as temporary:
        temporary.write_bytes(raw)
    return entry


def _described(name: str, content: bytes, layout: MdsLayout) -> dict[str, Any]:
    digests = {hash_: HASHES[hash_](content).hexdigest() for hash_ in layout.hashes}
    return {"basename": name, "bytes": len(content), "hashes": digests}


def _compressed(raw: bytes, compression: str) -> bytes:
    name, _, level = compression.partition(":")
    codec = _CODECS[name]
    wanted = int(level) if level else codec.default_level
    if codec.arrow_name == "bz2":  # Arrow has it for streams only
        return bz2.compress(raw, wanted or 9)
    compressed: bytes = pa.Codec(codec.arrow_name, wanted).compress(raw, asbytes=True)
    return compressed
