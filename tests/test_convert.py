"""Stores in other formats: exact, whatever the way, the number of workers and the moment of a kill."""

import bz2
import gzip
import hashlib
import json
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from upath import UPath

import taskcatalog as tc
from faults.kills import command, kill_ever_later, kill_until_done, run
from helpers import answer, library_texts, refusal, tree, write_jsonl
from taskcatalog.errors import ConflictError, InputError, SettingsError
from taskcatalog.storage import AnyPath
from taskcatalog.stores.store import Store

Rows = list[list[int]]
MDS = tc.ConvertSettings(format="mds")
FLAT = tc.ConvertSettings(format="flat")


def sequences_of(store: Store) -> Rows:
    read = store.read(0, store.n_sequences)
    return [row.tolist() for row in np.split(read.tokens, read.ends[:-1])] if len(read.ends) else []


def cut(ids: list[int], length: int) -> Rows:
    return [ids[i : i + length] for i in range(0, len(ids), length)]


def tokenizer_of(folder: Path, n_ids: int) -> str:
    """A tokenizer with so many ids, of which 0 ends a text."""
    path = folder / f"{n_ids}.json"
    if not path.exists():
        Tokenizer(WordLevel({"<|endoftext|>": 0, "x": n_ids - 1}, "x")).save(str(path))
    return str(path)


def flat_file(path: Path, ids: list[int], n_ids: int) -> Path:
    np.array(ids, "<u2" if n_ids <= 65_536 else "<u4").tofile(path)
    return path


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[int], int, int]:
    """Ids, the size of their vocabulary, and a sequence length."""
    n_ids = draw(st.sampled_from([2, 100, 65_536, 65_537, 70_000]))
    length = draw(st.integers(1, 9))
    n_tokens = draw(st.one_of(st.sampled_from([0, 1, length, 3 * length]), st.integers(0, 60)))
    id_ = st.one_of(st.integers(0, n_ids - 1), st.sampled_from([0, n_ids - 1]))
    return draw(st.lists(id_, min_size=n_tokens, max_size=n_tokens)), n_ids, length


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    corpus=corpora(),
    way=st.lists(st.sampled_from(["mds", "flat"]), min_size=1, max_size=3),
    size_limit=st.sampled_from([1, 300, 400, None]),
    compression=st.sampled_from(["none", "zstd", "gz:1", "snappy"]),
)
def test_any_way_is_exact(
    tmp_path_factory: pytest.TempPathFactory,
    corpus: tuple[list[int], int, int],
    way: list[str],
    size_limit: int | None,
    compression: str,
) -> None:
    """Through one format after the other, the sequences stay what they were; MDS drops a partial one."""
    ids, n_ids, length = corpus
    folder = tmp_path_factory.mktemp("way")
    dtype: Any = "uint16" if n_ids <= 65_536 else "uint32"
    expected = cut(ids, length)
    kind, path = "flat", flat_file(folder / "0.bin", ids, n_ids)
    for step, to in enumerate(way, 1):
        options = open_options(kind, dtype, tokenizer_of(folder, n_ids), length)
        partial = expected[-1] if kind != "mds" and to == "mds" and expected and len(expected[-1]) < length else []
        expected = expected[:-1] if partial else expected
        mds = {"size_limit": size_limit, "compression": compression} if to == "mds" else {}
        out = folder / f"{step}{'.bin' if to == 'flat' else ''}"
        made = tc.convert(path, out, tc.ConvertSettings(format=to, **mds), options=options)  # type: ignore[arg-type]
        n_tokens = sum(map(len, expected))
        assert (made.tokens, made.sequences, made.dropped_tokens) == (n_tokens, len(expected), len(partial))
        assert sequences_of(made.store) == expected
        kind, path = to, out
        again = tc.open_store(path, open_options(kind, dtype, tokenizer_of(folder, n_ids), length))
        assert sequences_of(again) == expected
        assert again.identity.vocabulary_size == n_ids


def open_options(kind: str, dtype: Any, tokenizer: str, length: int) -> tc.StoreOptions:
    """What a store of this kind must be told."""
    return tc.StoreOptions(tokenizer=tokenizer, id_dtype=dtype, sequence_length=length if kind == "flat" else None)


