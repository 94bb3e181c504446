"""Documents, tokenizing and the kinds of store, on real files, against the libraries that made them."""

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer

import taskcatalog as tc
from helpers import refusal, texts_of, write_jsonl
from taskcatalog.corpus.documents import find_sources, read_documents
from taskcatalog.corpus.store import Store
from taskcatalog.errors import ConflictError, InputError, SettingsError


def all_tokens(store: Store) -> list[int]:
    tokens: list[int] = store.read(0, store.n_sequences).tokens.tolist()
    return tokens


def expected_ids(tokenizer: Path, texts: list[str], before: list[int], after: list[int]) -> list[list[int]]:
    reference = Tokenizer.from_file(str(tokenizer))
    return [before + reference.encode(text, add_special_tokens=False).ids + after for text in texts]


@pytest.mark.parametrize("separator", ["end", "both", "none"])
@pytest.mark.parametrize("tokenizer", ["gpt_neox_20b", "olmo_dolma2"])
def test_tokens_are_those_of_the_tokenizer(shared: Path, tmp_path: Path, tokenizer: str, separator: str) -> None:
    texts = [*texts_of(shared / "corpus/mix_first2000.jsonl.gz", 150), "", "<|endoftext|>inside", "e\u0301\x00"]
    path = shared / "tokenizers" / tokenizer / "tokenizer.json"
    sources = [write_jsonl(tmp_path / "a.jsonl", texts[:70]), write_jsonl(tmp_path / "b.jsonl.gz", texts[70:])]
    settings = tc.TokenizeSettings(separator=separator, sequence_length=100)  # type: ignore[arg-type]
    store = tc.tokenize(sources, tmp_path / "store", str(path.parent), settings, workers=2)
    end = store.corpus.end_of_text
    assert end == {"gpt_neox_20b": 0, "olmo_dolma2": 100_257}[tokenizer]
    documents = expected_ids(path, texts, [end] * (separator == "both"), [end] * (separator != "none"))
    assert all_tokens(store) == [id_ for document in documents for id_ in document]
    starts = store.read(0, store.n_sequences).document_starts
    assert starts is not None
    lengths = [len(document) for document in documents]
    assert starts.tolist() == (np.cumsum(lengths) - lengths).tolist()
    assert store.read(0, 1).tokens.dtype == (np.uint16 if tokenizer == "gpt_neox_20b" else np.uint32)
    assert tc.verify(tmp_path / "store") == []


def test_documents_know_where_they_came_from(demo_data: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "b.jsonl", ["one", "two"])
    (tmp_path / "a.txt").write_text("three")
    tc.tokenize(tmp_path / "b.jsonl", tmp_path / "s1", str(demo_data))
    index = pq.read_table(tmp_path / "s1/documents/00000.parquet").to_pylist()
    assert [(Path(row["source"]).name, row["place"]) for row in index] == [("b.jsonl", 1), ("b.jsonl", 2)]
    tc.tokenize(tmp_path / "a.txt", tmp_path / "s2", str(demo_data))
    index = pq.read_table(tmp_path / "s2/documents/00000.parquet").to_pylist()
    assert [(Path(row["source"]).name, row["place"], row["start"]) for row in index] == [("a.txt", 0, 0)]


def test_same_bytes_whatever_the_workers(shared: Path, demo_data: Path, tmp_path: Path) -> None:
    """Enough text for several parts."""
    texts = texts_of(shared / "corpus/mix_first2000.jsonl.gz", 900)
    sources = tmp_path / "sources"
    sources.mkdir()
    for i in range(0, 900, 100):
        write_jsonl(sources / f"{i:03d}.jsonl", texts[i : i + 100])
    for workers in (1, 2):
        tc.tokenize(sources, tmp_path / str(workers), str(demo_data), workers=workers)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / w).rglob("*") if p.is_file()} for w in "12")
    assert len(one) > 8
    assert one == two


def test_any_stretch_of_sequences(demo_data: Path, tmp_path: Path) -> None:
    """Sequences run over parts, of which each source here is one."""
    sources = [tmp_path / f"{name}.txt" for name in "abc"]
    for i, path in enumerate(sources):
        path.write_text(f"import os{i}\n" * 110_000)
    store = tc.tokenize(sources, tmp_path / "store", str(demo_data), tc.TokenizeSettings(sequence_length=1_000))
    assert len(list((tmp_path / "store/tokens").iterdir())) == 3
    whole = all_tokens(store)
    assert len(whole) == store.n_tokens
    for first, last in ((0, 1), (359, 361), (5, 700), (store.n_sequences - 1, store.n_sequences), (3, 3)):
        read = store.read(first, last)
        assert read.tokens.tolist() == whole[first * 1_000 : last * 1_000]
        assert read.ends.tolist() == [min(1_000 * (i + 1), len(whole) - first * 1_000) for i in range(last - first)]


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00"}\n')
    assert [d.text for d in read_documents(tmp_path / "a.jsonl", "text")] == ["a\ufffdb \U0001f600"]


