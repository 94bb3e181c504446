"""Source files of every kind, whole and damaged, against the libraries that write them."""

import gzip
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskcatalog as tc
from read_documents import COMPRESS, JSONL, TEXTS, documents, names, texts, write_parquet
from taskcatalog.documents.batch import Problems, Reading
from taskcatalog.documents.find import find_sources
from taskcatalog.documents.formats import FORMATS, cut_source, format_of_file, read_chunk
from taskcatalog.documents.source import Chunk, DatasetChoice
from taskcatalog.errors import InputError


@pytest.mark.parametrize("suffix", sorted(COMPRESS))
def test_compressed_files(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](JSONL))
    assert texts(path) == TEXTS
    assert [document.place for document in documents(path)] == list(range(1, len(TEXTS) + 1))
    # Compressed twice over, one after the other: what 'cat' makes of two files.
    path.write_bytes(COMPRESS[suffix](JSONL) + COMPRESS[suffix](JSONL))
    assert texts(path) == TEXTS * 2
    plain = tmp_path / f"a.txt{suffix}"
    plain.write_bytes(COMPRESS[suffix](TEXTS[2].encode()))
    assert texts(plain) == [TEXTS[2]]
    assert names([tmp_path]) == [path.name, plain.name]


def test_parquet(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "a.parquet")
    assert texts(path) == TEXTS
    assert [document.place for document in documents(path)] == list(range(1, len(TEXTS) + 1))
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


def test_line_ends_and_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n\n  \n{"text": "two", "x": NaN}\n{"text": "t", "text": "three"}')
    assert [(d.place, d.text) for d in documents(path)] == [(1, "one"), (4, "two"), (5, "three")]


def test_lone_surrogates_become_replacement_characters(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b \\ud83d\\ude00"}\n')
    assert texts(tmp_path / "a.jsonl") == ["a\ufffdb \U0001f600"]


@pytest.mark.parametrize("at_most", [1, 7, 100, 4_096, 10_000])
def test_chunks_of_a_file(tmp_path: Path, at_most: int) -> None:
    """However a file is cut, it has the same documents with the same places."""
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(JSONL + b'\n\n{"text": "last, without an end"}')
    rows = write_parquet(tmp_path / "a.parquet")
    for path in (lines, rows):
        whole = list(documents(path))
        assert list(documents(path, at_most=at_most)) == whole
    [source] = find_sources([lines])
    chunks = cut_source(source, 4_096, DatasetChoice())
    assert len(chunks) >= 4
    assert sum(chunk.n_bytes for chunk in chunks) == lines.stat().st_size


def test_the_docs_list_every_format() -> None:
    corpora = (Path(__file__).parents[1] / "docs/corpora.md").read_text()
    rows = [line for line in corpora.split("| format | documents |")[1].splitlines()[2:] if line.startswith("|")]
    assert rows[: len(FORMATS)] == [f"| {each.source} | {each.documents} |" for each in FORMATS]
    for each in FORMATS:
        assert all(f"`{suffix}`" in each.source for suffix in each.suffixes)
        assert {format_of_file(f"A{suffix.upper()}.gz") for suffix in each.suffixes} <= {each}
    assert len({each.name for each in FORMATS}) == len(FORMATS)


def test_datasets_on_this_machine(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the package datasets is not here")
    rows = datasets.Dataset.from_dict({"text": TEXTS, "meta": [{"set": str(i % 3)} for i in range(len(TEXTS))]})
    rows.save_to_disk(tmp_path / "one")
    found = list(documents(tmp_path / "one", meta="meta.set"))
    assert [document.text for document in found] == TEXTS
    assert [document.place for document in found] == list(range(1, len(TEXTS) + 1))
    assert [document.meta for document in found[:4]] == ["0", "1", "2", "0"]
    datasets.DatasetDict({"train": rows, "test": rows.select([5, 2])}).save_to_disk(tmp_path / "two")
    assert texts(tmp_path / "two") == TEXTS
    [source] = find_sources([tmp_path / "two"])
    with pytest.raises(InputError, match=r"has no split 'valid' .it has train, test.: --split names another"):
        cut_source(source, 1, DatasetChoice(split="valid"))
    with pytest.raises(InputError, match=r"one: has no column 'body' .its columns are text, meta."):
        texts(tmp_path / "one", "body")


def test_datasets_on_the_hub_cannot_be_reached() -> None:
    pytest.importorskip("datasets", reason="the package datasets is not here")
    with pytest.raises(InputError, match="dataset 'some/where': cannot be read"):
        texts("some/where")


def test_skipped_rows(tmp_path: Path) -> None:
    raw = pa.array([b"one", b"\xff", b"three"], pa.binary())
    broken = pa.StringArray.from_buffers(3, raw.buffers()[1], raw.buffers()[2])
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"a.parquet: cannot be read"):
        texts(tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["a", None, "c"]}), tmp_path / "b.parquet")
    problems = Problems("skip")
    found = [
        *documents(tmp_path / "a.parquet", problems=problems),
        *documents(tmp_path / "b.parquet", problems=problems),
    ]
    assert [(document.text, document.place) for document in found] == [("one", 1), ("three", 3), ("a", 1), ("c", 3)]
    assert problems.skipped == 2
    assert ["row 2" in message for message in problems.messages] == [True, True]