@pytest.fixture(scope="module")
def store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real text in enough tokens for several pieces."""
    folder = tmp_path_factory.mktemp("store")
    settings = tc.TokenizeSettings(sequence_length=256)
    tc.tokenize(write_jsonl(folder / "a.jsonl", library_texts(200)), folder / "store", str(demo_data), settings)
    return folder / "store"


def converted(store: Path, out: AnyPath, settings: tc.ConvertSettings, **options: Any) -> tc.ConvertResult:
    if settings.format == "mds":
        settings = tc.ConvertSettings(format="mds", size_limit=settings.size_limit or 1 << 18)
    return tc.convert(store, out, settings, **options)


@pytest.mark.parametrize("to", [MDS, FLAT])
def test_same_bytes_whatever_the_workers(store: Path, tmp_path: Path, to: tc.ConvertSettings) -> None:
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        converted(store, tmp_path / str(workers) / "out", to, workers=workers)
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert len(tree(tmp_path / "1")) > {"mds": 10, "flat": 1}[to.format]


def shards_by_hand(folder: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Entries of the root index, and each shard as it is once decompressed, with Python's own libraries."""
    digests: dict[str, Callable[[bytes], Any]] = {"sha1": hashlib.sha1, "xxh64": xxhash.xxh64}
    unpack: dict[str | None, Callable[[bytes], bytes]] = {None: bytes, "gz": gzip.decompress, "bz2": bz2.decompress}
    for entry in json.loads((folder / "index.json").read_text())["shards"]:
        stored = entry["zip_data"] or entry["raw_data"]
        content = (folder / stored["basename"]).read_bytes()
        raw = unpack[entry["compression"] and entry["compression"].partition(":")[0]](content)
        for data, described in ((content, stored), (raw, entry["raw_data"])):
            assert described["bytes"] == len(data)
            for name, digest in described["hashes"].items():
                assert digest == digests[name](data).hexdigest()
        yield entry, raw


@pytest.mark.parametrize(("compression", "hashes"), [("none", "xxh64"), ("gz", "sha1"), ("bz2:1", "none")])
def test_mds_decoded_by_hand(store: Path, tmp_path: Path, compression: str, hashes: Any) -> None:
    limit = 100_000
    settings = tc.ConvertSettings(format="mds", size_limit=limit, compression=compression, hashes=hashes)
    made = tc.convert(store, tmp_path / "out", settings)
    samples: Rows = []
    raw_sizes = []
    for entry, raw in shards_by_hand(tmp_path / "out"):
        n = entry["samples"]
        assert struct.unpack_from("<I", raw) == (n,)
        offsets = struct.unpack_from(f"<{n + 1}I", raw, 4)
        header = json.loads(raw[4 * (n + 2) : offsets[0]])
        assert header == {key: entry[key] for key in header}
        assert list(entry["raw_data"]["hashes"]) == ([] if hashes == "none" else [hashes])
        for start, end in pairwise(offsets):
            assert struct.unpack_from("<I", raw, start) == (end - start - 4,)
            samples.append(np.frombuffer(raw[start + 4 : end], "<u2").tolist())
        assert offsets[-1] == len(raw) <= limit
        raw_sizes.append(len(raw))
    whole = sequences_of(tc.open_store(store))
    assert len(whole[-1]) == made.dropped_tokens > 0
    assert samples == whole[:-1]
    assert all(size > limit - 600 for size in raw_sizes[:-1]), "each shard is as full as whole samples make it"
    folders = sorted(path for path in (tmp_path / "out").iterdir() if path.is_dir())
    below = [len(json.loads((path / "index.json").read_text())["shards"]) for path in folders]
    assert sum(below) == len(raw_sizes)
    assert [path.name for path in folders] == [f"{i:05d}" for i in range(len(folders))]


def test_defaults_are_those_of_mosaicml(store: Path, tmp_path: Path) -> None:
    """Its own writer cuts shards at 64 MiB, and takes level 3 of zstd where none is named."""
    tc.convert(store, tmp_path / "out", MDS)
    [entry] = json.loads((tmp_path / "out/index.json").read_text())["shards"]
    assert entry["size_limit"] == 2**26
    assert entry["compression"] == "zstd"
    assert list(entry["zip_data"]["hashes"]) == ["xxh64"]
    raw = (tmp_path / "out" / entry["zip_data"]["basename"]).read_bytes()
    plain = pa.Codec("zstd").decompress(raw, entry["raw_data"]["bytes"])
    assert pa.Codec("zstd", 3).compress(plain).to_pybytes() == raw


