"""A tiny world to break things in, and a command for every stage.

The world is a folder that is made once and only read: texts (this Python's ``json`` package), the embedded tokenizer,
a small random model, and what each stage makes of them. A stage is a command with what has to be there before it.
"""

import bz2
import gzip
import hashlib
import inspect
import json
import json.decoder
import json.scanner
import lzma
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import taskcatalog.embedded
from faults.commands import Server
from faults.shim import Operation, Watch

TOKENIZER = Path(taskcatalog.embedded.__file__).parent / "data"
SEED = 20_231
"""Of all chance."""
_LONG = 300_000
LENGTH = 32
"""Tokens in a sequence."""
_SCAN = ("--label", "m", "--all-measures", "--min-probability", 0.2, "--min-divergence", 0.2, "--max-tokens", 400)
_MODEL = """
import sys
from pathlib import Path
from models import save_model
save_model("llama", Path(sys.argv[1]), int(sys.argv[2]))
"""


@dataclass(frozen=True)
class World:
    path: Path

    @property
    def texts(self) -> Path:
        return self.path / "texts"

    @property
    def many_texts(self) -> Path:
        """Enough for two worker processes."""
        return self.path / "many"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def long_ids(self) -> Path:
        """A flat file of more ids than the least memory counts at once."""
        return self.path / "long.bin"

    @property
    def counted(self) -> Path:
        """A catalog with n-grams only."""
        return self.path / "counted"

    @property
    def full(self) -> Path:
        """A catalog with n-grams, predictions and a scan."""
        return self.path / "full"

    def tokenize(self, out: Path, *more: object, texts: Path | None = None) -> list[object]:
        given = ["tokenize", texts or self.texts, "--tokenizer", TOKENIZER, "--sequence-length", LENGTH, "--out", out]
        return [*given, *(more or ("--workers", 1))]

    def ngrams(self, out: Path, *more: object) -> list[object]:
        return ["ngrams", self.store, "--out", out, "--workers", 1, "--min-prefix-count", 2, *more]

    def predict(self, catalog: Path, *more: object) -> list[object]:
        return ["predict", catalog, "--model", self.model, "--label", "m", *more]

    def scan(self, catalog: Path, *more: object) -> list[object]:
        return ["scan", self.store, "--model", self.model, "--out", catalog, *_SCAN, *more]


def json_sources() -> list[str]:
    """The texts of the world: functions and classes of this Python's ``json`` package."""
    return [inspect.getsource(module) for module in (json.scanner, json.decoder)]


def make_world(folder: Path, server: Server) -> World:
    world = World(folder)
    world.texts.mkdir(parents=True)
    scanner, decoder = json_sources()
    (world.texts / "a.txt").write_text(scanner)
    (world.texts / "b.jsonl").write_text("".join(json.dumps({"text": x}) + "\n" for x in decoder.split("\n\n")[:12]))
    world.many_texts.mkdir()
    for name in ("a.txt", "b.txt"):
        (world.many_texts / name).write_text((name + "\n") * 200_000)
    ids = np.random.default_rng(SEED).zipf(1.5, _LONG) % 300
    world.long_ids.write_bytes(ids.astype("<u2").tobytes())
    server.must(*world.tokenize(world.store))
    vocabulary_size = len(json.loads((TOKENIZER / "tokenizer.json").read_text())["model"]["vocab"]) + 64
    script = folder / "model.py"
    script.write_text(_MODEL)
    assert server.run([world.model, vocabulary_size], script=script).problem() is None
    server.must(*world.ngrams(world.counted))
    shutil.copytree(world.counted, world.full)
    server.must(*world.predict(world.full))
    server.must(*world.scan(world.full))
    return world


def compressed_texts(world: World, folder: Path) -> dict[str, Path]:
    """The texts of the world in every format that documents are read from."""
    folder.mkdir(parents=True)
    lines = (world.texts / "b.jsonl").read_bytes()
    made = {
        "jsonl": lines,
        "jsonl.gz": gzip.compress(lines, mtime=0),
        "jsonl.zst": pa.compress(lines, "zstd", asbytes=True),
        "jsonl.xz": lzma.compress(lines),
        "jsonl.bz2": bz2.compress(lines),
        "txt": (world.texts / "a.txt").read_bytes(),
    }
    for suffix, content in made.items():
        (folder / f"x.{suffix}").write_bytes(content)
    texts = [json.loads(line)["text"] for line in lines.splitlines()]
    pq.write_table(pa.table({"text": texts}), folder / "x.parquet")
    return {path.name.partition(".")[2]: path for path in sorted(folder.iterdir())}


@dataclass(frozen=True)
class Stage:
    """A command that writes, below a folder that is watched."""

    name: str
    before: Callable[[World, Path, Server], None]
    """Makes what has to be there in the watched folder."""
    command: Callable[[World, Path], list[object]]
    """The command, for the world and the watched folder."""
    once: bool = False
    """Whether it refuses a file that is there: then so does the same command again, where nothing was left to do."""


