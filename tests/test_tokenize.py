"""Documents to a token store: every id against the reference library, on real and on odd text."""

import gzip
import json
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

import taskcatalog as tc
from faults.kills import command, kill_once
from helpers import invoke, library_texts, refusal, tree, write_jsonl
from taskcatalog.documents.batch import LONG_TEXT
from taskcatalog.errors import ConflictError, InputError, SettingsError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.stores.store import Store
from taskcatalog.tokenizing.encoders import Encoder, FastEncoder, ReferenceEncoder, choose_engine, cut_before
from taskcatalog.vocabulary import Vocabulary


def all_tokens(store: Store) -> list[int]:
    tokens: list[int] = store.read(0, store.n_sequences).tokens.tolist()
    return tokens


def expected_ids(tokenizer: Path, texts: list[str], before: list[int], after: list[int]) -> list[list[int]]:
    reference = Tokenizer.from_file(str(tokenizer))
    return [before + reference.encode(text, add_special_tokens=False).ids + after for text in texts]


@pytest.fixture(scope="module", params=["demo", "gpt_neox_20b", "olmo_dolma2"])
def tokenizer(request: pytest.FixtureRequest, demo_data: Path) -> Path:
    """The folder of a real tokenizer."""
    if request.param == "demo":
        return demo_data
    shared: Path = request.getfixturevalue("shared")
    return shared / "tokenizers" / str(request.param)


@pytest.mark.parametrize("separator", ["end", "both", "none"])
def test_tokens_are_those_of_the_tokenizer(tmp_path: Path, tokenizer: Path, separator: str) -> None:
    texts = [*library_texts(60), "", "<|endoftext|>inside", "e\u0301\x00", "naïve — 北京 🎉"]
    path = tokenizer / "tokenizer.json"
    sources = [write_jsonl(tmp_path / "a.jsonl", texts[:25]), write_jsonl(tmp_path / "b.jsonl.gz", texts[25:])]
    settings = tc.TokenizeSettings(separator=separator, sequence_length=100)  # type: ignore[arg-type]
    store = tc.tokenize(sources, tmp_path / "store", str(tokenizer), settings, workers=2).store
    end = store.identity.end_of_text
    assert end == (100_257 if tokenizer.name == "olmo_dolma2" else 0)
    documents = expected_ids(path, texts, [end] * (separator == "both"), [end] * (separator != "none"))
    assert all_tokens(store) == [id_ for document in documents for id_ in document]
    starts = store.read(0, store.n_sequences).document_starts
    assert starts is not None
    lengths = [len(document) for document in documents]
    assert starts.tolist() == (np.cumsum(lengths) - lengths).tolist()
    assert store.read(0, 1).tokens.dtype == (np.uint32 if tokenizer.name == "olmo_dolma2" else np.uint16)
    assert tc.verify(tmp_path / "store") == []


def test_documents_know_where_they_came_from(demo_data: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "b.jsonl", ["one", "two"])
    (tmp_path / "a.txt").write_text("three")
    tc.tokenize(tmp_path / "b.jsonl", tmp_path / "s1", str(demo_data))
    index = pq.read_table(tmp_path / "s1/documents/00000-00000.parquet").to_pylist()
    assert [(Path(row["source"]).name, row["place"]) for row in index] == [("b.jsonl", 1), ("b.jsonl", 2)]
    tc.tokenize(tmp_path / "a.txt", tmp_path / "s2", str(demo_data))
    index = pq.read_table(tmp_path / "s2/documents/00000-00000.parquet").to_pylist()
    assert [(Path(row["source"]).name, row["place"], row["start"]) for row in index] == [("a.txt", 0, 0)]