def test_a_folder_gives_its_text_files(tmp_path: Path) -> None:
    for name, content in {"b.txt": b"b", "a/c.py": b"c", "d.png": b"\x89\0\0", ".git/e": b"e", ".hidden": b"f"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert [path.name for path in find_sources([tmp_path])] == ["c.py", "b.txt"]


def bad_sources(folder: Path) -> dict[str, tuple[Path, str]]:
    """Bad input by name: the source, and what the message must say."""
    (folder / "latin1.txt").write_bytes("café".encode("latin-1"))
    (folder / "broken.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (folder / "fieldless.jsonl").write_text('{"text": "a"}\n{"content": "b", "id": 1}\n')
    (folder / "number.jsonl").write_text('{"text": 1}\n')
    (folder / "list.jsonl").write_text("[1]\n")
    (folder / "latin1.jsonl").write_bytes(b'{"text": "a"}\n\xe9\n')
    (folder / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"text": "abc"}\n' * 100)[:-9])
    (folder / "nogz.jsonl.gz").write_bytes(b"plain")
    (folder / "blank.jsonl").write_text("\n\n")
    (folder / "empty").mkdir()
    return {
        "missing": (folder / "missing.txt", r"missing.txt: does not exist"),
        "empty folder": (folder / "empty", r"empty: holds no text files"),
        "no documents": (folder / "blank.jsonl", r"hold no document"),
        "not UTF-8": (folder / "latin1.txt", r"latin1.txt: is not UTF-8 \(byte 0xe9 at offset 3\)"),
        "no JSON": (folder / "broken.jsonl", r"broken.jsonl: line 2: is not JSON"),
        "no field": (folder / "fieldless.jsonl", r"fieldless.jsonl: line 2: .*'text' \(its fields are content, id\)"),
        "no text": (folder / "number.jsonl", r"number.jsonl: line 1: has no text in a field 'text'"),
        "no object": (folder / "list.jsonl", r"list.jsonl: line 1: .*it is no object"),
        "line not UTF-8": (folder / "latin1.jsonl", r"latin1.jsonl: line 2: is not UTF-8"),
        "cut gzip": (folder / "cut.jsonl.gz", r"cut.jsonl.gz: cannot be read after line \d+"),
        "no gzip": (folder / "nogz.jsonl.gz", r"nogz.jsonl.gz: cannot be read after line 0"),
    }


BAD_SOURCES = [
    "missing", "empty folder", "no documents", "not UTF-8", "no JSON", "no field", "no text", "no object",
    "line not UTF-8", "cut gzip", "no gzip",
]  # fmt: skip


@pytest.mark.parametrize("case", BAD_SOURCES)
def test_bad_sources(demo_data: Path, tmp_path: Path, case: str) -> None:
    source, message = bad_sources(tmp_path)[case]
    before = sorted(tmp_path.rglob("*"))
    assert re.search(message, refusal("tokenize", source, "--out", tmp_path / "store", "--tokenizer", demo_data))
    assert sorted(tmp_path.rglob("*")) == before


def test_tokenizers_that_cannot_be_used(tmp_path: Path, demo_data: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    for name, message in {
        "missing.json": "does not exist",
        str(tmp_path): "holds no tokenizer.json",
        "no/such/name": "neither a file nor a hub name",
        "EleutherAI/nothing": "hub",
    }.items():
        with pytest.raises(InputError, match=message):
            tc.tokenize(tmp_path / "a.txt", tmp_path / "store", name)
    with pytest.raises(SettingsError, match="'<x>' is no token"):
        tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data), tc.TokenizeSettings(end_of_text="<x>"))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_store_is_not_overwritten(demo_data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("import os")
    (tmp_path / "b.txt").write_text("import sys")
    tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data))
    tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data))
    with pytest.raises(ConflictError, match=r"sources was .*--force"):
        tc.tokenize(tmp_path / "b.txt", tmp_path / "store", str(demo_data))
    store = tc.tokenize(tmp_path / "b.txt", tmp_path / "store", str(demo_data), force=True)
    assert store.vocabulary is not None
    assert store.vocabulary.text(all_tokens(store)) == "import sys<|endoftext|>"


