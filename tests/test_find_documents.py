"""Which files are meant by a path, a folder, a pattern or a URL, and which are not."""

import gzip
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taskcatalog as tc
from read_documents import COMPRESS, JSONL, TEXTS, names, never, texts, write_parquet
from taskcatalog.documents.batch import Problems, Reading
from taskcatalog.documents.find import find_sources
from taskcatalog.documents.formats import read_chunk
from taskcatalog.documents.names import name_in_index, name_of_file
from taskcatalog.documents.source import Chunk
from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, locate


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


def archives(folder: Path) -> list[Path]:
    (folder / "in.txt").write_text("inside")
    for suffix, mode in ((".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz")):
        with tarfile.open(folder / f"a{suffix}", mode) as tar:  # type: ignore[call-overload]
            tar.add(folder / "in.txt", "in.txt")
    with zipfile.ZipFile(folder / "a.zip", "w") as zipped:
        zipped.write(folder / "in.txt", "in.txt")
    (folder / "a.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(30))
    return sorted(path for path in folder.iterdir() if path.stem != "in")


def test_archives_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = archives(tmp_path)
    assert len(found) == 6
    for path in found:
        with pytest.raises(InputError, match=r"is an archive, which is no text: unpack it"):
            find_sources([path])
    assert names([tmp_path]) == ["in.txt"]
    assert re.search(r"6 files, the first of them .*a.7z, are left out: unpack archives", capfd.readouterr().err)
    for path in (tmp_path / "a.tar", tmp_path / "a.zip", tmp_path / "a.7z"):  # under another name
        path.rename(tmp_path / "b.txt")
        with pytest.raises(InputError, match=r"b.txt: is an archive, which is no text: unpack it"):
            texts(tmp_path / "b.txt")
    (tmp_path / "a.tar.gz").rename(tmp_path / "c.gz")
    with pytest.raises(InputError, match=r"c.gz: is an archive.*it is a tar"):
        texts(tmp_path / "c.gz")
    for suffix, compress in COMPRESS.items():
        (tmp_path / "d.txt").write_bytes(compress(b"text"))
        with pytest.raises(InputError, match=rf"d.txt: is compressed: give it a name that ends in {suffix}"):
            texts(tmp_path / "d.txt")
    (tmp_path / "d.txt").write_text("BZh, PK and 7z are letters, " + "ustar " * 100)
    assert len(texts(tmp_path / "d.txt")) == 1


def test_links(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Left out and said; followed if asked, each file once, circles too."""
    folder, outside = tmp_path / "in", tmp_path / "out"
    for path in (folder / "a.txt", folder / "sub/b.txt", outside / "c.txt", outside / "d.txt"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(path.name)
    for link, target in {
        "again.txt": folder / "a.txt", "circle": folder, "sub/up": tmp_path, "e.txt": outside / "c.txt",
        "nowhere": tmp_path / "nowhere", "z": outside,
    }.items():  # fmt: skip
        (folder / link).symlink_to(target)
    assert names([folder]) == ["a.txt", "b.txt"]
    assert re.search(r"6 files, the first of them .* are left out: --follow-links", capfd.readouterr().err)
    followed = find_sources([folder], follow_links=True)
    assert sorted(Path(s.name).resolve().name for s in followed) == ["a.txt", "b.txt", "c.txt", "d.txt"]
    assert find_sources([folder], follow_links=True) == followed
    assert names([folder / "again.txt"]) == ["again.txt"]  # who names a link means what it points to
    assert names([folder / "z"]) == ["c.txt", "d.txt"]


def test_what_is_given_twice_is_taken_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text(name)
    given: list[str | Path] = [
        tmp_path / "a.txt",
        f"{tmp_path}/*.txt",
        tmp_path,
        f"{tmp_path}/../{tmp_path.name}/a.txt",
    ]
    assert names([*given]) == ["a.txt", "b.txt"]
    assert "4 files, the first of them" in capfd.readouterr().err


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(InputError, match="is a pipe, a socket or a device"):
            find_sources([name])
    (tmp_path / "a.txt").write_text("a")
    assert texts(tmp_path) == ["a"]  # the pipe is passed over
    [source] = find_sources([tmp_path])
    (tmp_path / "a.txt").unlink()
    with pytest.raises(InputError, match=r"a.txt: cannot be read: No such file"):
        list(read_chunk(Chunk(source, 1), Reading("text", None, never, Problems())))
    for name in ("a\0b", "a\ud800"):
        with pytest.raises(InputError, match="is no name of a file"):
            find_sources([name])


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_files_that_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "sub").mkdir()
    script = """if True:
        import os, sys
        from taskcatalog.documents.find import find_sources
        from taskcatalog.documents.text import read_text
        from taskcatalog.documents.batch import Problems, Reading
        from taskcatalog.errors import InputError
        os.setuid(65534)
        for name in sys.argv[1:]:
            try:
                for source in find_sources([name]):
                    print(list(read_text(source, Reading("text", None, len, Problems()))))
            except InputError as error:
                print(error)
    """
    for path, mode in ((tmp_path, 0o755), (tmp_path / "a.txt", 0o600), (tmp_path / "sub", 0o700)):
        path.chmod(mode)
    for path in list(tmp_path.parents)[:3]:
        path.chmod(0o755)
    command = [sys.executable, "-c", script, str(tmp_path / "a.txt"), str(tmp_path / "sub")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    assert said[0].endswith("a.txt: cannot be read: Permission denied")
    assert said[1].endswith("sub/index.json: cannot be read: Permission denied")


NAMES = [b"caf\xe9.txt", b"\x1b[31m.txt", b"\xff\xfe", b"a%20b.txt", "\u202egpj.txt".encode(), b"new\nline.txt"]


def test_names_of_any_bytes(tmp_path: Path, demo_data: Path) -> None:
    """From the disk to the index of documents and back to the file."""
    for i, name in enumerate(NAMES):
        (tmp_path / "in").mkdir(exist_ok=True)
        Path(os.fsdecode(os.fsencode(tmp_path / "in") + b"/" + name)).write_text(f"number {i}")
    tc.tokenize(tmp_path / "in", tmp_path / "store", str(demo_data))
    tc.tokenize(tmp_path / "in", tmp_path / "store", str(demo_data))  # is complete
    assert tc.verify(tmp_path / "store") == []
    [index] = (tmp_path / "store/documents").iterdir()
    indexed = pq.read_table(index)["source"].to_pylist()
    assert sorted(Path(name_of_file(name)).read_text() for name in indexed) == [
        f"number {i}" for i in range(len(NAMES))
    ]
    assert sum(name.startswith("file:") for name in indexed) == 2
    assert any(name.endswith("/caf%E9.txt") for name in indexed)


@given(st.binary(min_size=1, max_size=20).filter(lambda raw: b"\0" not in raw))
def test_names_go_there_and_back(raw: bytes) -> None:
    for name in (os.fsdecode(raw), "file:" + os.fsdecode(raw)):
        indexed = name_in_index(name)
        indexed.encode()
        assert name_of_file(indexed) == name
