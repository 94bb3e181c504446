"""Reading MDS: real sets that other software wrote, random sets against a naive reader, and texts."""

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from mds_sets import TYPES, array_bytes, copied, naive_values, write_set
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath
from taskcatalog.stores.mds import MdsStore, problems_of_mds, read_mds_texts
from taskcatalog.stores.mds_columns import TEXTS
from taskcatalog.stores.mds_format import has_index, read_shards

REAL_SETS = {
    "mosaic_mix/data": 9_999,
    "pile_layout_raw": 200,
    "pile_layout_zstd": 604,
    "pile_layout_zstd/0": 406,
    "pile_layout_zstd/1": 198,
    "llm_foundry/tmp/data/text-data": 20,
    "llm_foundry/tmp/data/finetuning-data": 20,
    "llm_foundry/tmp/data/mds_hospital_20_small": 20,
    "streaming_tests/scripts/joining/sample_dataset/x": 100,
    "streaming_tests/scripts/joining/sample_dataset/y": 100,
    "streaming_tests/scripts/joining/sample_dataset/pet": 100,
    "streaming_tests/scripts/joining/sample_dataset/color": 100,
    "streaming_tests/tests/resources/naive_MDSdataset": 5,
    "streaming_tests/tests/resources/naive_MDSdataset/25": 2,
    "streaming_tests/tests/resources/naive_MDSdataset/26": 3,
    "streaming_tests/tests/resources/naive_MDSdataset/27": 0,
}
"""All that are in the folder of test data, with their samples."""


def texts_of(folder: AnyPath, name: str) -> list[str]:
    """All values of a column of text."""
    return [text for shard in read_mds_texts(folder, name) for text in shard.texts.to_pylist()]


def test_every_real_set_is_read(shared: Path) -> None:
    found = {str(index.parent.relative_to(shared / "mds")) for index in (shared / "mds").rglob("index.json")}
    assert found == REAL_SETS.keys()
    for name, n_samples in REAL_SETS.items():
        folder = shared / "mds" / name
        assert has_index(folder)
        assert problems_of_mds(folder) == []
        assert sum(shard.n_samples for shard in read_shards(folder)) == n_samples


def test_real_ids(shared: Path) -> None:
    golden = json.loads((shared / "golden/pile_layout_ngrams.json").read_text())
    store = MdsStore(shared / "mds/pile_layout_zstd")
    whole = store.read(0, store.n_sequences)
    assert hashlib.sha256(whole.tokens.astype("<u2").tobytes()).hexdigest() == golden["tokens_sha256_uint16_le"]
    assert store.n_sequences == golden["sequences"]
    assert set(np.diff(whole.ends, prepend=0).tolist()) == {golden["sequence_length"]}
    raw = MdsStore(shared / "mds/pile_layout_raw")
    # The raw set holds the first 200 sequences of the compressed one.
    assert np.array_equal(raw.read(0, 200).tokens, whole.tokens[: 200 * golden["sequence_length"]])
    assert (store.n_tokens, raw.n_tokens) == (len(whole.tokens), 200 * golden["sequence_length"])


@pytest.mark.parametrize("layout", ["pile_layout_zstd", "pile_layout_raw"])
def test_any_range_of_a_real_set(shared: Path, layout: str) -> None:
    store = MdsStore(shared / "mds" / layout)
    n = store.n_sequences
    whole = store.read(0, n).tokens
    for first, last in ((0, 1), (100, 200), (126, 128), (n - 1, n), (7, 7), (n, n), (n - 2, n + 5)):
        read = store.read(first, last)
        assert read.tokens.tolist() == whole[first * 2_048 : last * 2_048].tolist()
        assert read.ends.tolist() == [2_048 * (i + 1) for i in range(min(last, n) - first)]


def test_texts_beside_columns_of_other_kinds(shared: Path) -> None:
    joined = shared / "mds/streaming_tests/scripts/joining/sample_dataset"
    found = [text for name in ("pet", "color") for text in texts_of(joined / name, name)]
    assert len(found) == 200
    assert all(text.isalpha() for text in found)


def test_a_real_merged_set_is_its_parts(shared: Path, tmp_path: Path) -> None:
    folder = shared / "mds/streaming_tests/tests/resources/naive_MDSdataset"
    for column in ("dept", "id"):
        parts = [texts_of(folder / part, column) if part != "27" else [] for part in ("25", "26", "27")]
        assert texts_of(folder, column) == parts[1] + parts[0]  # as its index lists them
    copied(folder, tmp_path / "parts")
    (tmp_path / "parts/index.json").unlink()
    assert texts_of(tmp_path / "parts", "id") == [text for part in parts for text in part]
    copied(shared / "mds/pile_layout_zstd", tmp_path / "ids")
    merged = MdsStore(tmp_path / "ids")
    (tmp_path / "ids/index.json").unlink()
    parted = MdsStore(tmp_path / "ids")
    assert parted.identity == merged.identity
    assert np.array_equal(parted.read(0, 604).tokens, merged.read(0, 604).tokens)


def random_array(chance: random.Random, name: str, shape: tuple[int, ...]) -> np.ndarray:
    n_bytes = int(np.prod(shape)) * np.dtype(name).itemsize
    array = np.frombuffer(chance.randbytes(n_bytes), name).reshape(shape)
    # NaNs have many bit patterns and equal nothing.
    return np.nan_to_num(array, nan=1.5) if array.dtype.kind == "f" else array