def test_same_bytes_whatever_the_workers(demo_data: Path, tmp_path: Path) -> None:
    """Enough text for several parts."""
    texts = library_texts(270)
    sources = tmp_path / "sources"
    sources.mkdir()
    for i in range(0, 270, 30):
        write_jsonl(sources / f"{i:03d}.jsonl", texts[i : i + 30])
    for workers in (1, 2):
        tc.tokenize(sources, tmp_path / str(workers), str(demo_data), workers=workers)
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / w).rglob("*") if p.is_file()} for w in "12")
    assert len(one) > 8
    assert one == two


def test_any_range_of_sequences(demo_data: Path, tmp_path: Path) -> None:
    """Sequences run over parts, of which each source here is one."""
    sources = [tmp_path / f"{name}.txt" for name in "abc"]
    for i, path in enumerate(sources):
        path.write_text(f"import os{i}\n" * 110_000)
    store = tc.tokenize(sources, tmp_path / "store", str(demo_data), tc.TokenizeSettings(sequence_length=1_000)).store
    assert len(list((tmp_path / "store/tokens").iterdir())) == 3
    whole = all_tokens(store)
    assert len(whole) == store.n_tokens
    for first, last in ((0, 1), (359, 361), (5, 700), (store.n_sequences - 1, store.n_sequences), (3, 3)):
        read = store.read(first, last)
        assert read.tokens.tolist() == whole[first * 1_000 : last * 1_000]
        assert read.ends.tolist() == [min(1_000 * (i + 1), len(whole) - first * 1_000) for i in range(last - first)]


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
    store = tc.tokenize(tmp_path / "b.txt", tmp_path / "store", str(demo_data), force=True).store
    assert store.vocabulary is not None
    assert store.vocabulary.text(all_tokens(store)) == "import sys<|endoftext|>"


# --- the two engines ---------------------------------------------------------------------------------------------

ODD = [
    " ", "   ", "\n", "\n\n\n", "\t", "\r\n", "a", "the", "Hello", "can't", "'LL", "12", "3456", "!!!", "...", "_",
    "\xe9", "e\u0301", "\u1100\u1161\u11a8", "\u212b", "\ufb01", "\u0344", "\u0f73", "\u0898\u0899", "\U0001e023\u0316",
    "\U0001f469\u200d\U0001f4bb", "\U0001f1eb\U0001f1f7", "\u4e2d\u6587", "\u0915\u093e", "\ufdfa", "\u0130", "\xdf",
    "\0", "\x1c", "\x85", "\xa0", "\u2028", "\u3000", "\ufeff", "\u200b",
    "\ufffd", "\u0378", "\U000e0001", "\U0010ffff",
    "<|endoftext|>", "<|padding|>", "<|im_start|>", "|||EMAIL_ADDRESS|||", "<|end", "oftext|>", ">\u0338", " " * 30,
]  # fmt: skip


@pytest.fixture(scope="module")
def vocabulary(tokenizer: Path) -> Vocabulary:
    return Vocabulary.read(tokenizer / "tokenizer.json")


def assert_same_ids(vocabulary: Vocabulary, texts: list[str], fast: Encoder | None = None) -> None:
    fast_ids = (fast or FastEncoder(vocabulary)).encode(texts)
    reference = ReferenceEncoder(vocabulary).encode(texts)
    assert np.array_equal(fast_ids.ends, reference.ends)
    assert np.array_equal(fast_ids.ids, reference.ids)


def test_engines_agree_on_source_code(vocabulary: Vocabulary) -> None:
    assert_same_ids(vocabulary, library_texts(200))


@pytest.mark.parametrize("corpus", ["mix_first2000", "c4_sample", "qa_short"])
def test_engines_agree_on_every_document(shared: Path, vocabulary: Vocabulary, corpus: str) -> None:
    with gzip.open(shared / f"corpus/{corpus}.jsonl.gz") as lines:
        records = [json.loads(line) for line in lines]
    texts = [value for record in records for value in record.values() if isinstance(value, str)]
    assert len(texts) >= 1_000
    assert_same_ids(vocabulary, texts)


