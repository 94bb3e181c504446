"""Source files of every kind, whole and damaged, against the libraries that write them."""

import bz2
import gzip
import json
import lzma
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from taskcatalog.corpus.documents.batch import Problems, Reading
from taskcatalog.corpus.documents.find import find_sources
from taskcatalog.corpus.documents.stretches import DatasetChoice, cut_source, read_stretch
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, locate

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


@dataclass
class Document:
    text: str
    source: str
    place: int
    meta: str | None


def never(_: str) -> None:
    """No text here is so long that it would be cut."""


def documents(
    path: Path | str,
    field: str = "text",
    at_most: int = 1 << 30,
    meta: str | None = None,
    problems: Problems | None = None,
) -> Iterator[Document]:
    """All documents of a source, stretch by stretch."""
    choice = DatasetChoice()
    reading = Reading(field, meta, never, problems or Problems())
    for source in find_sources([path]):
        for stretch in cut_source(source, at_most, choice):
            for batch in read_stretch(stretch, reading, choice):
                for text, place, kept in zip(batch.texts, batch.places, batch.metas, strict=True):
                    yield Document(text, batch.source, place, kept)


def texts(path: Path | str, field: str = "text") -> list[str]:
    return [document.text for document in documents(path, field)]


def names(given: list[str | Path]) -> list[str]:
    return [Path(source.name).name for source in find_sources(given)]


def write_parquet(path: Path) -> Path:
    pq.write_table(pa.table({"id": range(len(TEXTS)), "text": TEXTS}), path, row_group_size=100)
    return path


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
def test_stretches_of_a_file(tmp_path: Path, at_most: int) -> None:
    """However a file is cut, it has the same documents with the same places."""
    lines = tmp_path / "a.jsonl"
    lines.write_bytes(JSONL + b'\n\n{"text": "last, without an end"}')
    rows = write_parquet(tmp_path / "a.parquet")
    for path in (lines, rows):
        whole = list(documents(path))
        assert list(documents(path, at_most=at_most)) == whole
    [source] = find_sources([lines])
    stretches = cut_source(source, 4_096, DatasetChoice())
    assert len(stretches) >= 4
    assert sum(stretch.n_bytes for stretch in stretches) == lines.stat().st_size


def test_a_folder_gives_its_text_files(tmp_path: Path) -> None:
    for name, content in {"b.txt": b"b", "a/c.py": b"c", "d.png": b"\x89\0\0", ".git/e": b"e", ".hidden": b"f"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert names([tmp_path]) == ["c.py", "b.txt", "d.png"]
    assert texts(tmp_path) == ["c", "b"], "the rest is no text"


def test_patterns(tmp_path: Path) -> None:
    for name in ("a-1.jsonl", "a-0.jsonl", "b.jsonl", "deep/er/a-2.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(JSONL)
    assert names([f"{tmp_path}/a-*.jsonl"]) == ["a-0.jsonl", "a-1.jsonl"]
    assert names([f"{tmp_path}/**/a-?.jsonl"]) == ["a-0.jsonl", "a-1.jsonl", "a-2.jsonl"]
    (tmp_path / "[x].jsonl").write_bytes(JSONL)
    assert names([tmp_path / "[x].jsonl"]) == ["[x].jsonl"]  # a file of that name is no pattern
    with pytest.raises(InputError, match=r"c\*.jsonl: matches no file"):
        find_sources([f"{tmp_path}/c*.jsonl"])


def test_kinds_of_files(tmp_path: Path) -> None:
    for name in ("a.json", "a.json.gz", "a.ndjson", "a.PARQUET", "a.md", "a.jsonl.zst"):
        (tmp_path / name).write_bytes(b"x")
    kinds = {Path(source.name).name: source.kind for source in find_sources([tmp_path])}
    assert kinds == {
        "a.json": "json", "a.json.gz": "json", "a.ndjson": "jsonl", "a.PARQUET": "parquet", "a.md": "text",
        "a.jsonl.zst": "jsonl",
    }  # fmt: skip


@pytest.fixture
def remote() -> Iterator[AnyPath]:
    """A folder behind a URL."""
    folder = locate("memory://corpus")
    assert not isinstance(folder, Path)
    yield folder
    folder.fs.rm("/", recursive=True)


def test_behind_a_url(remote: AnyPath, tmp_path: Path) -> None:
    content = {f"a.jsonl{suffix}": compress(JSONL) for suffix, compress in COMPRESS.items()}
    content |= {"b.jsonl": JSONL, "sub/c.parquet": write_parquet(tmp_path / "c.parquet").read_bytes()}
    for name, raw in content.items():
        (remote / name).parent.mkdir(parents=True, exist_ok=True)
        (remote / name).write_bytes(raw)
    (remote / "d.png").write_bytes(b"\x89\0")
    (remote / "e.txt").write_bytes(b"a text")
    for name in content:
        assert texts(f"memory://corpus/{name}") == TEXTS
    assert names(["memory://corpus"]) == [*sorted(name for name in content if "/" not in name), "e.txt", "c.parquet"]
    assert names(["memory://corpus/a.jsonl.*z*"]) == ["a.jsonl.bz2", "a.jsonl.gz", "a.jsonl.xz", "a.jsonl.zst"]
    assert len(texts("memory://corpus")) == len(content) * len(TEXTS) + 1
    with pytest.raises(InputError, match=r"memory://corpus/none.txt: does not exist"):
        find_sources(["memory://corpus/none.txt"])
    with pytest.raises(InputError, match="nothing here reads nowhere://"):
        find_sources(["nowhere://a/b.txt"])


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the client's connections, at the end
def test_over_http(tmp_path: Path) -> None:
    """From a web server that knows nothing of ranges."""
    (tmp_path / "a.jsonl").write_bytes(JSONL)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(JSONL))
    write_parquet(tmp_path / "b.parquet")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            url = f"http://127.0.0.1:{server.server_address[1]}"
            for name in ("a.jsonl", "a.jsonl.gz", "b.parquet"):
                assert texts(f"{url}/{name}") == TEXTS
            with pytest.raises(InputError, match=r"c.jsonl: does not exist"):
                find_sources([f"{url}/c.jsonl"])
        finally:
            server.shutdown()
            thread.join()


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
