"""Stores of ids in files, flat or of datatrove, here and behind URLs, and what opening one refuses."""

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from upath import UPath

import taskcatalog as tc
from helpers import library_texts, tree, write_jsonl
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part
from taskcatalog.storage import AnyPath, upload
from taskcatalog.stores import id_file
from taskcatalog.stores.formats import FORMATS
from taskcatalog.stores.id_file import IdFiles, NumberFile
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Store, check_ids
from taskcatalog.stores.token_store import STAGE
from test_megatron import random_dataset

ID_TYPES = ["uint16", "int32", "uint32", "int64", "uint64"]


def all_of(store: Store) -> list[int]:
    tokens: list[int] = store.read(0, store.n_sequences).tokens.tolist()
    return tokens


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[UPath]:
    """A folder behind a URL. Its blocks are small, so that ranges and numbers cross their ends."""
    folder = UPath(f"memory://{tmp_path.name}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_file, "_BLOCK_BYTES", 1_000)
        yield folder
    if folder.fs.exists(folder.path):
        folder.fs.rm(folder.path, recursive=True)


def upload_all(folder: Path, remote: UPath) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            upload(path, remote / path.relative_to(folder).as_posix())


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_flat_files_of_every_type(tmp_path: Path, id_type: Any) -> None:
    top = 2**16 if id_type == "uint16" else 2**31 if id_type == "int32" else 2**32
    ids = np.random.default_rng(1).integers(0, top, 10_000)
    ids[7_000] = top - 1
    ids.astype(f"<{np.dtype(id_type).str[1:]}").tofile(tmp_path / "a.bin")
    store = tc.open_store(tmp_path / "a.bin", tc.StoreOptions(id_dtype=id_type, sequence_length=300))
    assert (store.n_tokens, store.n_sequences, store.identity.vocabulary_size) == (10_000, 34, top)
    for first, last in ((0, 34), (0, 1), (5, 9), (33, 34), (30, 99), (12, 12), (50, 60)):
        read = store.read(first, last)
        assert read.tokens.tolist() == ids[first * 300 : last * 300].tolist()
        assert read.tokens.dtype == (np.uint16 if id_type == "uint16" else np.uint32)
        check_ids(store, read, first)
    in_place = id_type in ("uint16", "uint32", "int32")
    assert store.read(0, 34).tokens.flags.owndata != in_place


@pytest.mark.parametrize(("id_type", "bad"), [("int32", -1), ("int64", -7), ("int64", 2**32), ("uint64", 2**63 + 5)])
def test_ids_that_are_none(tmp_path: Path, demo_data: Path, id_type: Any, bad: int) -> None:
    """Found with a tokenizer and without, where the largest id says how many there are."""
    ids = np.arange(20).astype(id_type)
    ids[13] = bad
    ids.tofile(tmp_path / "a.bin")
    message = rf"a.bin: id number 13 is {bad}, which is negative or beyond 32 bits: .*--id-dtype"
    for tokenizer in (None, str(demo_data)):
        store = tc.open_store(tmp_path / "a.bin", tc.StoreOptions(id_dtype=id_type, tokenizer=tokenizer))
        with pytest.raises(InputError, match=message):
            store.read(0, 1)
    with pytest.raises(InputError, match=message):
        _ = tc.open_store(tmp_path / "a.bin", tc.StoreOptions(id_dtype=id_type)).identity


def write_datatrove(
    path: Path, documents: list[list[int]], id_bytes: int, metadata: bool = True, index: bool = True
) -> None:
    """As datatrove writes it, with the mask that it may add."""
    ids = np.array([id_ for document in documents for id_ in document], f"<u{id_bytes}")
    ids.tofile(path)
    if metadata:
        path.with_name(f"{path.name}.metadata").write_text(f"gpt2|{id_bytes}\n{len(ids)}\n{len(ids) / 1000:.3g} KT")
    if index:
        np.cumsum([len(document) for document in documents], dtype="<u8").tofile(f"{path}.index")
    np.ones(len(ids), np.bool_).tofile(f"{path}.loss")


def random_documents(seed: int, n: int, top: int) -> list[list[int]]:
    generator = np.random.default_rng(seed)
    return [generator.integers(0, top, length).tolist() for length in generator.integers(0, 40, n)]


@pytest.mark.parametrize("id_bytes", [2, 4])
@pytest.mark.parametrize(("metadata", "index"), [(True, True), (False, True), (True, False)])
def test_datatrove(tmp_path: Path, id_bytes: int, metadata: bool, index: bool) -> None:
    files = {f"{i:05d}_tokens.ds": random_documents(i, 30, 60_000) for i in (2, 0, 1)}
    for name, documents in files.items():
        write_datatrove(tmp_path / name, documents, id_bytes, metadata, index)
    every = [document for _, documents in sorted(files.items()) for document in documents]
    for path, documents in ((tmp_path, every), (tmp_path / "00002_tokens.ds", files["00002_tokens.ds"])):
        stream = [id_ for document in documents for id_ in document]
        store = tc.open_store(path, tc.StoreOptions(sequence_length=50))
        assert (store.n_tokens, all_of(store)) == (len(stream), stream)
        bounds = [0, *np.cumsum([len(document) for document in documents]).tolist()]
        for first, last in ((0, store.n_sequences), (3, 8), (store.n_sequences - 1, store.n_sequences)):
            read = store.read(first, last)
            assert read.tokens.tolist() == stream[first * 50 : last * 50]
            starts = [start - first * 50 for start in bounds[:-1] if first * 50 <= start < min(last * 50, len(stream))]
            assert (None if read.document_starts is None else read.document_starts.tolist()) == (
                starts if index else None
            )


def test_datatrove_that_is_not_described(tmp_path: Path, demo_data: Path) -> None:
    documents = random_documents(5, 20, 8_192)
    stream = [id_ for document in documents for id_ in document]
    write_datatrove(tmp_path / "a.ds", documents, 4, metadata=False, index=False)
    options = tc.StoreOptions(id_dtype="uint32", tokenizer=str(demo_data))
    store = tc.open_store(tmp_path / "a.ds", options)
    assert all_of(store) == stream
    starts = store.read(0, store.n_sequences).document_starts
    assert starts is not None
    assert starts.tolist() == [i + 1 for i, id_ in enumerate(stream) if id_ == store.identity.end_of_text]
    write_datatrove(tmp_path / "b.ds", documents, 2)
    with pytest.raises(SettingsError, match=r"b.ds: its type of ids is known: leave out --id-dtype"):
        tc.open_store(tmp_path, options)
    (tmp_path / "b.ds.loss").rename(tmp_path / "a.ds.index")
    with pytest.raises(InputError, match=r"a.ds.index: has \d+ bytes, no whole number of 8-byte ends|a.ds: has"):
        tc.open_store(tmp_path)
    write_datatrove(tmp_path / "a.ds", documents, 4)
    with pytest.raises(InputError, match=r"holds files of different types of ids \(uint16, uint32\)"):
        tc.open_store(tmp_path)


def test_empty_datatrove_files(tmp_path: Path) -> None:
    """Of a worker that had no documents."""
    write_datatrove(tmp_path / "0.ds", [], 2)
    assert all_of(tc.open_store(tmp_path)) == []
    write_datatrove(tmp_path / "1.ds", [[1, 2], [3]], 2)
    write_datatrove(tmp_path / "2.ds", [[], []], 2)
    store = tc.open_store(tmp_path)
    starts = store.read(0, 1).document_starts
    assert starts is not None
    assert (all_of(store), starts.tolist()) == ([1, 2, 3], [0, 2])


def test_damaged_datatrove(tmp_path: Path) -> None:
    """300 cuts and flipped bits in the ids, the index and the metadata, each also without the metadata."""
    documents = random_documents(3, 20, 60_000)
    write_datatrove(tmp_path / "a.ds", documents, 2)
    whole = {path: path.read_bytes() for path in tmp_path.iterdir() if path.suffix != ".loss"}
    generator = np.random.default_rng(4)
    refused = 0
    tracemalloc.start()
    for case in range(300):
        path = list(whole)[case % 3]
        raw = bytearray(whole[path])
        place = int(generator.integers(0, len(raw)))
        raw[place] ^= 1 << int(generator.integers(0, 8))
        path.write_bytes(raw if case % 2 else raw[:place])
        if case % 4 > 1:
            (tmp_path / "a.ds.metadata").unlink()
        refused += not reads_within_bounds(tmp_path / "a.ds")
        for other, content in whole.items():
            other.write_bytes(content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 150
    assert peak < 20_000_000


def reads_within_bounds(path: Path) -> bool:
    try:
        store = tc.open_store(path)
        read = store.read(0, store.n_sequences)
    except InputError as error:
        assert str(path) in str(error)  # noqa: PT017
        return False
    assert len(read.tokens) == store.n_tokens
    assert read.document_starts is None or all(0 <= start < store.n_tokens for start in read.document_starts)
    return True


def test_options_that_do_not_fit(tmp_path: Path, demo_data: Path) -> None:
    (tmp_path / "a.txt").write_text("import os\n" * 100)
    tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data))
    np.arange(10, dtype=np.uint16).tofile(tmp_path / "a.bin")
    write_datatrove(tmp_path / "a.ds", [[1]], 2)
    mds = tmp_path / "mds"
    tc.convert(tmp_path / "a.bin", mds, tc.ConvertSettings(format="mds"), options=tc.StoreOptions(sequence_length=5))
    refused: list[tuple[Path, dict[str, Any], str]] = [
        (
            tmp_path / "store",
            {"id_dtype": "uint16"},
            "store: a token store has its own type of ids: leave out --id-dtype",
        ),
        (
            tmp_path / "store",
            {"tokenizer": str(demo_data)},
            "store: a token store has its own tokenizer: leave out --tokenizer",
        ),
        (tmp_path / "store", {"column": "tokens"}, "store: a token store has no columns: leave out --column"),
        (tmp_path / "a.bin", {"column": "tokens"}, "a.bin: a flat file has no columns: leave out --column"),
        (tmp_path / "a.ds", {"column": "tokens"}, "a.ds: a datatrove file has no columns: leave out --column"),
        (tmp_path / "a.ds", {"id_dtype": "uint16"}, "a.ds: its type of ids is known: leave out --id-dtype"),
        (mds, {"sequence_length": 100}, "each MDS sample is one sequence: leave out --sequence-length"),
    ]
    for path, options, message in refused:
        with pytest.raises(SettingsError, match=message):
            tc.open_store(path, tc.StoreOptions(**options))