# --- what lies on disks --------------------------------------------------------------------------------------------


def test_json_files_are_read_for_what_they_hold(tmp_path: Path) -> None:
    """Whether they are compressed or not."""
    shapes = {
        "lines": '{"text": "one"}\n\n{"text": "two", "x": 1e400}\n',
        "pretty": '\n[\n {"text": "one"},\n {"text": "two"}\n]\n',
        "row": '[{"text": "one"}, {"text": "two"}]',
        "object": '\ufeff{\n "text": "one"\n}',
    }
    for name, content in shapes.items():
        for suffix in ("", ".gz"):
            path = tmp_path / f"{name}.json{suffix}"
            path.write_bytes(gzip.compress(content.encode()) if suffix else content.encode())
            for source in (path, tmp_path):
                found = [d for d in documents(source) if d.source == str(path)]
                assert [d.text for d in found] == ["one", "two"][: len(found)]
                assert [d.place for d in found] == {"lines": [1, 3], "object": [1]}.get(name, [1, 2])
            path.unlink()
    for content, message in {
        '[{"text": "one"}, {"text": 2}]': "value 2: has no text in a field 'text'",
        '{"text": "one"}\n{"tex\n': "line 2: is not JSON",
        '{"name": "x",\n "version": 1}': "value 1: has no text in a field 'text' .its fields are name, version.",
        "[" * 100_000: "is not JSON",
        "": "is not JSON",
        '[{"text": "one"}': "is not JSON",
    }.items():
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(InputError, match=rf"a.json: {message}"):
            texts(tmp_path / "a.json")


def test_json_in_a_folder_that_holds_no_documents_is_text(tmp_path: Path) -> None:
    """As beside source code; but lines of objects are documents, whatever their fields."""
    settings = '{\n "name": "x"  // a comment\n}\n'
    (tmp_path / "a.json").write_text(settings)
    (tmp_path / "b.json").write_text('{"name": 1}')
    assert [(d.text, d.place) for d in documents(tmp_path)] == [(settings, 0), ('{"name": 1}', 0)]
    (tmp_path / "c.json").write_text('{"body": "x"}\n{"body": "y"}\n')
    with pytest.raises(InputError, match=r"c.json: line 1: has no text in a field 'text' .its fields are body."):
        texts(tmp_path)


def test_large_json_of_lines_is_cut_as_jsonl_is(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(JSONL)
    [source] = find_sources([tmp_path / "a.json"])
    assert len(cut_source(source, 4_096, DatasetChoice())) >= 4
    assert [d.text for d in documents(tmp_path / "a.json", at_most=4_096)] == TEXTS


HOSTILE_LINES = [
    (b'{"text": "a\\u0000b", "meta": "x\\ud800"}', "a\0b", "x\ufffd"),
    (b'\xef\xbb\xbf{"text": "bom", "meta": [1e400, "\\udfff"]}\r', "bom", '[Infinity, "\\udfff"]'),
    (b'{"text": "\\ud83d\\ude00", "meta": 18446744073709551616}', "\U0001f600", "18446744073709551616"),
    (b'{"text": "", "meta": [-9223372036854775809]}', "", "[-9223372036854775809]"),
]


def test_hostile_lines_that_are_right(tmp_path: Path) -> None:
    """Together, and each as the only one of a file: what is read with it makes no difference."""
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(line for line, _, _ in HOSTILE_LINES))
    assert [(d.text, d.meta) for d in documents(path, meta="meta")] == [(text, meta) for _, text, meta in HOSTILE_LINES]
    for line, text, meta in HOSTILE_LINES:
        path.write_bytes(line)
        assert [(d.text, d.meta) for d in documents(path, meta="meta")] == [(text, meta)]


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": 1}', b'{"text": ["a"]}', b'{"text": null}', b"[]", b"1", b'"text"', b'{"text": "a', b"\0", b"\xff",
        b"[" * 100_000, b'{"text": "a", "meta": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 5_000 + b"}",
        b'{"text": "a\nb"}', b"{'text': 'a'}",
    ],
    ids=lambda line: str(line[:20]),
)  # fmt: skip
def test_hostile_lines_are_one_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n' + line + b"\n")
    with pytest.raises(InputError, match=r"a.jsonl: line 2: ") as caught:
        list(documents(path, meta="meta"))
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.binary()
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.fixed_dictionaries({"text": st.text() | JSON, "meta": JSON}).map(lambda value: json.dumps(value).encode())
    )
)
def test_any_lines_are_documents_or_one_line(tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]) -> None:
    """What Python's own parser takes for an object with a text is a document; of anything else the line is named."""
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    path.write_bytes(b"\n".join(lines))
    found, error = None, ""
    try:
        found = texts(path)
    except InputError as raised:
        error = str(raised)
    if found is None:
        assert re.search(r"a\.jsonl: (line [0-9]+: |.*no field)", error)
        assert "\n" not in error
        return
    read = [json.loads(line) for line in path.read_bytes().split(b"\n") if line.strip()]
    assert found == [one["text"].encode("utf-16", "surrogatepass").decode("utf-16", "replace") for one in read]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_columns_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    column = pa.array(["a", "b", "a", "na\u00efve"]).cast(kind)
    pq.write_table(pa.table({"text": column, "meta": column}), path)
    assert [(d.text, d.meta) for d in documents(path, meta="meta")] == [(t, t) for t in ("a", "b", "a", "na\u00efve")]


