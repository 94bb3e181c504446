"""MDS, the format of MosaicML Streaming: what the index says, and where values lie in a shard.

``index.json`` (version 2) lists the shards: their file, its size and hashes, raw and compressed, and their
columns, each with a name, an encoding and its size if all its values have one. A merged index names shards in
sub-directories; a folder without an index whose sub-directories have one reads as if they were merged.

A shard, once decompressed, is: uint32 number of samples, uint32 offset of each sample and of the end, JSON,
then the samples. A sample is the uint32 sizes of its columns of variable size, then all columns in order.

Left out: the JSON inside the shards, which repeats the index. What encodings mean is in ``mds_columns``.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, exists, is_file, is_folder, is_remote, list_folder, read_bytes
from taskcatalog.stores.mds_codecs import CODECS, DAMAGE, decompress

INDEX = "index.json"
_VERSION = 2
_NOT_IN_SHARDS = {"samples", "raw_data", "zip_data"}
"""What the index says of a shard beyond the JSON inside it."""
_LARGEST_SHARD = 2**32
"""Offsets are uint32."""


@dataclass(frozen=True)
class Column:
    name: str
    encoding: str
    size: int | None
    """Bytes of each value; None where each sample says it."""


@dataclass(frozen=True)
class ShardFile:
    path: AnyPath
    n_bytes: int
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Shard:
    index: AnyPath
    """The file that lists it."""
    columns: tuple[Column, ...]
    n_samples: int
    raw: ShardFile
    packed: ShardFile | None
    """The compressed file, where that is what is there."""
    codec: str | None
    config_bytes: int
    """What the JSON inside takes, as mosaicml-streaming writes it."""

    @property
    def stored(self) -> ShardFile:
        return self.packed or self.raw

    @property
    def header_bytes(self) -> int:
        """The number of samples and their offsets."""
        return 4 * (self.n_samples + 2)

    def column(self, name: str) -> Column:
        """Raises InputError where there is none of that name."""
        found = next((column for column in self.columns if column.name == name), None)
        if found is None:
            names = ", ".join(column.name for column in self.columns)
            raise InputError(f"{self.stored.path}: has no column {name!r}: its columns are {names}")
        return found


@dataclass(frozen=True)
class Spans:
    """Where the values of a column are: value i is ``raw[starts[i] : starts[i] + sizes[i]]``."""

    raw: NDArray[np.uint8]
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]


def has_index(path: AnyPath) -> bool:
    """Whether a folder is a set of MDS shards: it has an index, or its first sub-directory is such a set."""
    return exists(path / INDEX) or any(map(has_index, _folders_below(path)[:1]))


def read_shards(path: AnyPath) -> list[Shard]:
    """The shards of a folder, in order; none where the set is empty.

    Raises InputError where there is no index, it is damaged, or a local shard is missing or of another size
    than it says. The sizes of remote shards are checked as they are read.
    """
    if exists(path / INDEX):
        return _shards_of_index(path)
    parts = _folders_below(path)
    if not parts:
        raise InputError(f"{path}: is no folder of MDS shards: neither it nor a sub-directory has an {INDEX}")
    return [shard for part in parts for shard in read_shards(part)]


def read_shard(shard: Shard) -> NDArray[np.uint8]:
    """The bytes of a shard, decompressed; a raw local one is mapped.

    Raises InputError where it cannot be read or decompressed, or has another xxhash than the index says. Slower hashes
    are left to ``read_checked``.
    """
    stored = _stored_bytes(shard)
    quick = {name: value for name, value in shard.stored.hashes.items() if name.startswith("xxh")}
    _check_hashes(replace(shard.stored, hashes=quick), stored)
    return _unpacked(shard, stored)


def read_checked(shard: Shard) -> NDArray[np.uint8]:
    """The bytes of a shard whose hashes are right. Raises InputError where one is wrong, or is of no known kind."""
    stored = _stored_bytes(shard)
    _check_hashes(shard.stored, stored)
    raw = _unpacked(shard, stored)
    if shard.packed:
        _check_hashes(ShardFile(shard.packed.path, shard.raw.n_bytes, shard.raw.hashes), raw)
    return raw


def value_spans(shard: Shard, raw: NDArray[np.uint8], name: str) -> Spans:
    """Where the values of one column are. Raises InputError where the shard's own sizes do not fit together."""
    wanted = shard.columns.index(shard.column(name))
    offsets = _sample_offsets(shard, raw)
    begins, starts = offsets[:-1], offsets[:-1].copy()
    sizes = []
    for column in shard.columns:
        if column.size is None:
            sizes.append(read_integers(raw, starts, 4))
            starts += 4
        else:
            sizes.append(np.full(len(begins), column.size, np.int64))
    ends = starts + sum(sizes, np.zeros(len(begins), np.int64))
    if np.any(wrong := ends != offsets[1:]):
        at = int(np.argmax(wrong))
        raise InputError(
            f"{shard.stored.path}: sample {at} has columns of {ends[at] - begins[at]} bytes in all, "
            f"its offsets say {offsets[at + 1] - begins[at]}: the shard is damaged"
        )
    return Spans(raw, starts + sum(sizes[:wanted], np.zeros(len(begins), np.int64)), sizes[wanted])