def random_columns(chance: random.Random) -> tuple[dict[str, str], dict[str, Callable[[], bytes]]]:
    """All encodings, and for each a maker of encoded values."""

    def shape() -> tuple[int, ...]:
        longest = chance.choice([1, 3, 300])
        return tuple(chance.randint(1, longest) for _ in range(1 if longest == 300 else chance.randint(1, 4)))

    def text() -> bytes:
        return "".join(chance.choice("ab é日\U0001f600\n") for _ in range(chance.choice([0, 1, 20]))).encode()

    def array(names: list[str], says_type: bool) -> bytes:
        return array_bytes(random_array(chance, chance.choice(names), shape()), says_type, True)

    makers: dict[str, Callable[[], bytes]] = {
        "bytes": lambda: chance.randbytes(chance.choice([0, 1, 50])),
        "str": text,
        "json": lambda: json.dumps({"a": [chance.random(), None, "é"]}).encode(),
        "str_int": lambda: str(chance.randint(-(10**30), 10**30)).encode(),
        "str_float": lambda: str(chance.random()).encode(),
        "str_decimal": lambda: f"{chance.randint(0, 99)}.{chance.randint(0, 10**25)}".encode(),
        "int": lambda: random_array(chance, "int64", ()).tobytes(),
        "ndarray": lambda: array(list(TYPES), True),
        "ndarray:int32": lambda: array_bytes(random_array(chance, "int32", shape()) & 0x7FFF_FFFF, False, True),
        "ndarray:float16:2,3": lambda: random_array(chance, "float16", (2, 3)).tobytes(),
        "ndarray:uint32:7": lambda: random_array(chance, "uint32", (7,)).tobytes(),
    }
    makers |= {name: lambda name=name: random_array(chance, name, ()).tobytes() for name in TYPES}  # type: ignore[misc]
    for opaque in ("pkl", "jpeg", "png", "pil", "list[png]", "somebody's own"):
        makers[opaque] = makers["bytes"]
    columns = {f"{chance.randrange(1_000):03d} {encoding}": encoding for encoding in makers}  # in a random order
    return columns, {name: makers[encoding] for name, encoding in columns.items()}


@pytest.mark.parametrize("compression", [None, "zstd:16", "gz", "br:3", "snappy", "bz2"])
def test_random_sets_of_every_encoding(tmp_path: Path, compression: str | None) -> None:
    for seed in range(3):
        chance = random.Random(f"{compression} {seed}")
        columns, makers = random_columns(chance)
        samples = [{name: make() for name, make in makers.items()} for _ in range(chance.choice([1, 25]))]
        raw = write_set(tmp_path / f"raw{seed}", columns, samples, hashes=("sha1", "xxh64"))
        folder = raw
        if compression:
            folder = write_set(
                tmp_path / str(seed), columns, samples, compression=compression, hashes=("sha1", "xxh64")
            )
        assert problems_of_mds(folder) == []
        expected: list[dict[str, Any]] = []
        for shard in read_shards(raw):
            listed = [(column.name, column.encoding, column.size) for column in shard.columns]
            expected += naive_values(raw.joinpath(shard.stored.path.name).read_bytes(), listed)
        assert len(expected) == len(samples)
        for name, encoding in columns.items():
            of_column = [sample[name] for sample in expected]
            if encoding in TEXTS:
                assert texts_of(folder, name) == of_column
            elif encoding in ("ndarray:int32", "ndarray:uint32:7"):
                store = MdsStore(folder, column=name)
                read = store.read(0, store.n_sequences)
                rows = np.split(read.tokens, read.ends[:-1])
                assert [row.tolist() for row in rows] == [values for _, _, values in of_column]


def test_texts_of_a_real_set(shared: Path) -> None:
    folder = shared / "mds/mosaic_mix/data"
    shards = list(read_mds_texts(folder, "dummy_text"))
    assert [shard.shard.name for shard in shards] == [f"shard.{i:05d}.mds.zstd" for i in range(64)]
    assert {shard.texts.type for shard in shards} == {pa.large_string()}
    assert texts_of(folder, "dummy_text") == [f"Dummy text {i}" for i in range(1, 10_000)]


def test_texts_in_bytes(tmp_path: Path) -> None:
    texts = ["é", "", "日本" * 50]
    samples = [{"a": text.encode(), "b": text.encode(), "c": bytes(8)} for text in texts]
    folder = write_set(tmp_path / "set", {"a": "bytes", "b": "str", "c": "int"}, samples, per_shard=2)
    for column in "ab":
        assert [shard.texts.to_pylist() for shard in read_mds_texts(folder, column)] == [texts[:2], texts[2:]]
    with pytest.raises(InputError, match=r"shard.00000.mds: its column 'c' is of int, which is no text"):
        list(read_mds_texts(folder, "c"))
    with pytest.raises(InputError, match=r"has no column 'd': its columns are a, b, c"):
        list(read_mds_texts(folder, "d"))
    bad = write_set(tmp_path / "bad", {"a": "str"}, [{"a": b"ok"}, {"a": b"\xe9"}])
    with pytest.raises(InputError, match=r"shard.00000.mds: sample 1: its column 'a' is not UTF-8"):
        list(read_mds_texts(bad, "a"))
