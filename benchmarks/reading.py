"""Reads a store of each kind, in the ranges that counting reads, against NumPy on the same files, in one run.

    python benchmarks/reading.py [--megabytes 512] [--repeats 3]

Each store is written here, from ids of a skewed distribution or, for a token store, from text, and is in the page
cache when it is read. Ours is ``store.read`` and the largest id of what it gives; plain is the largest number in the
same files, memory-mapped, or for compressed shards, of what the decompressor makes of them. Rates are of ids as a stage
gets them.
"""

import argparse
import json
import shutil
import struct
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from real_text import MODEL, SEQUENCE_LENGTH

import taskcatalog as tc
from taskcatalog.converting.stage import ConvertSettings, convert
from taskcatalog.embedded.standard_library import standard_library_sources
from taskcatalog.stores.store import Store, ranges

_TOKENS_AT_ONCE = 1 << 26
_WORKERS = 2
_IDS = 8_192
_ITEM = 1_000
_CHARACTERS = 3
"""To a token."""


@dataclass(frozen=True)
class Kind:
    """How a store is written from the flat file of ids, what opens it, and what reads its files plainly."""

    write: Callable[[Path, Path], Path]
    """From the flat file, into an empty folder; returns what to open."""
    options: tc.StoreOptions
    plain: Callable[[Path], int]
    """The largest number in the files of a folder."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--megabytes", type=int, default=512)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        flat, folder = Path(name) / "ids.bin", Path(name) / "store"
        write_ids(flat, options.megabytes)
        for kind, how in KINDS.items():
            folder.mkdir()
            path = how.write(flat, folder)
            largest = how.plain(folder)
            at_once = max(1, _TOKENS_AT_ONCE // tc.open_store(path, how.options).identity.sequence_length)
            ours, plain = [], []
            for _ in range(options.repeats + 1):  # the first puts the files into the page cache
                store = tc.open_store(path, how.options)
                ours.append(seconds(read_all, store, at_once, expected=largest))
                plain.append(seconds(how.plain, folder, expected=largest))
            n_bytes = store.n_tokens * store.read(0, 1).tokens.itemsize
            rate = n_bytes / min(ours[1:]) / 1e6
            print(
                f"{kind:24} {rate:7,.0f} MB/s, {store.n_tokens / min(ours[1:]) / 1e6:6,.0f}M tokens/s; "
                f"plain {n_bytes / min(plain[1:]) / 1e6:7,.0f} MB/s, ratio {min(plain[1:]) / min(ours[1:]):.2f}"
            )
            shutil.rmtree(folder)


def seconds(do: Callable[..., int], *arguments: Any, expected: int) -> float:
    started = time.perf_counter()
    found = do(*arguments)
    taken = time.perf_counter() - started
    if found != expected:
        raise SystemExit(f"the largest id is {expected}, but {found} was read")
    return taken


def read_all(store: Store, at_once: int) -> int:
    return max(int(store.read(a, b).tokens.max()) for a, b in ranges(store.n_sequences, at_once))


def write_ids(flat: Path, megabytes: int) -> None:
    """Whole sequences of uint16 ids, low ones far more often, in documents of 1,000."""
    generator = np.random.default_rng(0)
    with flat.open("wb") as file:
        for _ in range(megabytes):
            ids = 1 + ((_IDS - 2) * generator.random(1 << 19, np.float32) ** 4).astype(np.uint16)
            ids[::_ITEM] = 0  # the end-of-text id
            ids.tofile(file)


def as_type(dtype: str) -> Callable[[Path, Path], Path]:
    def write(flat: Path, folder: Path) -> Path:
        np.memmap(flat, np.uint16, "r").astype(dtype).tofile(folder / "ids.bin")
        return folder / "ids.bin"

    return write


def datatrove(flat: Path, folder: Path) -> Path:
    shutil.copyfile(flat, folder / "ids.ds")
    n_ids = flat.stat().st_size // 2
    (folder / "ids.ds.metadata").write_text(f"none|2\n{n_ids}\n")
    np.arange(_ITEM, n_ids + _ITEM, _ITEM).clip(max=n_ids).astype("<u8").tofile(folder / "ids.ds.index")
    return folder


def megatron(length: int) -> Callable[[Path, Path], Path]:
    def write(flat: Path, folder: Path) -> Path:
        shutil.copyfile(flat, folder / "ids.bin")
        n_ids = flat.stat().st_size // 2
        starts = np.arange(0, n_ids, length)
        lengths = np.minimum(starts + length, n_ids) - starts
        with (folder / "ids.idx").open("wb") as index:
            index.write(b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(starts), len(starts) + 1))
            for array, dtype in ((lengths, "<i4"), (2 * starts, "<i8"), (np.arange(len(starts) + 1), "<i8")):
                array.astype(dtype).tofile(index)
        return folder / "ids.idx"

    return write


def converted(**settings: Any) -> Callable[[Path, Path], Path]:
    def write(flat: Path, folder: Path) -> Path:
        options = tc.StoreOptions(tokenizer=str(MODEL), sequence_length=SEQUENCE_LENGTH)
        convert(flat, folder, ConvertSettings(**settings), options=options, workers=_WORKERS)
        return folder

    return write


def token_store(flat: Path, folder: Path) -> Path:
    """Of text, for its index of documents: about as many tokens as the flat file has."""
    texts = [path.read_text() for path in standard_library_sources()]
    wanted = flat.stat().st_size // 2 * _CHARACTERS
    lines = [json.dumps({"text": text}) for text in texts * (wanted // sum(map(len, texts)) + 1)]
    (folder / "a.jsonl").write_text("\n".join(lines))
    tc.tokenize(folder / "a.jsonl", folder / "store", str(MODEL), workers=_WORKERS)
    (folder / "a.jsonl").unlink()
    return folder / "store"


def largest_in(pattern: str, dtype: str) -> Callable[[Path], int]:
    def plain(folder: Path) -> int:
        return max(int(np.memmap(path, dtype, "r").max()) for path in folder.rglob(pattern))

    return plain


def largest_in_raw_shards(folder: Path) -> int:
    return max(_largest_sample(np.memmap(path, np.uint8, "r")) for path in folder.rglob("*.mds"))


def largest_in_zstd_shards(folder: Path) -> int:
    largest = 0
    for index in folder.glob("*/index.json"):
        for shard in json.loads(index.read_text())["shards"]:
            stored = (index.parent / shard["zip_data"]["basename"]).read_bytes()
            raw = pa.Codec("zstd").decompress(stored, shard["raw_data"]["bytes"])
            largest = max(largest, _largest_sample(np.frombuffer(raw, np.uint8)))
    return largest


def _largest_sample(shard: NDArray[np.uint8]) -> int:
    """Samples of one length lie at one distance from each other, each behind its size."""
    n_samples, first, second = (int(number) for number in shard[:12].view("<u4"))
    samples = shard[first:].reshape(n_samples, second - first)[:, 4:]
    return int(samples.view("<u2").max())


_UINT16 = tc.StoreOptions()
KINDS = {
    "flat uint16": Kind(as_type("<u2"), _UINT16, largest_in("*.bin", "<u2")),
    "flat uint32": Kind(as_type("<u4"), tc.StoreOptions(id_dtype="uint32"), largest_in("*.bin", "<u4")),
    "flat int32": Kind(as_type("<i4"), tc.StoreOptions(id_dtype="int32"), largest_in("*.bin", "<i4")),
    "flat int64": Kind(as_type("<i8"), tc.StoreOptions(id_dtype="int64"), largest_in("*.bin", "<i8")),
    "token store": Kind(token_store, _UINT16, largest_in("*.bin", "<u2")),
    "Megatron documents": Kind(megatron(_ITEM), tc.StoreOptions(sequence_length=2_048), largest_in("*.bin", "<u2")),
    "Megatron rows": Kind(megatron(2_049), _UINT16, largest_in("*.bin", "<u2")),
    "datatrove": Kind(datatrove, _UINT16, largest_in("*.ds", "<u2")),
    "MDS raw": Kind(converted(format="mds", compression="none"), _UINT16, largest_in_raw_shards),
    "MDS zstd": Kind(converted(format="mds", compression="zstd"), _UINT16, largest_in_zstd_shards),
}


if __name__ == "__main__":
    main()