def test_engines_agree_on_odd_text(vocabulary: Vocabulary) -> None:
    generator = random.Random(3)
    planes = [(0, 0x300), (0x300, 0x3000), (0x3000, 0xD800), (0xE000, 0x20000), (0x20000, 0x110000)]

    def any_character() -> str:
        return chr(generator.randrange(*generator.choice(planes)))

    texts = ["".join(generator.choices(ODD, k=generator.randint(1, 30))) for _ in range(8_000)]
    texts += ["".join(any_character() for _ in range(generator.randint(1, 40))) for _ in range(8_000)]
    texts += ["", "a" * 100_000, " " * 50_000, "\n" * 50_000, "ab " * 50_000, "e\u0301" * 20_000, "!" * 50_000]
    texts += [" ".join(generator.choices(ODD, k=60_000)) for _ in range(3)]
    assert_same_ids(vocabulary, texts)


def test_engines_agree_on_any_text(demo_data: Path) -> None:
    vocabulary = Vocabulary.read(demo_data / "tokenizer.json")
    fast = FastEncoder(vocabulary)

    @hypothesis_settings(max_examples=300, deadline=None)
    @given(st.lists(st.one_of(st.text(), st.lists(st.sampled_from(ODD)).map("".join)), max_size=8))
    def agree(texts: list[str]) -> None:
        assert_same_ids(vocabulary, texts, fast)

    agree()


def byte_level(path: Path, normalizer: normalizers.Normalizer | None = None) -> Path:
    """A byte-level tokenizer with no merges."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.save(str(path))
    return path


def test_a_tokenizer_that_only_one_engine_reads(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = Tokenizer(models.WordLevel({"a": 0, "b": 1, "?": 2, "<|endoftext|>": 3}, unk_token="?"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.save(str(tmp_path / "words.json"))
    (tmp_path / "a.txt").write_text("a b c" + " a" * 200_000)
    store = tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(tmp_path / "words.json")).store
    assert all_tokens(store) == [0, 1, 2, *[0] * 200_000, 3]
    assert Ledger.read(tmp_path / "store").facts["engine"] == "tokenizers"
    assert re.search(r"gigatoken cannot be used: .*; tokenizers does the work", capfd.readouterr().err)
    arguments = ["tokenize", tmp_path / "a.txt", "--out", tmp_path / "s2", "--tokenizer", tmp_path / "words.json"]
    assert "gigatoken cannot be used" in refusal(*arguments, "--engine", "gigatoken")
    assert not (tmp_path / "s2").exists()


def test_engines_that_differ_in_the_middle_of_a_corpus(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Marks of a newer Unicode are sorted by one library and not by the other; no sample has seen them."""
    tokenizer = byte_level(tmp_path / "t.json", normalizers.Sequence([normalizers.NFC(), normalizers.NFC()]))
    vocabulary = Vocabulary.read(tokenizer)
    assert choose_engine(vocabulary, "auto", ["plain"]) == ("gigatoken", None)
    engine, reason = choose_engine(vocabulary, "auto", ["a\u0898\u0899"])
    assert engine == "tokenizers"
    assert "it gives other ids" in str(reason)
    sources = tmp_path / "sources"
    sources.mkdir()
    texts = ["plain text, " * 90_000 for _ in range(5)]
    texts[3] = "a\u0898\u0899 " * 150_000
    for i, text in enumerate(texts):
        (sources / f"{i}.txt").write_text(text)
    store = tc.tokenize(sources, tmp_path / "store", str(tokenizer), workers=2).store
    assert "all is done again with tokenizers" in capfd.readouterr().err
    forced = tc.tokenize(sources, tmp_path / "forced", str(tokenizer), engine="tokenizers").store
    assert all_tokens(store) == all_tokens(forced)
    assert tree(tmp_path / "store") == tree(tmp_path / "forced")
    with pytest.raises(InputError, match="leave out --engine gigatoken"):
        tc.tokenize(sources, tmp_path / "refused", str(tokenizer), engine="gigatoken")