@pytest.mark.parametrize("layout", ["pile_layout_zstd", "pile_layout_raw"])
def test_mds(shared: Path, layout: str) -> None:
    golden = json.loads((shared / "golden/pile_layout_ngrams.json").read_text())
    store = tc.open_store(shared / "mds" / layout)
    whole = store.read(0, store.n_sequences)
    assert set(np.diff(whole.ends, prepend=0).tolist()) == {golden["sequence_length"]}
    if layout == "pile_layout_zstd":
        assert store.n_sequences == golden["sequences"]
        digest = hashlib.sha256(whole.tokens.astype("<u2").tobytes()).hexdigest()
        assert digest == golden["tokens_sha256_uint16_le"]
    for first, last in ((0, 1), (100, 300), (store.n_sequences - 1, store.n_sequences), (7, 7)):
        expected = whole.tokens[first * 2_048 : last * 2_048]
        assert store.read(first, last).tokens.tolist() == expected.tolist()


def test_mds_and_flat_hold_the_same(shared: Path, tmp_path: Path) -> None:
    mds = tc.open_store(shared / "mds/pile_layout_raw")
    np.array(all_tokens(mds), "<u2").tofile(tmp_path / "flat.bin")
    flat = tc.open_store(tmp_path / "flat.bin")
    assert flat.n_sequences == mds.n_sequences
    assert all_tokens(flat) == all_tokens(mds)


def test_mds_that_holds_no_ids(shared: Path) -> None:
    with pytest.raises(InputError, match="are not one column of ids"):
        tc.open_store(shared / "mds/mosaic_mix/data")


def copied(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    target.chmod(0o755)
    return target


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: cut(p / "0/shard.00000.mds.zstd", 100), r"shard.00000.mds.zstd: has \d+ bytes, .*cut off"),
        (lambda p: flip(p / "0/shard.00000.mds.zstd", 0), r"0/shard.00000.mds.zstd: cannot be decompressed"),
        (lambda p: (p / "1/shard.00000.mds.zstd").unlink(), r"1/shard.00000.mds.zstd: is missing"),
        (lambda p: cut(p / "index.json", 10), r"index.json: is not JSON"),
        (lambda p: (p / "index.json").write_text("{}"), r"index.json: is no index of MDS shards"),
        (lambda p: (p / "index.json").write_text('{"shards": [{}]}'), r"index.json: a shard's entry lacks"),
    ],
)
def test_damaged_mds(shared: Path, tmp_path: Path, damage: Callable[[Path], object], message: str) -> None:
    folder = copied(shared / "mds/pile_layout_zstd", tmp_path / "mds")
    damage(folder)
    assert re.search(message, refusal("ngrams", folder, "--out", tmp_path / "c"))
    assert not (tmp_path / "c").exists()


def test_damaged_raw_mds(shared: Path, tmp_path: Path) -> None:
    folder = copied(shared / "mds/pile_layout_raw", tmp_path / "mds")
    for at, message in ((0, "does not say"), (5, "offsets|size"), (12, "offsets|size")):
        flip(folder / "shard.00000.mds", at)
        with pytest.raises(InputError, match=message):
            tc.open_store(folder).read(0, 1)
        flip(folder / "shard.00000.mds", at)


def test_bad_stores(tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(b"123")
    with pytest.raises(InputError, match=r"odd.bin: has 3 bytes, which is no whole number of uint16 ids"):
        tc.open_store(tmp_path / "odd.bin")
    with pytest.raises(InputError, match=r"nothing: does not exist"):
        tc.open_store(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: is no token store, MDS folder or .bin file"):
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
    tokens = tmp_path / "store/tokens/00000.bin"
    flip(tokens, 100)
    [problem] = tc.verify(tmp_path / "store")
    assert "00000.bin: its content is not what the ledger says" in problem
    cut(tokens, 2)
    with pytest.raises(InputError, match=r"00000.bin: has \d+ bytes, the ledger says"):
        tc.ngrams(tmp_path / "store", tmp_path / "c")
    tokens.unlink()
    with pytest.raises(InputError, match=r"00000.bin: is missing"):
        tc.ngrams(tmp_path / "store", tmp_path / "c")
    assert not (tmp_path / "c").exists()