def test_ngrams_of_mds_and_flat_are_the_same(store: Path, demo_data: Path, tmp_path: Path) -> None:
    converted(store, tmp_path / "mds", MDS)
    np.concatenate([np.array(row, "<u2") for row in sequences_of(tc.open_store(store))[:-1]]).tofile(
        tmp_path / "whole.bin"
    )
    for name, length in (("mds", None), ("whole.bin", 256)):
        options = tc.StoreOptions(tokenizer=str(demo_data), sequence_length=length)
        tc.ngrams(tmp_path / name, tmp_path / f"of {name}", options=options)
    tables = [tree(tmp_path / f"of {name}/ngrams") for name in ("mds", "whole.bin")]
    ledgers = [table.pop("ledger.json") for table in tables]
    assert tables[0] == tables[1]
    assert ledgers[0] != ledgers[1], "they name their stores"


@pytest.fixture(scope="module")
def long_store(tmp_path_factory: pytest.TempPathFactory) -> list[object]:
    """A flat file in thirty pieces, as a command names it."""
    folder = tmp_path_factory.mktemp("long")
    ids = np.random.default_rng(1).zipf(1.3, 8_000_000) % 5_000
    ids.astype("<u2").tofile(folder / "a.bin")
    return [folder / "a.bin", "--tokenizer", tokenizer_of(folder, 5_000), "--sequence-length", 1_000]


@pytest.mark.parametrize("to", ["mds", "flat"])
def test_kills(long_store: list[object], tmp_path: Path, to: str) -> None:
    """After some parts, and at any moment."""
    never, killed, sooner = tmp_path / "never", tmp_path / "killed", tmp_path / "sooner"
    arguments = ["convert", *long_store, "--format", to, "--workers", 2]
    arguments += ["--size-limit", "1MB"] if to == "mds" else []
    for folder in (never, killed, sooner):
        folder.mkdir()
    start = time.monotonic()
    run(command(*arguments, "--out", never / "out"))
    duration = time.monotonic() - start
    ledger = killed / ("out.ledger" if to == "flat" else "out")
    assert kill_until_done(command(*arguments, "--out", killed / "out"), ledger, 10) >= 1
    assert tree(killed) == tree(never)
    assert kill_ever_later(command(*arguments, "--out", sooner / "out"), duration / 6) >= 1
    assert tree(sooner) == tree(never)


def other_settings(to: tc.ConvertSettings) -> dict[str, Any]:
    """Another run with the same output."""
    if to.format == "mds":
        return {"settings": tc.ConvertSettings(format="mds", size_limit=1 << 17)}
    return {"settings": to, "options": tc.StoreOptions(sequence_length=100)}


@pytest.mark.parametrize("to", [MDS, FLAT])
def test_complete_again_and_different(store: Path, tmp_path: Path, to: tc.ConvertSettings) -> None:
    made = converted(store, tmp_path / "out", to)
    before = tree(tmp_path)
    assert converted(store, tmp_path / "out", to) == made
    assert tree(tmp_path) == before
    with pytest.raises(ConflictError, match="--force"):
        converted(store, tmp_path / "out", **other_settings(to))
    assert tree(tmp_path) == before
    anew = converted(store, tmp_path / "out", **other_settings(to), force=True)
    assert anew.tokens + anew.dropped_tokens == made.tokens + made.dropped_tokens
    assert tree(tmp_path) != before
    converted(store, tmp_path / "out", to, force=True)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("to", [MDS, FLAT])
def test_files_of_others_are_never_touched(store: Path, tmp_path: Path, to: tc.ConvertSettings) -> None:
    out = tmp_path / "out"
    if to.format == "flat":
        out.write_text("precious")
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("precious")
    before = tree(tmp_path)
    for force in (False, True):
        with pytest.raises(ConflictError, match="did not write"):
            converted(store, out, to, force=force)
    assert tree(tmp_path) == before


