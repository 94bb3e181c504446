"""Stores behind ``s3://``, on a server of that protocol, also through connections that are cut in mid-body."""

import gzip
import hashlib
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import boto3  # type: ignore[import-untyped]
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs  # type: ignore[import-untyped]
from moto.server import ThreadedMotoServer
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

import taskcatalog as tc
from faults.kills import command, kill_once
from helpers import answer, refusal, tree
from taskcatalog.errors import InputError

N_IDS = 3_000


class CuttingProxy:
    """Hands connections on to a server, and cuts each third one once it has carried some bytes."""

    def __init__(self, host: str, port: int, cut_after: int | None) -> None:
        self._target, self._cut_after = (host, port), cut_after
        self._lock, self.n_cut = Lock(), 0
        self._threads: list[Thread] = []
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    def close(self) -> None:
        with self._lock:
            for end in (self._listener, *self._open):
                hang_up(end)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, do: Callable[..., None], *given: object) -> Thread:
        thread = Thread(target=do, args=given)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):  # at the end
            for number in count(1):
                client, _ = self._listener.accept()
                self._start(self._serve, client, self._cut_after is not None and number % 3 == 0)

    def _serve(self, client: socket.socket, doomed: bool) -> None:
        with client, socket.create_connection(self._target) as server:
            with self._lock:
                self._open |= {client, server}
            answers = self._start(self._carry, server, client, doomed)
            self._carry(client, server, doomed)
            answers.join()
            with self._lock:
                self._open -= {client, server}

    def _carry(self, source: socket.socket, sink: socket.socket, doomed: bool) -> None:
        carried = 0
        with suppress(OSError):
            while block := source.recv(8_192):
                carried += len(block)
                if doomed and carried > (self._cut_after or 0):
                    with self._lock:
                        self.n_cut += 1
                    break
                sink.sendall(block)
        hang_up(source)
        hang_up(sink)


def hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def server() -> Iterator[ThreadedMotoServer]:
    running = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def proxy(
    server: ThreadedMotoServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CuttingProxy]:
    """What this process and its commands take for S3."""
    running = CuttingProxy(*server.get_host_and_port(), getattr(request, "param", None))
    for name, value in {
        "AWS_ENDPOINT_URL_S3": running.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield running
    s3fs.S3FileSystem.clear_instance_cache()
    running.close()


@pytest.fixture
def bucket(server: ThreadedMotoServer, proxy: CuttingProxy) -> Iterator[Any]:
    """A new bucket, as one sees it who does not come through the proxy."""
    direct = boto3.resource("s3", endpoint_url="http://{}:{}".format(*server.get_host_and_port()))
    assert proxy.url  # it set the keys
    made = direct.create_bucket(Bucket="bucket")
    yield made
    made.objects.all().delete()
    made.delete()


def remote_tree(bucket: Any, prefix: str) -> dict[str, str]:
    """As ``tree``, of what is in the bucket."""
    found = {file.key.removeprefix(f"{prefix}/"): file.get()["Body"].read() for file in bucket.objects.all()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in sorted(found.items())}


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat file with its tokenizer beside it."""
    folder = tmp_path_factory.mktemp("flat")
    Tokenizer(WordLevel({"<|endoftext|>": 0, "x": N_IDS - 1}, "x")).save(str(folder / "tokenizer.json"))
    ids = np.random.default_rng(3).zipf(1.3, 1_500_300) % N_IDS
    ids.astype("<u2").tofile(folder / "a.bin")
    return folder / "a.bin"


def arguments(flat: Path) -> list[object]:
    options = ["--tokenizer", flat.with_name("tokenizer.json"), "--sequence-length", 1_000, "--workers", 2]
    return ["convert", flat, "--format", "mds", *options, "--size-limit", "200KB"]


def sequences_of(path: str | Path) -> tuple[list[int], list[int]]:
    store = tc.open_store(path)
    read = store.read(0, store.n_sequences)
    return read.tokens.tolist(), read.ends.tolist()


@pytest.mark.parametrize("proxy", [60_000], indirect=True)
def test_connections_that_are_cut(flat: Path, tmp_path: Path, proxy: CuttingProxy, bucket: Any) -> None:
    given = arguments(flat)
    answer(*given, "--out", tmp_path / "here")
    staged = ["--out", "s3://bucket/there", "--staging", tmp_path / "staging"]
    for _ in range(2):
        subprocess.run(command(*given, *staged), check=True, capture_output=True)
        assert remote_tree(bucket, "there") == tree(tmp_path / "here")
    cut_while_writing = proxy.n_cut
    assert cut_while_writing >= 1
    assert sequences_of("s3://bucket/there") == sequences_of(tmp_path / "here")
    assert proxy.n_cut > cut_while_writing, "some while reading, too"


@pytest.mark.slow
def test_kills(flat: Path, tmp_path: Path, bucket: Any) -> None:
    """What a kill leaves behind the URL is whole files, and no store until all are there."""
    given = arguments(flat)
    answer(*given, "--out", tmp_path / "here")
    expected, whole = tree(tmp_path / "here"), sequences_of(tmp_path / "here")
    writing = command(*given, "--out", "s3://bucket/there", "--staging", tmp_path / "staging")
    kills = 0
    while killed_after_files(writing, bucket, 8):
        kills += 1
        there = remote_tree(bucket, "there")
        assert "ledger.json" not in there or there == expected
        assert all(expected[name] == digest for name, digest in there.items())
        if "index.json" in there:
            assert {name for name in expected if not name.endswith(".json")} <= there.keys()
        elif "ledger.json" not in there:
            s3fs.S3FileSystem.clear_instance_cache()  # with what it remembers of the folder
            with pytest.raises(InputError, match="s3://bucket/there"):
                tc.open_store("s3://bucket/there")
    assert kills >= 1
    assert remote_tree(bucket, "there") == expected
    s3fs.S3FileSystem.clear_instance_cache()
    assert sequences_of("s3://bucket/there") == whole


def killed_after_files(writing: list[str], bucket: Any, n_files: int) -> bool:
    """Starts the command, kills it once so many more files are in the bucket; False if it ended first."""
    goal = len(list(bucket.objects.all())) + n_files
    return kill_once(writing, lambda: len(list(bucket.objects.all())) >= goal)


@pytest.mark.parametrize("proxy", [60_000], indirect=True)
def test_from_documents_to_counts(demo_data: Path, tmp_path: Path, proxy: CuttingProxy, bucket: Any) -> None:
    """Documents are read from there, tokens written and read there, and only the catalog is here."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = "".join(json.dumps({"text": f"import module_{i % 977}  # {i}\n" * 20}) + "\n" for i in range(2_000))
    (corpus / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode(), 1))
    (corpus / "b.jsonl").write_text(lines[: lines.index("\n", 300_000) + 1])
    pq.write_table(pa.table({"text": [f"row {i} " * 50 for i in range(3_000)]}), corpus / "c.parquet")
    for file in corpus.iterdir():
        bucket.upload_file(str(file), f"corpus/{file.name}")
    tokenizing = ["--tokenizer", demo_data, "--sequence-length", 500, "--workers", 2]
    staged = ["--out", "s3://bucket/store", "--staging", tmp_path / "staging"]
    answer("tokenize", corpus, *tokenizing, "--out", tmp_path / "here")
    subprocess.run(command("tokenize", "s3://bucket/corpus/*", *tokenizing, *staged), check=True)
    assert proxy.n_cut >= 1
    assert sequences_of("s3://bucket/store") == sequences_of(tmp_path / "here")
    assert tc.verify("s3://bucket/store") == []
    answer("ngrams", tmp_path / "here", "--out", tmp_path / "c1")
    subprocess.run(command("ngrams", "s3://bucket/store", "--out", tmp_path / "c2"), check=True)
    one, two = tree(tmp_path / "c1"), tree(tmp_path / "c2")
    assert one.keys() == two.keys()
    assert [name for name in one if one[name] != two[name]] == ["store.json"]  # which says where the store is


@pytest.mark.usefixtures("proxy")
def test_a_bucket_that_is_not_there(flat: Path, tmp_path: Path) -> None:
    line = refusal(*arguments(flat), "--out", "s3://nothing/there", "--staging", tmp_path / "staging")
    assert line.startswith("taskcatalog: s3://nothing/there/")
    assert line.endswith("cannot be written: s3://nothing does not exist: make it, or choose another")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("proxy")
@pytest.mark.parametrize("source", ["s3://nothing/*", "s3://nothing/x", "s3://bad bucket/*"])
def test_a_corpus_in_a_bucket_that_is_not_there(demo_data: Path, tmp_path: Path, source: str) -> None:
    assert source in refusal("tokenize", source, "--tokenizer", demo_data, "--out", tmp_path / "s")