def test_names_of_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a name with dots, from the folder itself, and names of nothing."""
    assert random_dataset(tmp_path / "set", 9)
    for suffix in (".bin", ".idx"):
        (tmp_path / f"set{suffix}").rename(tmp_path / f"gpt.v1.2{suffix}")
    store = tc.open_store(tmp_path / "gpt.v1.2.idx")
    assert tc.open_store(tmp_path / "gpt.v1.2").identity == store.identity
    monkeypatch.chdir(tmp_path)
    assert tc.open_store("gpt.v1.2.bin").identity == store.identity
    with pytest.raises(InputError, match=r"^\.: is neither a token store, .* a Megatron dataset, .* nor a flat file"):
        tc.open_store(".")
    write_datatrove(tmp_path / "a.ds", [[1, 2]], 2)
    assert all_of(tc.open_store(".")) == [1, 2]
    for name in ("a.idx", "a.bin", "a", "a.ds.index"):
        with pytest.raises(InputError, match=f"^{name}: (does not exist|is neither a token store)"):
            tc.open_store(name)
    with pytest.raises(InputError, match=r"nothing here reads nowhere://|nowhere"):
        tc.open_store("nowhere://a.bin")
    with pytest.raises(
        SettingsError, match=r"id dtype is 'float32': it must be uint16, int32, uint32, int64 or uint64"
    ):
        tc.StoreOptions(id_dtype=cast(Any, "float32"))


def test_remote_numbers(tmp_path: Path, remote: UPath) -> None:
    """Any range, also of numbers that lie across blocks."""
    numbers = np.random.default_rng(1).integers(0, 2**40, 5_000).astype("<i8")
    (tmp_path / "a").write_bytes(b"head" + numbers.tobytes())
    upload(tmp_path / "a", remote / "a")
    generator = np.random.default_rng(2)
    for path in (tmp_path / "a", cast(AnyPath, remote / "a")):
        file = NumberFile(path, "<i8", 4, 4_900)
        for first, last in [(0, 4_900), (0, 0), *np.sort(generator.integers(0, 4_901, (50, 2))).tolist()]:
            assert file.read(first, last).tolist() == numbers[first:last].tolist()
        with pytest.raises(InputError, match=r"a: has 40004 bytes, not 40012: the file is cut off"):
            NumberFile(path, "<i8", 4, 5_001)


def test_what_was_fetched_is_kept(tmp_path: Path, remote: UPath) -> None:
    """The last four blocks; older ones are fetched again."""
    np.arange(5_000, dtype="<u2").tofile(tmp_path / "a.bin")
    upload(tmp_path / "a.bin", remote / "a.bin")
    ids = IdFiles([cast(AnyPath, remote / "a.bin")], "uint16")
    assert ids.read(0, 2_500).tolist() == list(range(2_500))
    remote.fs.rm((remote / "a.bin").path)
    assert ids.read(500, 2_500).tolist() == list(range(500, 2_500))
    with pytest.raises(InputError, match=r"a.bin: cannot be read: it does not exist"):
        ids.read(0, 10)


@pytest.mark.parametrize("id_type", ID_TYPES)
def test_remote_flat_files(tmp_path: Path, remote: UPath, id_type: Any) -> None:
    np.random.default_rng(1).integers(0, 60_000, 5_000).astype(id_type).tofile(tmp_path / "a.bin")
    upload(tmp_path / "a.bin", remote / "a.bin")
    options = tc.StoreOptions(id_dtype=id_type, sequence_length=70)
    same_stores(tc.open_store(tmp_path / "a.bin", options), tc.open_store(str(remote / "a.bin"), options))


def test_remote_megatron(tmp_path: Path, remote: UPath) -> None:
    seeds = [seed for seed in range(60) if random_dataset(tmp_path / f"{seed}", seed)]
    parted = max(seeds, key=lambda seed: (tmp_path / f"{seed}.bin").stat().st_size)
    for i in range(3):  # one .bin in pieces
        raw = (tmp_path / f"{parted}.bin").read_bytes()
        (tmp_path / f"{parted}-0000{i}-of-00003.bin").write_bytes(raw[i * 64 : (i + 1) * 64 if i < 2 else None])
    upload_all(tmp_path, remote)
    remote.fs.rm((remote / f"{parted}.bin").path)
    for seed in seeds:
        here, there = (tc.open_store(f"{folder}/{seed}.idx") for folder in (tmp_path, remote))
        same_stores(here, there, same_files=seed != parted)


def test_remote_datatrove(tmp_path: Path, remote: UPath) -> None:
    for i in range(3):
        write_datatrove(tmp_path / f"{i}.ds", random_documents(i, 40, 60_000), 2)
    upload_all(tmp_path, remote)
    same_stores(tc.open_store(tmp_path), tc.open_store(str(remote)))
    same_stores(tc.open_store(tmp_path / "1.ds"), tc.open_store(str(remote / "1.ds")))


def test_remote_token_store(demo_data: Path, tmp_path: Path, remote: UPath) -> None:
    """Of several parts, counted from there to the same tables."""
    texts = library_texts(250)
    sources = [write_jsonl(tmp_path / f"{i}.jsonl", texts[i::4]) for i in range(4)]
    tc.tokenize(sources, tmp_path / "store", str(demo_data))
    upload_all(tmp_path / "store", remote / "store")
    same_stores(tc.open_store(tmp_path / "store"), tc.open_store(str(remote / "store")))
    for name in (str(tmp_path / "store"), str(remote / "store")):
        tc.ngrams(name, tmp_path / f"tables-{name[:3]}", tc.NgramSettings(n=(2,)), workers=2)
    ours, theirs = (tree(tmp_path / f"tables-{name}") for name in (str(tmp_path)[:3], "mem"))
    assert ours.pop("store.json") != theirs.pop("store.json")  # where the store is
    assert ours == theirs


def same_stores(here: Store, there: Store, same_files: bool = True) -> None:
    assert (there.n_tokens, there.n_sequences) == (here.n_tokens, here.n_sequences)
    if same_files:
        assert there.identity == here.identity
    middle = here.n_sequences // 2
    for first, last in ((0, here.n_sequences), (middle, middle + 3), (here.n_sequences, here.n_sequences)):
        ours, theirs = here.read(first, last), there.read(first, last)
        assert theirs.tokens.dtype == ours.tokens.dtype
        assert theirs.tokens.tolist() == ours.tokens.tolist()
        assert theirs.ends.tolist() == ours.ends.tolist()
        assert (theirs.document_starts is None) == (ours.document_starts is None)
        if ours.document_starts is not None and theirs.document_starts is not None:
            assert theirs.document_starts.tolist() == ours.document_starts.tolist()


def test_damaged_remote_stores(demo_data: Path, tmp_path: Path, remote: UPath) -> None:
    (tmp_path / "a.txt").write_text("import os\n" * 1_000)
    tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data))
    upload_all(tmp_path / "store", remote / "store")
    [tokens], [documents] = ((remote / "store" / folder).iterdir() for folder in ("tokens", "documents"))
    name = str(remote / "store")
    documents.write_bytes(documents.read_bytes()[:-9])
    with pytest.raises(InputError, match=r"memory://.*documents/.*parquet: cannot be read"):
        tc.open_store(name).read(0, 1)
    tokens.write_bytes(tokens.read_bytes()[:-3])
    with pytest.raises(InputError, match=r"memory://.*tokens/.*bin: has \d+ bytes, the ledger says"):
        tc.open_store(name)
    tokens.unlink()
    with pytest.raises(InputError, match=r"memory://.*tokens/.*bin: is missing: restore it"):
        tc.open_store(name)
    ledger = remote / "store/ledger.json"
    ledger.write_text(ledger.read_text().replace('"complete": true', '"complete": false'))
    with pytest.raises(InputError, match=r"memory://.*store/ledger.json: is not as it was written"):
        tc.open_store(name)
    with Ledger.begin(tmp_path / "begun", STAGE, {}, {}) as begun:
        begun.finish_part("a", Part.of({}, Facts(amount=1)))
    ledger.write_bytes((tmp_path / "begun/ledger.json").read_bytes())
    with pytest.raises(InputError, match=r"memory://.*store: is not finished"):
        tc.open_store(name)
    ledger.write_text("{")
    with pytest.raises(InputError, match=r"memory://.*ledger.json: is not JSON"):
        Ledger.read(cast(AnyPath, remote / "store"))
    with pytest.raises(InputError, match=r"memory://.*nothing: does not exist"):
        tc.open_store(str(remote / "nothing"))


def test_mds_and_flat_hold_the_same(shared: Path, tmp_path: Path) -> None:
    mds = tc.open_store(shared / "mds/pile_layout_raw")
    np.array(all_of(mds), "<u2").tofile(tmp_path / "flat.bin")
    flat = tc.open_store(tmp_path / "flat.bin")
    assert flat.n_sequences == mds.n_sequences
    assert all_of(flat) == all_of(mds)


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


def test_bad_stores(tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(b"123")
    with pytest.raises(InputError, match=r"odd.bin: has 3 bytes, which is no whole number of uint16 ids"):
        tc.open_store(tmp_path / "odd.bin")
    with pytest.raises(InputError, match=r"nothing: does not exist"):
        tc.open_store(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: is neither a token store, an MDS folder"):
        tc.open_store(tmp_path / "folder")


def test_ids_beyond_the_vocabulary(tmp_path: Path, demo_data: Path) -> None:
    np.array([1, 2, 3, 4, 9_000, 5], np.uint16).tofile(tmp_path / "flat.bin")
    options = tc.StoreOptions(tokenizer=str(demo_data), sequence_length=3)
    message = r"flat.bin: sequence 1, token 1: id 9000 is beyond the vocabulary of 8192 ids"
    with pytest.raises(InputError, match=message):
        tc.ngrams(tmp_path / "flat.bin", tmp_path / "c", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["flat.bin"]
    [problem] = tc.verify(tmp_path / "flat.bin", options)
    assert "id 9000 is beyond" in problem


def test_a_damaged_token_store(demo_data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("import os\n" * 1_000)
    tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data))
    tokens = tmp_path / "store/tokens/00000-00000.bin"
    flip(tokens, 100)
    [problem] = tc.verify(tmp_path / "store")
    assert "00000-00000.bin: its content is not what the ledger says" in problem
    cut(tokens, 2)
    with pytest.raises(InputError, match=r"00000-00000.bin: has \d+ bytes, the ledger says"):
        tc.ngrams(tmp_path / "store", tmp_path / "c")
    tokens.unlink()
    with pytest.raises(InputError, match=r"00000-00000.bin: is missing"):
        tc.ngrams(tmp_path / "store", tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_no_damage_of_a_token_store_is_accepted(demo_data: Path, tmp_path: Path) -> None:
    """A bit anywhere in any of its files: verify says so."""
    (tmp_path / "a.txt").write_text("import os\n" * 1_000)
    whole = tmp_path / "store"
    tc.tokenize(tmp_path / "a.txt", whole, str(demo_data))
    generator = np.random.default_rng(11)
    files = sorted(path for path in whole.rglob("*") if path.is_file())
    assert [path.name for path in files] == ["00000-00000.parquet", "ledger.json", "tokenizer.json", "00000-00000.bin"]
    for path in files:
        raw = path.read_bytes()
        for place in generator.integers(0, len(raw), 40).tolist():
            changed = bytearray(raw)
            changed[place] ^= 1 << int(generator.integers(0, 8))
            for damaged in (raw[:place], bytes(changed)):
                path.write_bytes(damaged)
                assert problems_of(whole) or is_same_json(damaged, raw)
        path.write_bytes(raw)
    assert tc.verify(whole) == []


def problems_of(store: Path) -> list[str]:
    try:
        return tc.verify(store)
    except InputError as error:
        return [str(error)]


def is_same_json(damaged: bytes, raw: bytes) -> bool:
    """Whether only the white space of a ledger was changed."""
    try:
        return bool(json.loads(damaged) == json.loads(raw))
    except ValueError:
        return False


@pytest.mark.parametrize("length", [1, 7, 3_000_000, 5_000_000])
def test_ranges_of_sequences(tmp_path: Path, length: int) -> None:
    """Read at once or some at a time, where these are many and where one is larger than what is read at once."""
    ids = np.random.default_rng(length).integers(0, 60_000, 9_000_000, np.uint16)
    ids.tofile(tmp_path / "a.bin")
    store = tc.open_store(tmp_path / "a.bin", tc.StoreOptions(sequence_length=length))
    for start, stop in ((0, store.n_sequences), (1, store.n_sequences - 1), (1, 1)):
        expected = ids[start * length : stop * length]
        assert np.array_equal(SequenceRange(start, stop).read(store).tokens, expected)
        some = list(SequenceRange(start, stop).read_in_turn(store))
        assert np.array_equal(np.concatenate([np.zeros(0, np.uint16), *(each.tokens for each in some)]), expected)
        assert sum(len(each.ends) for each in some) == stop - start
        assert all(len(each.tokens) <= max(1 << 22, length) for each in some)


def test_ranges_of_sequences_check_their_ids(tmp_path: Path, demo_data: Path) -> None:
    ids = np.zeros(100, np.uint16)
    ids[57] = 65_535
    ids.tofile(tmp_path / "a.bin")
    store = tc.open_store(tmp_path / "a.bin", tc.StoreOptions(sequence_length=10, tokenizer=str(demo_data)))
    assert SequenceRange(0, 5).read(store).tokens.tolist() == [0] * 50
    for read in (lambda: SequenceRange(3, 8).read(store), lambda: list(SequenceRange(3, 8).read_in_turn(store))):
        with pytest.raises(InputError, match=r"a.bin: sequence 5, token 7: id 65535 is beyond the vocabulary"):
            read()


def test_the_docs_list_every_format() -> None:
    corpora = (Path(__file__).parents[1] / "docs/corpora.md").read_text()
    rows = [line for line in corpora.split("| STORE | found by | notes |")[1].splitlines()[2:] if line.startswith("|")]
    names = [each.name.partition(" ")[2] for each in FORMATS]
    assert rows == [f"| {name} | {each.found_by} | {each.notes} |" for name, each in zip(names, FORMATS, strict=True)]