def _nothing(world: World, place: Path, _: Server) -> None:
    pass


def _counted(world: World, place: Path, _: Server) -> None:
    shutil.copytree(world.counted, place / "c")


def _full(world: World, place: Path, _: Server) -> None:
    shutil.copytree(world.full, place / "c")


def _store(world: World, place: Path, _: Server) -> None:
    shutil.copytree(world.store, place / "store")


def stopped(stage: str, after: float) -> Callable[[World, Path, Server], None]:
    """A stage that is killed when it has done so much of its operations."""

    def make(world: World, place: Path, server: Server) -> None:
        whole = place.with_name("to-count") / "w"
        n_operations = len(run(world, whole, server, 0))
        shutil.rmtree(whole.parent)
        run(world, place, server, int(after * n_operations))

    def run(world: World, work: Path, server: Server, at: int) -> list[Operation]:
        work.mkdir(parents=True, exist_ok=True)
        STAGES[stage].before(world, work, server)
        watch = Watch(work.with_name("watch"), work, "kill" if at else "pass", at)
        watch.prepare()
        ended = server.run(STAGES[stage].command(world, work), watch=watch)
        assert ended.code == (-9 if at else 0), f"{stage}: {ended.err}"
        return watch.operations()

    return make


_QUERY = "SELECT * FROM top_bigrams"
_KINDS = ("table", "csv", "json", "parquet")


def _count_spilled(world: World, place: Path) -> list[object]:
    given = ["--tokenizer", TOKENIZER, "--sequence-length", 64, "--memory", "1MB", "--workers", 1]
    return ["ngrams", world.long_ids, "--out", place / "c", *given]


def _ask(kind: str, _: World, place: Path) -> list[object]:
    return ["sql", place / "c", _QUERY, "--format", kind, "--out", place / "rows"]


def _convert(kind: str, world: World, place: Path) -> list[object]:
    small = ["--size-limit", "2KB"] if kind == "mds" else []
    return ["convert", world.store, "--format", kind, "--out", place / f"converted.{kind}", "--workers", 1, *small]


STAGES = {
    stage.name: stage
    for stage in (
        Stage("tokenize", _nothing, lambda w, p: w.tokenize(p / "store")),
        Stage("tokenize-mds", _nothing, lambda w, p: w.tokenize(p / "store", "--format", "mds", "--workers", 1)),
        Stage(
            "tokenize-two-workers",
            _nothing,
            lambda w, p: w.tokenize(p / "store", "--workers", 2, "--engine", "tokenizers", texts=w.many_texts),
        ),
        Stage(
            "tokenize-forced",
            _store,
            lambda w, p: w.tokenize(p / "store", "--workers", 1, "--separator", "both", "--force"),
        ),
        *(Stage(f"convert-{kind}", _nothing, partial(_convert, kind)) for kind in ("bin", "mds", "flat")),
        Stage("ngrams", _nothing, lambda w, p: w.ngrams(p / "c")),
        Stage("ngrams-spilled", _nothing, _count_spilled),
        Stage("ngrams-forced", _counted, lambda w, p: w.ngrams(p / "c", "-n", 2, "--force")),
        Stage(
            "ngrams-forced-half",
            stopped("ngrams-spilled", 0.5),
            lambda w, p: w.ngrams(p / "c", "-n", 2, "--force"),
        ),
        Stage("predict", _counted, lambda w, p: w.predict(p / "c")),
        Stage("scan", _counted, lambda w, p: w.scan(p / "c")),
        Stage("duckdb", _full, lambda _, p: ["duckdb", p / "c", "--out", p / "c.duckdb"], once=True),
        *(
            Stage(f"sql-{kind}", _counted, partial(_ask, kind), once=True)
            for kind in ("table", "csv", "json", "parquet")
        ),
    )
}


def tree(folder: Path) -> dict[str, str]:
    """Everything below a folder: the SHA-256 of each file, and which names are folders. Of the file that says where a
    catalog's store was, only that it is there: no two places are the same."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
        if path.name == "store.json" and path.is_file():
            kind = "location"
        found[str(path.relative_to(folder))] = kind
    return found


def difference(there: dict[str, str], expected: dict[str, str]) -> str | None:
    """How a tree is not the expected one, in one line."""
    parts = [
        f"{word} {', '.join(names[:4])}{' …' * (len(names) > 4)}"
        for word, names in (
            ("lacks", sorted(expected.keys() - there.keys())),
            ("has besides", sorted(there.keys() - expected.keys())),
            ("has other bytes in", sorted(name for name in expected.keys() & there if there[name] != expected[name])),
        )
        if names
    ]
    return "; ".join(parts) or None