# --- long documents ----------------------------------------------------------------------------------------------


def test_long_texts_are_cut_where_nothing_changes(vocabulary: Vocabulary) -> None:
    encoder = FastEncoder(vocabulary)
    text = "\n".join(library_texts(30))
    whole = encoder.encode([text]).ids
    generator = random.Random(5)
    for _ in range(30):
        end = generator.randrange(5_000, len(text))
        place = cut_before(text[:end], encoder.encode)
        assert place is not None
        assert end - 10_000 < place <= end
        assert np.array_equal(encoder.encode([text[:place], text[place:]]).ids, whole)
    assert cut_before("a" * 50_000, encoder.encode) is None
    assert cut_before(" " * 50_000, encoder.encode) is None


def test_a_text_that_begins_with_a_space_of_its_own_is_not_cut(tmp_path: Path) -> None:
    """This tokenizer puts a space in front of every text: two halves never have the ids of the whole."""
    tokenizer = byte_level(tmp_path / "t.json", normalizers.Prepend(" "))
    encoder = ReferenceEncoder(Vocabulary.read(tokenizer))
    assert len(encoder.encode(["ab"]).ids) == 3
    assert cut_before("once upon a time " * 5_000, encoder.encode) is None


@pytest.mark.parametrize("kind", ["txt", "jsonl", "txt.gz"])
def test_documents_longer_than_memory_is_meant_to_hold(tmp_path: Path, demo_data: Path, kind: str) -> None:
    text = "".join(f"import module_{i}  # number {i}\n" for i in range(LONG_TEXT // 12))
    assert len(text) > 2 * LONG_TEXT
    source = tmp_path / f"a.{kind}"
    if kind == "jsonl":
        write_jsonl(source, ["before", text, "", "after"])
    else:
        source.write_bytes(gzip.compress(text.encode(), 1) if kind == "txt.gz" else text.encode())
    store = tc.tokenize(source, tmp_path / "store", str(demo_data), tc.TokenizeSettings(separator="both")).store
    encoder = FastEncoder(Vocabulary.read(demo_data / "tokenizer.json"))
    documents = ["before", text, "", "after"] if kind == "jsonl" else [text]
    end = store.identity.end_of_text
    expected = [[end, *encoder.encode([document]).ids.tolist(), end] for document in documents]
    assert all_tokens(store) == [id_ for ids in expected for id_ in ids]
    index = pa.concat_tables(map(pq.read_table, sorted((tmp_path / "store/documents").iterdir())))
    assert index["n_tokens"].to_pylist() == [len(ids) for ids in expected]
    assert index["place"].to_pylist() == ([1, 2, 3, 4] if kind == "jsonl" else [0])


# --- parts -------------------------------------------------------------------------------------------------------


def test_inside_one_large_file(demo_data: Path, tmp_path: Path) -> None:
    """Workers share a file of lines; every document keeps the number of its line."""
    texts = library_texts(330)
    source = write_jsonl(tmp_path / "a.jsonl", texts)
    store = tc.tokenize(source, tmp_path / "two", str(demo_data), workers=2).store
    parts = sorted((tmp_path / "two/documents").iterdir())
    assert len(parts) >= 4
    places = [place for part in parts for place in pq.read_table(part)["place"].to_pylist()]
    assert places == list(range(1, len(texts) + 1))
    whole = tc.tokenize(write_jsonl(tmp_path / "a.jsonl.gz", texts), tmp_path / "one", str(demo_data), workers=1).store
    assert all_tokens(store) == all_tokens(whole)


@pytest.mark.slow
def test_a_large_compressed_file_goes_on_where_it_was_killed(demo_data: Path, tmp_path: Path) -> None:
    line = json.dumps({"text": "import os\n" * 100_000}) + "\n"
    source = tmp_path / "a.jsonl.gz"
    with gzip.open(source, "wb", compresslevel=1) as file:
        for _ in range(700):
            file.write(line.encode())
    arguments = ["tokenize", source, "--tokenizer", demo_data, "--out"]
    assert invoke(*arguments, tmp_path / "never").exit_code == 0
    parts = sorted(path.name for path in (tmp_path / "never/tokens").iterdir())
    assert parts == ["00000-00000.bin", "00000-00001.bin", "00000-00002.bin"]
    killed = tmp_path / "killed"
    journal = killed / "ledger.parts.jsonl"
    assert kill_once(
        command(*arguments, killed), lambda: journal.exists() and b"tokens/00000-00000.bin" in journal.read_bytes()
    )
    written = (killed / "tokens/00000-00000.bin").stat().st_mtime_ns
    assert invoke(*arguments, killed).exit_code == 0
    assert tree(killed) == tree(tmp_path / "never")
    assert (killed / "tokens/00000-00000.bin").stat().st_mtime_ns == written


# --- bad documents and what is known of good ones ----------------------------------------------------------------


def test_bad_documents_are_skipped_and_counted(demo_data: Path, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    source.write_bytes(b'{"text": "one"}\nnothing\n\n{"text": 3}\n{"text": "\xe9"}\n{"text": "two"}\n')
    (tmp_path / "b.txt").write_bytes(b"caf\xe9")
    cut = gzip.compress(b'{"text": "three"}\n' * 3 + json.dumps({"text": "x" * 10**6}).encode())[:-100]
    (tmp_path / "c.jsonl.gz").write_bytes(cut)
    arguments = ["tokenize", source, tmp_path / "b.txt", tmp_path / "c.jsonl.gz", "--tokenizer", demo_data]
    assert re.search("a.jsonl: line 2: is not JSON", refusal(*arguments, "--out", tmp_path / "store"))
    result = invoke(*arguments, "--out", tmp_path / "store", "--on-error", "skip")
    assert result.exit_code == 0
    assert re.search(r"5 documents or files could not be read .*a.jsonl: line 2: is not JSON", result.stderr)
    store = tc.open_store(tmp_path / "store")
    assert store.vocabulary is not None
    text = store.vocabulary.text(all_tokens(store))
    assert text.removesuffix("<|endoftext|>").split("<|endoftext|>")[:2] == ["one", "two"]
    facts = Ledger.read(tmp_path / "store").facts
    assert facts["skipped"] == 5
    index = pq.read_table(tmp_path / "store/documents/00000-00000.parquet")
    assert index["place"].to_pylist()[:2] == [1, 6]


def test_a_field_is_kept_beside_each_document(demo_data: Path, tmp_path: Path) -> None:
    """As The Pile says where a document comes from."""
    records = [
        {"text": "a", "meta": {"pile_set_name": "Github"}},
        {"text": "b", "meta": {"pile_set_name": "ArXiv"}},
        {"text": "c"},
        {"text": "d", "meta": {"pile_set_name": ["x"]}},
    ]
    source = tmp_path / "a.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    tc.tokenize(source, tmp_path / "store", str(demo_data), tc.TokenizeSettings(meta="meta.pile_set_name"))
    index = pq.read_table(tmp_path / "store/documents/00000-00000.parquet")
    assert index["meta"].to_pylist() == ["Github", "ArXiv", None, '["x"]']


def test_from_a_plain_script(demo_data: Path, tmp_path: Path) -> None:
    """One that runs at once, without a guard for processes that import it."""
    sources = [write_jsonl(tmp_path / f"{name}.jsonl", [name * 40] * 30_000) for name in "ab"]
    script = tmp_path / "script.py"
    call = f"{[str(source) for source in sources]}, {str(tmp_path / 'out')!r}, {str(demo_data)!r}, workers=2"
    script.write_text(f"import taskcatalog as tc\nprint('once')\ntc.tokenize({call})\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout == "once\n"
    assert len(list((tmp_path / "out/tokens").iterdir())) == 2
