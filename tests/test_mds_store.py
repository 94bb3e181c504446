"""Stores of ids in MDS: every type and layout of ids, in one folder or in parts, here or remote."""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from upath import UPath

from mds_sets import COMPRESS, array_bytes, copied, write_ids, write_set
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.storage import AnyPath
from taskcatalog.stores.mds import MdsStore, problems_of_mds, read_mds_texts
from taskcatalog.stores.mds_format import has_index


def tokens_of(folder: AnyPath, **options: Any) -> list[list[int]]:
    store = MdsStore(folder, **options)
    whole = store.read(0, store.n_sequences)
    return [ids.tolist() for ids in np.split(whole.tokens, whole.ends[:-1])] if store.n_sequences else []


ID_LAYOUTS = ["bytes", "fixed", "own shape", "own type"]


def id_set(folder: Path, layout: str, name: str, sequences: list[np.ndarray], **options: Any) -> Path:
    """A set with ids beside other columns."""
    encoding = {
        "bytes": "bytes",
        "fixed": f"ndarray:{name}:{len(sequences[0])}",
        "own shape": f"ndarray:{name}",
        "own type": "ndarray",
    }[layout]
    samples = [
        {
            "label": b"\x01\x02\x03\x04",
            "ids": array_bytes(ids, True, True)
            if layout == "own type"
            else array_bytes(ids, False, True)
            if layout == "own shape"
            else ids.tobytes(),
            "text": "é".encode() * (i % 5),
        }
        for i, ids in enumerate(sequences)
    ]
    return write_set(folder, {"label": "int32", "ids": encoding, "text": "str"}, samples, **options)


@pytest.mark.parametrize("layout", ID_LAYOUTS)
@pytest.mark.parametrize("name", ["uint16", "int16", "uint32", "int32", "uint64", "int64"])
def test_ids_in_any_layout(tmp_path: Path, layout: str, name: str) -> None:
    chance = np.random.default_rng(ID_LAYOUTS.index(layout))
    largest = min(np.iinfo(name).max, 2**32 - 1)
    lengths = [6] * 31 if layout == "fixed" else chance.integers(1, 9, 31).tolist()
    sequences = [chance.integers(0, largest, n, endpoint=True).astype(name) for n in lengths]
    sequences[4][0] = largest
    folder = id_set(tmp_path / "set", layout, name, sequences, compression="zstd" if name.startswith("u") else None)
    store = MdsStore(folder, name if layout == "bytes" else None)
    for first, last in ((0, 31), (3, 4), (8, 25), (30, 31), (10, 20), (5, 5)):
        read = store.read(first, last)
        assert read.tokens.dtype == (np.uint16 if "16" in name else np.uint32)
        expected = [ids.tolist() for ids in sequences[first:last]]
        assert [ids.tolist() for ids in np.split(read.tokens, read.ends)[:-1]] == expected
    assert store.identity.vocabulary_size == (2**16 if "16" in name else largest + 1)
    assert store.n_tokens == (31 * 6 if layout == "fixed" else 31 * len(sequences[0]))


def test_ids_of_one_column_are_counted_without_reading(tmp_path: Path) -> None:
    chance = np.random.default_rng(1)
    sequences = [np.arange(n, dtype=np.uint16) for n in chance.integers(0, 50, 40)]
    for compression in (None, *COMPRESS):
        store = MdsStore(write_ids(tmp_path / str(compression), sequences, compression=compression, hashes=("sha1",)))
        assert store.n_tokens == sum(map(len, sequences))
        assert tokens_of(store.path) == [ids.tolist() for ids in sequences]


def test_ids_that_cannot_be(tmp_path: Path) -> None:
    for name, bad in (("int16", -1), ("int32", -5), ("int64", -1), ("int64", 2**32), ("uint64", 2**63)):
        folder = tmp_path / f"{name} {bad}"
        write_ids(folder, [np.array([1, 2], name), np.array([3, bad], name)])
        with pytest.raises(InputError, match=r"shard.00000.mds: holds ids that are negative or beyond 32 bits"):
            MdsStore(folder, name).read(0, 2)
    odd = write_ids(tmp_path / "odd", [np.zeros(4, np.uint8), np.zeros(3, np.uint8)])
    with pytest.raises(InputError, match=r"sample 1 has 3 bytes, no whole number of uint16 ids: is --id-dtype right"):
        MdsStore(odd).read(0, 1)


