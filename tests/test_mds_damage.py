"""Damaged MDS sets: each is refused by a line that names the file, or gives ids that can be."""

import hashlib
import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import xxhash

from helpers import refusal
from mds_sets import array_bytes, copied, write_ids, write_set
from taskcatalog.errors import InputError
from taskcatalog.stores.mds import MdsStore, problems_of_mds, read_mds_texts

CODECS = [None, "zstd", "gz", "snappy", "br", "bz2"]


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def flip(path: Path, at: int, bits: int = 0xFF) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= bits
    path.write_bytes(raw)


def edit(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Changes what the index says of its first shard."""
    index = json.loads((folder / "index.json").read_text())
    change(index["shards"][0])
    (folder / "index.json").write_text(json.dumps(index))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: cut(p / "0/shard.00000.mds.zstd", 100), r"shard.00000.mds.zstd: has \d+ bytes, .*cut off"),
        (lambda p: flip(p / "0/shard.00000.mds.zstd", 0), r"0/shard.00000.mds.zstd: cannot be decompressed"),
        (lambda p: (p / "1/shard.00000.mds.zstd").unlink(), r"1/shard.00000.mds.zstd: is missing"),
        (lambda p: cut(p / "index.json", 10), r"index.json: is not JSON"),
        (lambda p: (p / "index.json").write_text("{}"), r"index.json: is no index of MDS shards"),
        (lambda p: (p / "index.json").write_text('{"version": 2, "shards": [{}]}'), r"shard 0: its entry lacks"),
    ],
)
def test_damaged_real_set(shared: Path, tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    folder = copied(shared / "mds/pile_layout_zstd", tmp_path / "mds")
    damage(folder)
    assert re.search(message, refusal("ngrams", folder, "--out", tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_damaged_real_raw_set(shared: Path, tmp_path: Path) -> None:
    folder = copied(shared / "mds/pile_layout_raw", tmp_path / "mds")
    shard = folder / "shard.00000.mds"
    flip(shard, 5_000)
    with pytest.raises(InputError, match=r"shard.00000.mds: its xxh64 is .*, the index says"):
        MdsStore(folder).read(0, 1)
    flip(shard, 5_000)
    index = json.loads((folder / "index.json").read_text())
    for entry in index["shards"]:
        entry["raw_data"]["hashes"] = {}
    (folder / "index.json").write_text(json.dumps(index))
    for at, message in (
        (0, "does not say 127 samples"),
        (5, "offsets"),
        (12, "offsets"),
        (len(_head(shard)), "sample"),
    ):
        flip(shard, at)
        with pytest.raises(InputError, match=rf"shard.00000.mds: .*{message}"):
            MdsStore(folder).read(0, 1)
        assert len(problems_of_mds(folder)) == 1
        flip(shard, at)


def _head(shard: Path) -> bytes:
    """All in front of the first sample."""
    raw = shard.read_bytes()
    return raw[: int(np.frombuffer(raw, "<u4", 1, 4)[0])]


BAD_ENTRIES: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda e: e.update(format="json"), "is of format 'json', not mds"),
    (lambda e: e.update(samples=-1), "-1 is no size or number"),
    (lambda e: e.update(samples=True), "True is no size or number"),
    (lambda e: e.update(samples=10**9), "says 1000000000 samples of .*more than its"),
    (lambda e: e["raw_data"].update(bytes=2**32), "4294967296 is no size or number"),
    (lambda e: e["raw_data"].update(bytes="1"), "'1' is no size or number"),
    (lambda e: e["raw_data"].update(basename="../x"), "'../x' is no file in its folder"),
    (lambda e: e["raw_data"].update(basename="/etc/hosts"), "'/etc/hosts' is no file in its folder"),
    (lambda e: e["raw_data"].update(basename="a\0b"), "is no file in its folder"),
    (lambda e: e["raw_data"].update(basename="a" * 5_000 + ".mds"), "is missing"),
    (lambda e: e["raw_data"].update(basename="index.json"), "has .* bytes, .* not the one that was indexed"),
    (lambda e: e["raw_data"].update(hashes=None), "its entry is wrong"),
    (lambda e: e.update(compression="lzma:3"), "compression without a compressed file"),
    (lambda e: e.update(compression="lzma", zip_data=e["raw_data"]), "compression 'lzma' is not one of zstd, gz"),
    (lambda e: e.update(column_names=["a", "b"]), "its entry is wrong"),
    (lambda e: e.update(column_encodings=[None]), "is no column"),
    (lambda e: e.update(column_sizes=[8]), r"sample \d+ has columns of|offsets say"),
    (lambda e: e.update(column_encodings=["ndarray:uint16:3"]), "takes None bytes, not 6: the index is damaged"),
    (lambda e: e.update(column_encodings=[f"ndarray:uint16:{'9' * 5_000}"]), "none of its columns can hold ids"),
    (lambda e: e.pop("column_sizes"), "its entry lacks 'column_sizes'"),
    (lambda e: e.clear(), "its entry lacks"),
]


@pytest.mark.parametrize(("change", "message"), BAD_ENTRIES)
def test_index_that_cannot_be(tmp_path: Path, change: Callable[[dict[str, Any]], object], message: str) -> None:
    folder = write_ids(tmp_path / "set", [np.arange(5, dtype=np.uint16)] * 3)
    edit(folder, change)
    with pytest.raises(InputError, match=rf"set(/index.json|/[^:]*mds)?: .*({message})"):
        MdsStore(folder).read(0, 3)


@pytest.mark.parametrize(
    "content", ['{"shards": []}', '{"version": 1, "shards": []}', "[]", "[" * 99_999, "\udcff", ""]
)
def test_content_that_is_no_index(tmp_path: Path, content: str) -> None:
    (tmp_path / "index.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError, match=r"index.json: is (not JSON|no index of MDS shards|of version)"):
        MdsStore(tmp_path)


@pytest.mark.parametrize("codec", CODECS)
def test_sizes_that_are_wrong_cost_no_memory(tmp_path: Path, codec: str | None) -> None:
    folder = write_ids(tmp_path / "set", [np.zeros(30_000, np.uint16)] * 3, compression=codec)
    before = pa.default_memory_pool().max_memory()
    for n_bytes in (2**32 - 1, 2**31, 10**7, 1, 0):
        edit(folder, lambda e, n_bytes=n_bytes: e["raw_data"].update(bytes=n_bytes))  # type: ignore[misc]
        with pytest.raises(InputError, match=r"set/"):
            MdsStore(folder).read(0, 3)
    assert pa.default_memory_pool().max_memory() < before + 2**25


@pytest.mark.parametrize("codec", CODECS)
def test_what_compresses_very_well_is_read(tmp_path: Path, codec: str | None) -> None:
    sequences = [np.zeros(3_000_000, np.uint16)]
    store = MdsStore(write_ids(tmp_path / "set", sequences, compression=codec))
    read = store.read(0, 1)
    assert len(read.tokens) == 3_000_000
    assert not read.tokens.any()


def damaged(chance: random.Random, content: bytes) -> bytes:
    """Content that is cut off, or has a bit or a byte changed, a range lost, or one of four bytes set high."""
    at = chance.randrange(len(content))
    kind = chance.choice(["bit", "bit", "byte", "cut", "lost", "high"])
    if kind == "cut":
        return content[:at]
    if kind == "lost":
        return content[:at] + content[at + chance.randint(1, 8) :]
    changed = bytearray(content)
    if kind == "high":
        at -= at % 4
        changed[at : at + 4] = b"\xff\xff\xff\x7f"[: len(content) - at]
    else:
        changed[at] ^= 1 << chance.randrange(8) if kind == "bit" else chance.randint(1, 255)
    return bytes(changed)


@pytest.mark.parametrize("encoding", ["bytes", "ndarray:uint16:40", "ndarray:uint16", "ndarray"])
@pytest.mark.parametrize("codec", CODECS)
def test_random_damage(tmp_path: Path, codec: str | None, encoding: str) -> None:
    chance = random.Random(f"{codec} {encoding}")
    ids = [np.array([chance.randrange(500) for _ in range(40)], np.uint16) for _ in range(30)]
    fixed = encoding in ("bytes", "ndarray:uint16:40")
    samples = [{"ids": i.tobytes() if fixed else array_bytes(i, encoding == "ndarray", True)} for i in ids]
    folder = write_set(tmp_path / "set", {"ids": encoding}, samples, compression=codec, per_shard=20)
    files = sorted(folder.iterdir())
    refusals = []
    for _ in range(25):
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(damaged(chance, content))
        try:
            store = MdsStore(folder)
            read = store.read(0, store.n_sequences)
            assert read.tokens.dtype in (np.uint16, np.uint32)
            assert len(read.ends) == store.n_sequences
            assert not len(read.ends) or read.ends[-1] == len(read.tokens)
        except InputError as error:
            refusals.append(str(error))
        file.write_bytes(content)
    assert len(refusals) >= 5
    assert all(str(folder) in line and "\n" not in line for line in refusals)
    assert MdsStore(folder).read(0, 30).tokens.tolist() == np.concatenate(ids).tolist()


@pytest.mark.parametrize("codec", CODECS)
def test_random_damage_of_other_columns(tmp_path: Path, codec: str | None) -> None:
    chance = random.Random(f"{codec}")
    columns = {"text": "str", "any": "ndarray", "floats": "ndarray:float32", "number": "int"}
    samples = [
        {
            "text": "é".encode() * (i % 7),
            "any": array_bytes(np.ones((i + 1, 2)), True, True),
            "floats": array_bytes(np.ones(i + 1, np.float32), False, True),
            "number": bytes(8),
        }
        for i in range(20)
    ]
    folder = write_set(tmp_path / "set", columns, samples, compression=codec, per_shard=9)
    files = sorted(folder.iterdir())
    refusals = []
    for _ in range(25):
        file = chance.choice(files)
        content = file.read_bytes()
        file.write_bytes(damaged(chance, content))
        try:
            refusals += problems_of_mds(folder)
            for shard in read_mds_texts(folder, "text"):
                assert all(isinstance(text, str) for text in shard.texts.to_pylist())
        except InputError as error:
            refusals.append(str(error))
        file.write_bytes(content)
    assert len(refusals) >= 5
    assert all(str(folder) in line and "\n" not in line for line in refusals)
    assert problems_of_mds(folder) == []


@pytest.mark.parametrize("kind", ["xxh64", "sha1"])
@pytest.mark.parametrize("codec", CODECS)
def test_hashes_find_every_change_of_a_shard(tmp_path: Path, codec: str | None, kind: str) -> None:
    chance = random.Random(f"{codec} {kind}")
    ids = [np.array([chance.randrange(500) for _ in range(40)], np.uint16) for _ in range(30)]
    folder = write_ids(tmp_path / "set", ids, compression=codec, hashes=(kind,))
    assert problems_of_mds(folder) == []
    files = sorted(file for file in folder.iterdir() if file.name != "index.json")
    for _ in range(20):
        file, bits = chance.choice(files), 1 << chance.randrange(8)
        at = chance.randrange(file.stat().st_size)
        flip(file, at, bits)
        [problem] = problems_of_mds(folder)
        assert re.search(rf"{file.name}: its {kind} is \w+, the index says", problem)
        flip(file, at, bits)
    assert problems_of_mds(folder) == []


def test_hashes_of_other_kinds(tmp_path: Path) -> None:
    folder = write_ids(tmp_path / "set", [np.arange(9, dtype=np.uint16)])
    content = (folder / "shard.00000.mds").read_bytes()
    known: dict[str, Any] = {
        "md5": hashlib.md5(content),
        "sha3_256": hashlib.sha3_256(content),
        "xxh128": xxhash.xxh128(content),
    }
    edit(folder, lambda e: e["raw_data"].update(hashes={name: made.hexdigest() for name, made in known.items()}))
    assert problems_of_mds(folder) == []
    edit(folder, lambda e: e["raw_data"].update(hashes={"crc9": "12"}))
    [problem] = problems_of_mds(folder)
    assert "shard.00000.mds: its hash 'crc9' is of no known kind: its content cannot be checked" in problem


def test_a_wrong_raw_hash_of_a_compressed_shard(tmp_path: Path) -> None:
    """What comes out is checked as well as what is stored."""
    folder = write_ids(tmp_path / "set", [np.arange(9, dtype=np.uint16)], compression="br", hashes=("xxh64",))
    edit(folder, lambda e: e["raw_data"].update(hashes={"xxh64": "0" * 16}))
    [problem] = problems_of_mds(folder)
    assert re.search(r"shard.00000.mds.br: its xxh64 is \w+, the index says 0{16}", problem)
