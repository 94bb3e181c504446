"""Source files of every kind, whole and damaged, against the libraries that write them."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskcatalog.corpus.documents import find_sources, read_documents
from taskcatalog.errors import InputError

TEXTS = [
    "import os\n",
    "",
    "na\u00efve \U0001f600 \x00 e\u0301",
    "x" * 5_000,
    *(f"line {i} of many" for i in range(300)),
]
JSONL = "".join(json.dumps({"id": i, "text": text}) + "\n" for i, text in enumerate(TEXTS)).encode()


def zstd(raw: bytes) -> bytes:
    compressed: bytes = pa.Codec("zstd").compress(raw, asbytes=True)
    return compressed


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".zst": zstd,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
}


def texts(path: Path, field: str = "text") -> list[str]:
    return [document.text for document in read_documents(path, field)]


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"id": range(len(TEXTS)), "text": TEXTS}), path, row_group_size=100)
    return path


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_compressed_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](JSONL))
    assert texts(path) == TEXTS
    assert [document.place for document in read_documents(path, "text")] == list(range(1, len(TEXTS) + 1))
    # Compressed twice over, one after the other: what 'cat' makes of two files.
    path.write_bytes(COMPRESS[suffix](JSONL) + COMPRESS[suffix](JSONL))
    assert texts(path) == TEXTS * 2
    plain = tmp_path / f"a.txt{suffix}"
    plain.write_bytes(COMPRESS[suffix](TEXTS[2].encode()))
    assert texts(plain) == [TEXTS[2]]
    assert find_sources([tmp_path]) == [path, plain]


def test_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    assert texts(path) == TEXTS
    assert [document.place for document in read_documents(path, "text")] == list(range(1, len(TEXTS) + 1))
    with pytest.raises(InputError, match=r"a.parquet: has no text column 'id' \(its columns are id, text\)"):
        texts(path, "id")
    pq.write_table(pa.table({"text": ["a", None]}), path)
    with pytest.raises(InputError, match=r"a.parquet: row 2: has no text"):
        texts(path)


@pytest.mark.parametrize("kind", [".jsonl", ".parquet", *(f".jsonl{suffix}" for suffix in sorted(COMPRESS))])
def test_damaged_files(tmp_path: Path, kind: str) -> None:
    """Cut off and with flipped bits at 60 places each: an error that names the file, or documents."""
    path = tmp_path / f"a{kind}"
    if kind == ".parquet":
        write_parquet(path)
    else:
        path.write_bytes(COMPRESS.get(kind.removeprefix(".jsonl"), bytes)(JSONL))
    whole = path.read_bytes()
    generator = np.random.default_rng(7)
    refused = 0
    for place in generator.integers(0, len(whole), 60).tolist():
        flipped = bytearray(whole)
        flipped[place] ^= 1 << int(generator.integers(0, 8))
        for damaged in (whole[:place], bytes(flipped)):
            path.write_bytes(damaged)
            try:
                assert all(isinstance(text, str) for text in texts(path))
            except InputError as error:
                assert str(path) in str(error)  # noqa: PT017
                refused += 1
    assert refused >= 60