def test_which_column_holds_ids(tmp_path: Path) -> None:
    columns = {"a": "bytes", "b": "ndarray:int64", "c": "str", "d": "ndarray:float32", "e": "int64"}
    values = {"a": b"\1\0", "c": b"x", "e": bytes(8), "b": array_bytes(np.array([7, 8]), False, True)}
    samples = [values | {"d": array_bytes(np.ones(1, np.float32), False, True)}]
    folder = write_set(tmp_path / "set", columns, samples)
    assert tokens_of(folder, column="a") == [[1]]
    assert tokens_of(folder, column="b") == [[7, 8]]
    with pytest.raises(SettingsError, match=r"several .*a \(bytes\), b \(ndarray:int64\), c \(str\).* name one"):
        MdsStore(folder)
    for name in ("c", "d", "e", "f"):
        with pytest.raises(InputError, match=rf"its column '{name}' is not there, or no column that can hold ids"):
            MdsStore(folder, column=name)
    texts = write_set(tmp_path / "texts", {"c": "str"}, [{"c": b"x"}])
    with pytest.raises(InputError, match=r"none of its columns can hold ids .*its columns are c \(str\)"):
        MdsStore(texts)
    with pytest.raises(SettingsError, match=r"column 'b' holds int64, not uint16: leave out --id-dtype"):
        MdsStore(folder, np.uint16, column="b")
    with pytest.raises(SettingsError, match=r"ids are of type float32: they must be one of uint16"):
        MdsStore(folder, np.float32, column="a")


def test_shards_must_agree_on_the_ids(tmp_path: Path) -> None:
    write_set(tmp_path / "set/0", {"ids": "ndarray:int64:1"}, [{"ids": bytes(8)}])
    write_set(tmp_path / "set/1", {"ids": "ndarray:int32:1"}, [{"ids": bytes(4)}])
    with pytest.raises(InputError, match=r"1/shard.00000.mds: its column 'ids' is of ndarray:int32:1"):
        MdsStore(tmp_path / "set")
    arrays: list[np.ndarray] = [np.ones(3, np.int32), np.ones(3, np.int64)]
    write_set(tmp_path / "own", {"ids": "ndarray"}, [{"ids": array_bytes(array, True, True)} for array in arrays])
    with pytest.raises(InputError, match=r"shard.00000.mds: holds arrays of int32, int64, the first .* of int32"):
        MdsStore(tmp_path / "own").read(0, 2)
    floats = write_set(tmp_path / "floats", {"ids": "ndarray"}, [{"ids": array_bytes(np.ones(2), True, True)}])
    with pytest.raises(InputError, match=r"its column 'ids' holds float64: no ids"):
        MdsStore(floats)


def test_threads_read_side_by_side(tmp_path: Path) -> None:
    sequences = [np.full(i % 7, i, np.uint16) for i in range(200)]
    store = MdsStore(write_ids(tmp_path / "set", sequences, compression="gz"))
    ranges = [(first, min(first + 17, 200)) for first in range(0, 200, 3)]
    with ThreadPoolExecutor(8) as pool:
        for (first, last), read in zip(ranges, pool.map(lambda r: store.read(*r), ranges), strict=True):
            assert read.tokens.tolist() == np.concatenate(sequences[first:last]).tolist()


def test_parts_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    ids = {"part-2": 2, "part-10/0": 10, "part-10/1": 11, "part-9": 9}
    for name, number in ids.items():
        write_ids(tmp_path / "set" / name, [np.array([number], np.uint16)])
    (tmp_path / "set/part-3").mkdir()
    (tmp_path / "set/part-3/index.json").write_text('{"version": 2, "shards": []}')
    (tmp_path / "set/.cache").mkdir()
    assert has_index(tmp_path / "set")
    assert tokens_of(tmp_path / "set") == [[2], [9], [10], [11]]
    (tmp_path / "set/part-4").mkdir()
    with pytest.raises(InputError, match=r"part-4: is no folder of MDS shards: neither it nor a sub-directory has"):
        MdsStore(tmp_path / "set")
    (tmp_path / "none").mkdir()
    assert not has_index(tmp_path / "none")