def read_integers(raw: NDArray[np.uint8], starts: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """Little-endian unsigned integers of ``width`` bytes, wherever they are; all must be within ``raw``."""
    values = np.zeros(len(starts), np.uint64)
    for i in range(width):
        values |= raw[starts + i].astype(np.uint64) << np.uint64(8 * i)
    return values.astype(np.int64)


def _sample_offsets(shard: Shard, raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Where each sample begins, and where the last one ends; each has room for the sizes in front of it."""
    n, path = shard.n_samples, shard.stored.path
    if len(raw) < shard.header_bytes or int(raw[:4].view("<u4")[0]) != n:
        raise InputError(f"{path}: its header does not say {n} samples, as {shard.index} does: it is damaged")
    offsets = raw[4 : shard.header_bytes].view("<u4").astype(np.int64)
    head = 4 * sum(column.size is None for column in shard.columns)
    if offsets[0] < shard.header_bytes or offsets[-1] != len(raw) or np.any(np.diff(offsets) < head):
        raise InputError(f"{path}: its sample offsets are not within its {len(raw)} bytes: it is damaged")
    return offsets


def _stored_bytes(shard: Shard) -> NDArray[np.uint8]:
    """The file of a shard as it is stored; a local one is mapped."""
    path, n_bytes = shard.stored.path, shard.stored.n_bytes
    if is_remote(path):
        content = read_bytes(path)
        _check_size(shard, len(content))
        return np.frombuffer(content, np.uint8)
    if not n_bytes:  # an empty file cannot be mapped
        return np.zeros(0, np.uint8)
    try:
        return np.asarray(np.memmap(str(path), np.uint8, "r", shape=(n_bytes,)))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _unpacked(shard: Shard, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if shard.codec is None or shard.packed is None:
        return stored
    try:
        return decompress(shard.codec, stored.data, shard.raw.n_bytes)
    except DAMAGE as error:
        raise InputError(f"{shard.packed.path}: cannot be decompressed ({error}): it is damaged") from error


def _check_hashes(file: ShardFile, content: NDArray[np.uint8]) -> None:
    for name, expected in file.hashes.items():
        new = _hash_function(name)
        if new is None:
            raise InputError(f"{file.path}: its hash {name!r} is of no known kind: its content cannot be checked")
        if (found := new(content.data).hexdigest()) != expected.lower():
            raise InputError(f"{file.path}: its {name} is {found}, the index says {expected}: it is damaged")


def _hash_function(name: str) -> Callable[[Any], Any] | None:
    """The hashes that are known to the writers of MDS: those of hashlib with a fixed length, and xxhash."""
    if name in xxhash.algorithms_available:
        return getattr(xxhash, name)  # type: ignore[no-any-return]
    if name in hashlib.algorithms_available and not name.startswith("shake_"):
        return lambda content: hashlib.new(name, content, usedforsecurity=False)
    return None


def _folders_below(path: AnyPath) -> list[AnyPath]:
    """Sub-directories, in the order of their names with numbers compared as numbers; hidden ones are left out."""
    if is_file(path) or not is_folder(path):  # in this order: behind https:// to ask for a folder reads the file
        return []
    below = [found for found in list_folder(path) if not found.name.startswith(".") and is_folder(found)]
    return sorted(below, key=lambda folder: _with_numbers(folder.name))


def _with_numbers(name: str) -> list[tuple[int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(int(piece) if piece.isdecimal() else 0, piece) for piece in pieces]


def _shards_of_index(folder: AnyPath) -> list[Shard]:
    index = folder / INDEX
    try:
        content = json.loads(read_bytes(index))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{index}: is not JSON ({error}): the file is damaged") from error
    if not isinstance(content, dict) or not isinstance(content.get("shards"), list):
        raise InputError(f"{index}: is no index of MDS shards: it has no list 'shards'")
    if content.get("version") != _VERSION:
        raise InputError(f"{index}: is of version {content.get('version')!r}: only version {_VERSION} can be read")
    return [_what_is_there(_read_entry(index, i, entry)) for i, entry in enumerate(content["shards"])]


def _read_entry(index: AnyPath, i: int, entry: Any) -> Shard:
    try:
        if entry["format"] != "mds":
            raise ValueError(f"is of format {entry['format']!r}, not mds")
        packed, compression = entry["zip_data"], entry["compression"]
        if (packed is None) != (compression is None):
            raise ValueError("has a compression without a compressed file, or the reverse")
        names, encodings, sizes = entry["column_names"], entry["column_encodings"], entry["column_sizes"]
        return Shard(
            index=index,
            columns=tuple(_read_column(*column) for column in zip(names, encodings, sizes, strict=True)),
            n_samples=_count(entry["samples"]),
            raw=_read_file(index, entry["raw_data"]),
            packed=None if packed is None else _read_file(index, packed),
            codec=None if compression is None else _codec_of(compression),
            config_bytes=len(json.dumps({key: entry[key] for key in entry.keys() - _NOT_IN_SHARDS})),
        )
    except KeyError as error:
        raise InputError(f"{index}: shard {i}: its entry lacks {error}: the index is damaged") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{index}: shard {i}: its entry is wrong ({error})") from error


def _read_column(name: Any, encoding: Any, size: Any) -> Column:
    if not isinstance(name, str) or not isinstance(encoding, str):
        raise ValueError(f"{name!r} of {encoding!r} is no column")
    return Column(name, encoding, None if size is None else _count(size))


def _read_file(index: AnyPath, entry: Any) -> ShardFile:
    name = PurePosixPath(entry["basename"])
    if name.is_absolute() or ".." in name.parts or not name.name or not str(name).isprintable():
        raise ValueError(f"{str(name)!r} is no file in its folder")
    hashes = {str(kind): str(value) for kind, value in entry["hashes"].items()}
    return ShardFile(index.parent / str(name), _count(entry["bytes"]), hashes)


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _LARGEST_SHARD:
        raise ValueError(f"{value!r} is no size or number that a shard can have")
    return value


def _codec_of(compression: str) -> str:
    name = compression.partition(":")[0]
    if name not in CODECS:
        raise ValueError(f"compression {compression!r} is not one of {', '.join(CODECS)}")
    return name


def _what_is_there(shard: Shard) -> Shard:
    """The shard, read raw where only its unpacked file is there. Raises InputError where a local file is missing.

    A remote file is taken to be there: to ask for thousands would take minutes.
    """
    if is_remote(shard.index):
        return shard
    if shard.packed and _size(shard.packed.path) is None and _size(shard.raw.path) is not None:
        shard = replace(shard, packed=None, codec=None)
    size = _size(shard.stored.path)
    if size is None:
        raise InputError(f"{shard.stored.path}: is missing, though {shard.index} lists it: restore it")
    _check_size(shard, size)
    return shard


def _size(path: AnyPath) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None


def _check_size(shard: Shard, size: int) -> None:
    path, expected = shard.stored.path, shard.stored.n_bytes
    if size != expected:
        wrong = "cut off" if size < expected else "not the one that was indexed"
        raise InputError(f"{path}: has {size} bytes, {shard.index} says {expected}: the shard is {wrong}")
    if shard.header_bytes > shard.raw.n_bytes:
        raise InputError(
            f"{shard.index}: says {shard.n_samples} samples of {path}, more than its {shard.raw.n_bytes} bytes hold: "
            "the index is damaged"
        )