@pytest.mark.parametrize(
    "kind", [pa.int64(), pa.binary(), pa.list_(pa.string()), pa.null(), pa.struct({"a": pa.string()})]
)
def test_columns_of_anything_else(tmp_path: Path, kind: pa.DataType) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.nulls(2, kind)}), path)
    with pytest.raises(InputError, match=r"a.parquet: has no text column 'text' .its columns are text."):
        texts(path)


def test_a_field_that_documents_lack_is_said(
    tmp_path: Path, demo_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "set": "x"}\n{"text": "b"}\n{"text": "c"}\n')
    tc.tokenize(tmp_path / "a.jsonl", tmp_path / "s1", str(demo_data), tc.TokenizeSettings(meta="set"))
    assert "2 of 3 documents do not have the field 'set' that --meta names" in capfd.readouterr().err
    tc.tokenize(tmp_path / "a.jsonl", tmp_path / "s2", str(demo_data), tc.TokenizeSettings(meta="sett"))
    assert "no document has the field 'sett' that --meta names" in capfd.readouterr().err
    (tmp_path / "in").mkdir()
    (tmp_path / "in/b.json").write_text('{"name": 1}')
    tc.tokenize(tmp_path / "in", tmp_path / "s3", str(demo_data))
    assert "1 .json files have no text in a field 'text' and were taken as texts" in capfd.readouterr().err


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst", ".xz", ".bz2"])
@pytest.mark.parametrize("last", ["", "\n"])
def test_lines_beyond_the_limit(tmp_path: Path, suffix: str, last: str) -> None:
    """Of one block and of several: the others are read, and numbered rightly."""
    texts = ["one", "x" * 7_000_000, "three", "y" * 3_000, "five", "z" * 5_000_000]
    raw = ("\n".join(json.dumps({"text": text}) for text in texts) + last).encode()
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(COMPRESS[suffix](raw) if suffix else raw)
    problems = Problems("skip")
    found = list(documents(path, problems=problems, max_document=2_000))
    assert [(document.text, document.place) for document in found] == [("one", 1), ("three", 3), ("five", 5)]
    assert problems.skipped == 3
    assert f"{path}: line 2: has more bytes than --max-document, which is 0.002MB" in problems.messages[0]
    assert "document 4: has 3,000 characters, more than --max-document" in problems.messages[1]
    assert "line 6:" in problems.messages[2]
    with pytest.raises(InputError, match=r"line 2: .* raise it if there is memory, or leave .* with --on-error skip"):
        list(documents(path, max_document=2_000))
    assert [document.text for document in documents(path)] == texts


def test_a_text_that_no_place_cuts(tmp_path: Path) -> None:
    """As a file that decompresses to any length: it is given up long before its end."""
    path = tmp_path / "a.txt.gz"
    path.write_bytes(gzip.compress(b"a" * 20_000_000))
    with pytest.raises(InputError, match=r"a.txt.gz: has [5-9],\d+,\d+ characters without a space .*more than 1/8 of"):
        list(documents(path, max_document=40_000_000))
    [document] = documents(path)
    assert document.text == "a" * 20_000_000


def test_a_long_text_that_turns_out_to_be_bad_ends(tmp_path: Path) -> None:
    """Where bad documents are left out, the pieces that have been handed on end, and are not glued to the next."""
    (tmp_path / "a.txt").write_bytes(b"word " * 2_000_000 + b"\xff")
    problems = Problems("skip")
    reading = Reading("text", None, lambda text: len(text) // 2, problems)
    [source] = find_sources([tmp_path / "a.txt"])
    batches = list(read_chunk(Chunk(source, source.n_bytes), reading))
    assert [batch.unfinished for batch in batches] == [True] * (len(batches) - 1) + [False]
    assert batches[-1].texts == [""]
    assert problems.skipped == 1