def test_an_empty_set(tmp_path: Path) -> None:
    store = MdsStore(write_ids(tmp_path / "set", []))
    assert (store.n_sequences, store.n_tokens, store.identity.sequence_length) == (0, 0, 1)
    assert len(store.read(0, 0).tokens) == 0
    assert list(read_mds_texts(tmp_path / "set", "text")) == []


def test_a_set_that_was_unpacked(tmp_path: Path) -> None:
    """A cache of mosaicml-streaming keeps the index of compressed shards, and only what it made of them."""
    sequences = [np.arange(i, i + 9, dtype=np.uint16) for i in range(25)]
    write_ids(tmp_path / "raw", sequences)
    folder = write_ids(tmp_path / "packed", sequences, compression="zstd")
    expected = tokens_of(folder)
    for shard in folder.glob("*.zstd"):
        shard.unlink()
        shutil.copy(tmp_path / "raw" / shard.stem, folder)
    # The JSON inside differs by the compression it names, and with it the size.
    index = json.loads((folder / "index.json").read_text())
    for entry in index["shards"]:
        entry["raw_data"]["bytes"] = (folder / entry["raw_data"]["basename"]).stat().st_size
    (folder / "index.json").write_text(json.dumps(index))
    assert tokens_of(folder) == expected
    with (folder / "shard.00000.mds").open("ab") as file:
        file.truncate(30)
    with pytest.raises(InputError, match=r"shard.00000.mds: has \d+ bytes, .* the shard is cut off"):
        MdsStore(folder)


@pytest.fixture
def remote() -> UPath:
    """A folder on a file system that is not this machine's."""
    folder = UPath("memory://sets")
    folder.fs.store.clear()
    return folder


def put(local: Path, remote: UPath) -> UPath:
    for file in local.rglob("*"):
        if file.is_file():
            remote.fs.pipe_file((remote / str(file.relative_to(local))).path, file.read_bytes())
    return remote


@pytest.mark.parametrize("layout", ["pile_layout_zstd", "pile_layout_raw"])
def test_a_remote_set(shared: Path, remote: UPath, layout: str) -> None:
    local, there = MdsStore(shared / "mds" / layout), MdsStore(put(shared / "mds" / layout, remote))
    assert there.identity == local.identity
    n = local.n_sequences
    assert np.array_equal(there.read(0, n).tokens, local.read(0, n).tokens)
    assert np.array_equal(there.read(190, 195).tokens, local.read(190, 195).tokens)
    assert problems_of_mds(remote) == []


def test_a_remote_set_in_parts(remote: UPath, tmp_path: Path) -> None:
    for name in ("9", "10", "8/1"):
        put(write_ids(tmp_path / name, [np.array([int(name[0])], np.uint16)]), remote / name)
    assert has_index(remote)
    assert tokens_of(remote) == [[8], [9], [1]]
    shard = remote / "10/shard.00000.mds"
    remote.fs.pipe_file(shard.path, shard.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"10/shard.00000.mds: has \d+ bytes, .* cut off"):
        MdsStore(remote).read(2, 3)
    remote.fs.rm_file(shard.path)
    with pytest.raises(InputError, match=r"10/shard.00000.mds: cannot be read: it does not exist"):
        MdsStore(remote).read(2, 3)


def test_fingerprints_tell_sets_apart(tmp_path: Path) -> None:
    chance = np.random.default_rng(2)
    sequences = [chance.integers(0, 9, 50).astype(np.uint16) for _ in range(600)]
    names = {MdsStore(write_ids(tmp_path / "a", sequences, per_shard=2)).identity.fingerprint}
    names.add(MdsStore(copied(tmp_path / "a", tmp_path / "copy")).identity.fingerprint)
    assert len(names) == 1
    sequences[599][0] += 1
    names.add(MdsStore(write_ids(tmp_path / "b", sequences, per_shard=2)).identity.fingerprint)
    names.add(MdsStore(write_ids(tmp_path / "c", sequences, per_shard=3)).identity.fingerprint)
    names.add(MdsStore(tmp_path / "a", np.int16).identity.fingerprint)
    assert len(names) == 4
