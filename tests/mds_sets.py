"""MDS sets for tests: a plain writer and a plain reader, both straight from the format's description."""

import bz2
import gzip
import hashlib
import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "zstd": lambda raw: pa.compress(raw, "zstd", asbytes=True),
    "gz": gzip.compress,
    "br": lambda raw: pa.compress(raw, "brotli", asbytes=True),
    "snappy": lambda raw: pa.compress(raw, "snappy", asbytes=True),
    "bz2": bz2.compress,
}
TYPES = {
    "uint8": (8, "B"), "int8": (9, "b"), "uint16": (16, "H"), "int16": (17, "h"), "float16": (18, "e"),
    "uint32": (32, "I"), "int32": (33, "i"), "float32": (34, "f"), "uint64": (64, "Q"), "int64": (65, "q"),
    "float64": (66, "d"),
}  # fmt: skip
"""By name: the byte that stands for the type, and its letter for struct."""


def size_of_encoding(encoding: str) -> int | None:
    """Bytes of each value where all have as many."""
    kind, *details = encoding.split(":")
    if kind == "ndarray":
        if len(details) < 2:
            return None
        return int(np.prod([int(axis) for axis in details[1].split(",")])) * struct.calcsize(TYPES[details[0]][1])
    return {"int": 8}.get(kind) or (struct.calcsize(TYPES[kind][1]) if kind in TYPES else None)


def array_bytes(array: np.ndarray, says_type: bool, says_shape: bool) -> bytes:
    """An array as it is stored, with what it says of itself in front."""
    head = bytes([TYPES[array.dtype.name][0]]) if says_type else b""
    if says_shape:
        code = next(code for code in range(4) if max(array.shape) < 256 ** (1 << code))
        head += bytes([array.ndim << 2 | code]) + struct.pack(f"<{array.ndim}{'BHIQ'[code]}", *array.shape)
    return head + array.tobytes()


def write_set(
    folder: Path,
    columns: dict[str, str],
    samples: list[dict[str, bytes]],
    *,
    compression: str | None = None,
    hashes: tuple[str, ...] = (),
    per_shard: int = 10,
) -> Path:
    """Writes encoded samples as mosaicml-streaming does; returns the folder."""
    folder.mkdir(parents=True)
    shards = [
        _write_shard(folder, i, columns, samples[first : first + per_shard], compression, hashes)
        for i, first in enumerate(range(0, len(samples), per_shard))
    ]
    (folder / "index.json").write_text(json.dumps({"shards": shards, "version": 2}, sort_keys=True))
    return folder


def write_ids(folder: Path, sequences: list[np.ndarray], **options: Any) -> Path:
    """A set with one column of ids in bytes."""
    return write_set(folder, {"tokens": "bytes"}, [{"tokens": ids.tobytes()} for ids in sequences], **options)


def _write_shard(
    folder: Path,
    number: int,
    columns: dict[str, str],
    samples: list[dict[str, bytes]],
    compression: str | None,
    hashes: tuple[str, ...],
) -> dict[str, Any]:
    names = sorted(columns)
    sizes = [size_of_encoding(columns[name]) for name in names]
    config = {
        "column_encodings": [columns[name] for name in names], "column_names": names, "column_sizes": sizes,
        "compression": compression, "format": "mds", "hashes": list(hashes), "size_limit": 1 << 26, "version": 2,
    }  # fmt: skip
    bodies = []
    for sample in samples:
        head = [struct.pack("<I", len(sample[name])) for name, size in zip(names, sizes, strict=True) if size is None]
        bodies.append(b"".join([*head, *(sample[name] for name in names)]))
    described = json.dumps(config, sort_keys=True).encode()
    place = 4 * (len(samples) + 2) + len(described)
    raw = struct.pack("<I", len(samples))
    for body in [b"", *bodies]:
        place += len(body)
        raw += struct.pack("<I", place)
    raw += described + b"".join(bodies)
    raw_file = _file(f"shard.{number:05d}.mds", raw, hashes)
    if compression is None:
        (folder / raw_file["basename"]).write_bytes(raw)
        return config | {"samples": len(samples), "raw_data": raw_file, "zip_data": None}
    codec = compression.partition(":")[0]
    packed = COMPRESS[codec](raw)
    packed_file = _file(f"{raw_file['basename']}.{codec}", packed, hashes)
    (folder / packed_file["basename"]).write_bytes(packed)
    return config | {"samples": len(samples), "raw_data": raw_file, "zip_data": packed_file}


def _file(name: str, content: bytes, hashes: tuple[str, ...]) -> dict[str, Any]:
    known: dict[str, Any] = {"xxh64": xxhash.xxh64, "sha1": hashlib.sha1}
    return {
        "basename": name,
        "bytes": len(content),
        "hashes": {kind: known[kind](content).hexdigest() for kind in hashes},
    }


def naive_values(raw: bytes, columns: list[tuple[str, str, int | None]]) -> list[dict[str, Any]]:
    """Every value of a decompressed shard, one by one. ``columns`` are names, encodings and sizes."""
    [n] = struct.unpack_from("<I", raw, 0)
    samples = []
    for i in range(n):
        [at] = struct.unpack_from("<I", raw, 4 * (i + 1))
        sizes = []
        for _, _, size in columns:
            if size is None:
                [size] = struct.unpack_from("<I", raw, at)
                at += 4
            sizes.append(size)
        sample = {}
        for (name, encoding, _), size in zip(columns, sizes, strict=True):
            sample[name] = naive_value(raw[at : at + size], encoding)
            at += size
        assert at == struct.unpack_from("<I", raw, 4 * (i + 2))[0]
        samples.append(sample)
    return samples


def naive_value(value: bytes, encoding: str) -> Any:
    """Numbers as (type, shape, values), texts as str, all else as bytes."""
    kind, *details = encoding.split(":")
    if kind in ("str", "json", "str_int", "str_float", "str_decimal"):
        return value.decode()
    if kind == "int":
        return ("int64", (), list(struct.unpack("<q", value)))
    if kind in TYPES:
        return (kind, (), list(struct.unpack(f"<{TYPES[kind][1]}", value)))
    if kind != "ndarray":
        return value
    if details:
        name = details[0]
    else:
        name = next(name for name, (code, _) in TYPES.items() if code == value[0])
        value = value[1:]
    if len(details) == 2:
        shape = tuple(int(axis) for axis in details[1].split(","))
    else:
        axes, letter = value[0] >> 2, "BHIQ"[value[0] & 3]
        shape = struct.unpack_from(f"<{axes}{letter}", value, 1)
        value = value[1 + struct.calcsize(f"<{axes}{letter}") :]
    count = int(np.prod(shape))
    return (name, shape, list(struct.unpack(f"<{count}{TYPES[name][1]}", value)))


def copied(source: Path, target: Path) -> Path:
    """A copy of a folder that can be written to."""
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    target.chmod(0o755)
    return target