def test_a_flat_file_that_went_away(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    converted(store, out, FLAT)
    content = out.read_bytes()
    for change in (content[:-2], None):
        out.unlink()
        if change is not None:
            out.write_bytes(change)
        with pytest.raises(ConflictError, match=r"out.bin: is not what .*--force"):
            converted(store, out, FLAT)
        converted(store, out, FLAT, force=True)
        assert out.read_bytes() == content


def test_sequences_of_unequal_length(tmp_path: Path) -> None:
    """MDS can hold them, and hands them on; a flat file cannot say where they end."""
    for i, length in enumerate((5, 8, 8)):
        flat_file(tmp_path / "a.bin", list(range(20)), 100)
        options = tc.StoreOptions(sequence_length=length)
        tc.convert(tmp_path / "a.bin", tmp_path / f"{i}", MDS, options=options)
    joined = tmp_path / "joined"
    shutil.copytree(tmp_path / "0", joined / "0")
    shutil.copytree(tmp_path / "1", joined / "1")
    entries = []
    for name in "01":
        (joined / name / "ledger.json").unlink()
        for entry in json.loads((joined / name / "index.json").read_text())["shards"]:
            for key in ("raw_data", "zip_data"):
                entry[key]["basename"] = f"{name}/{entry[key]['basename']}"
            entries.append(entry)
    (joined / "index.json").write_text(json.dumps({"shards": entries, "version": 2}))
    expected = [*cut(list(range(20)), 5), *cut(list(range(16)), 8)]
    assert sequences_of(tc.open_store(joined)) == expected
    tc.convert(joined, tmp_path / "mds", MDS)
    assert sequences_of(tc.open_store(tmp_path / "mds")) == expected
    message = r"joined: sequence 4 has 8 tokens where the first has 5, .*use --format mds"
    with pytest.raises(InputError, match=message):
        tc.convert(joined, tmp_path / "out", FLAT)
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.ledger").exists()


def test_what_cannot_be_converted(tmp_path: Path, demo_data: Path) -> None:
    source = flat_file(tmp_path / "a.bin", [1, 2, 9_000, 3], 10_000)
    out = tmp_path / "out"
    for to in ("mds", "flat"):
        line = refusal(
            "convert", source, "--out", out, "--format", to, "--tokenizer", demo_data, "--sequence-length", 2
        )
        assert "a.bin: sequence 1, token 0: id 9000 is beyond the vocabulary of 8192 ids" in line
    for message, *arguments in (
        ("does not exist", tmp_path / "none", "--format", "flat"),
        ("compression is 'lz4'", source, "--format", "mds", "--compression", "lz4"),
        ("the level of zstd must be from 1 to 22", source, "--format", "mds", "--compression", "zstd:23"),
        ("the level of snappy must be left out", source, "--format", "mds", "--compression", "snappy:1"),
        ("it must be a whole number from 1 to 4,294,967,295", source, "--format", "mds", "--size-limit", "4GiB"),
        ("--compression is for --format mds", source, "--format", "flat", "--compression", "zstd"),
        ("--hashes is for --format mds", source, "--format", "flat", "--hashes", "sha1"),
    ):
        assert message in refusal("convert", "--out", out, *arguments)
    assert "give a local path" in refusal("convert", source, "--out", "memory://a/b.bin", "--format", "flat")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    wrongs: list[dict[str, Any]] = [
        {"format": "mds", "hashes": "md5"},
        {"format": "csv"},
        {"format": "mds", "size_limit": 0},
    ]
    for wrong in wrongs:
        with pytest.raises(SettingsError, match=str(list(wrong.values())[-1])):
            tc.ConvertSettings(**wrong)


def test_the_command_says_what_it_dropped(tmp_path: Path) -> None:
    source = flat_file(tmp_path / "a.bin", list(range(7)), 10)
    given = ["convert", source, "--sequence-length", 3, "--out"]
    said = answer(*given, tmp_path / "mds", "--format", "mds")
    assert said.endswith("complete, 6 tokens in 2 sequences; the last, partial sequence of 1 tokens is left out\n")
    assert answer(*given, tmp_path / "f.bin", "--format", "flat").endswith("complete, 7 tokens in 3 sequences\n")


@pytest.fixture
def bucket() -> Iterator[UPath]:
    """A folder behind a URL, in this process's memory."""
    yield UPath("memory://bucket/folder")
    fsspec.filesystem("memory").rm("/bucket", recursive=True)


def remote_tree(folder: UPath) -> dict[str, str]:
    """As ``tree``, of a folder behind a URL."""
    found = {str(path): folder.fs.cat_file(path) for path in folder.fs.find(folder.path)}
    return {name.removeprefix(f"{folder.path}/"): hashlib.sha256(raw).hexdigest() for name, raw in found.items()}


def test_behind_a_url_are_the_files_that_would_be_here(store: Path, tmp_path: Path, bucket: UPath) -> None:
    made = converted(store, tmp_path / "here", MDS)
    staged: dict[str, Any] = {"staging": tmp_path / "staging"}
    assert replace(converted(store, bucket, MDS, **staged), path=made.path) == made
    assert remote_tree(bucket) == tree(tmp_path / "here")
    assert sequences_of(tc.open_store(bucket)) == sequences_of(tc.open_store(tmp_path / "here"))
    before = remote_tree(bucket)
    assert replace(converted(store, bucket, MDS, **staged), path=made.path) == made
    with pytest.raises(ConflictError, match="was made differently"):
        converted(store, bucket, **staged, **other_settings(MDS))
    with pytest.raises(ConflictError, match=r"memory://bucket/folder: was written by another run .*--force"):
        converted(store, bucket, MDS, staging=tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()
    assert remote_tree(bucket) == before
    converted(store, bucket, MDS, staging=tmp_path / "elsewhere", force=True)
    assert remote_tree(bucket) == before
    converted(store, bucket, **other_settings(MDS), **staged, force=True)
    converted(store, tmp_path / "other", **other_settings(MDS))
    assert remote_tree(bucket) == tree(tmp_path / "other"), "nothing is left of the first"


def test_what_was_lost_behind_a_url(store: Path, tmp_path: Path, bucket: UPath) -> None:
    converted(store, bucket, MDS, staging=tmp_path)
    before = remote_tree(bucket)
    for lost in ("index.json", "ledger.json"):
        bucket.fs.rm_file((bucket / "ledger.json").path)
        if lost == "index.json":
            bucket.fs.rm_file((bucket / "index.json").path)
        converted(store, bucket, MDS, staging=tmp_path)
        assert remote_tree(bucket) == before, "uploaded again, as it is still here"
    bucket.fs.rm_file((bucket / "ledger.json").path)
    bucket.fs.rm_file((bucket / "00001/shard.00000.mds.zstd").path)
    with pytest.raises(ConflictError, match=r"00001/shard.00000.mds.zstd is missing .*--force"):
        converted(store, bucket, MDS, staging=tmp_path)
    assert not bucket.fs.exists((bucket / "ledger.json").path)
    converted(store, bucket, MDS, staging=tmp_path, force=True)
    assert remote_tree(bucket) == before
    bucket.fs.rm_file((bucket / "ledger.json").path)
    converted(store, bucket, **other_settings(MDS), staging=tmp_path, force=True)
    converted(store, tmp_path / "other", **other_settings(MDS))
    assert remote_tree(bucket) == tree(tmp_path / "other")


def test_an_mds_set_of_others_behind_a_url(store: Path, tmp_path: Path, bucket: UPath) -> None:
    bucket.fs.pipe_file((bucket / "index.json").path, b"precious")
    for force in (False, True):
        with pytest.raises(ConflictError, match="that taskcatalog did not write: choose another place"):
            converted(store, bucket, MDS, staging=tmp_path / "staging", force=force)
    assert bucket.fs.cat_file((bucket / "index.json").path) == b"precious"
    assert list(tmp_path.iterdir()) == []


def test_staging_in_the_cache(store: Path, tmp_path: Path, bucket: UPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    converted(store, bucket, MDS)
    [staged] = (tmp_path / "taskcatalog/staging").iterdir()
    assert "ledger.json" in tree(staged)
    assert all(name.endswith(".json") for name in tree(staged)), "shards are uploaded, and gone here"
    converted(store, UPath("memory://bucket/other"), MDS)
    assert len(list((tmp_path / "taskcatalog/staging").iterdir())) == 2
