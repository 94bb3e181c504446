"""Hostile input for every parser: real files with something wrong in them, and options with what nobody should type.

A target is a real file and the command that reads it. Each input is the file after one to three changes of any kind;
the number of an input is the seed of all its chance. The command must end in time, within the memory, without a
traceback, and either well or with one line and exit code 2. Where the format has a checksum of its content (gzip, xz,
bzip2), ending well means the answer of the unharmed file.
"""

import itertools
import json
import random
import shutil
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np

from faults.commands import Server
from faults.damage import SUBJECTS
from faults.stages import TOKENIZER, World, compressed_texts, tree
from taskcatalog.cli import main

SECONDS = 20.0


@dataclass(frozen=True)
class Target:
    """A file to harm, and who reads it."""

    name: str
    make: Callable[[World, Path, Server], str]
    """Makes a folder of files, and returns which is harmed."""
    command: Callable[[World, Path, Path], list[object]]
    """For the world, the folder, and a place for what it makes."""
    checksum: bool = False
    weight: int = 1
    """How many inputs it gets beside others."""


@dataclass(frozen=True)
class Input:
    target: str
    seed: int

    def __str__(self) -> str:
        return f"python -m faults hostile {self.target} --seed {self.seed}"


@dataclass(frozen=True)
class Verdict:
    input: Input
    problem: str | None


# --- files -------------------------------------------------------------------------------------------------------


def _document(kind: str) -> Target:
    def make(world: World, place: Path, _: Server) -> str:
        shutil.copy(compressed_texts(world, place.with_name("texts"))[kind], place / f"x.{kind}")
        return f"x.{kind}"

    return Target(
        f"documents.{kind}",
        make,
        lambda world, place, out: world.tokenize(out / "store", texts=place / f"x.{kind}"),
        checksum=kind in ("jsonl.gz", "jsonl.xz", "jsonl.bz2"),
        weight=2 if kind in ("jsonl", "parquet") else 1,
    )


def _ids(subject: str, file: str, weight: int = 1) -> Target:
    """A file of a subject of ``damage``, and the first command that is asked of it."""

    def make(world: World, place: Path, server: Server) -> str:
        SUBJECTS[subject].make(world, place, server)
        return str(next(path for path in sorted(place.rglob(file)) if path.is_file()).relative_to(place))

    def command(world: World, place: Path, out: Path) -> list[object]:
        return SUBJECTS[subject].ask(world, place, out)[0]

    return Target(f"{subject}.{file.replace('*', '')}", make, command, weight=weight)


def _tokenizer(_w: World, place: Path, _: Server) -> str:
    shutil.copy(TOKENIZER / "tokenizer.json", place / "tokenizer.json")
    return "tokenizer.json"


def _config(_: World, place: Path, __: Server) -> str:
    (place / "c.yaml").write_text(
        "n: [2, 3]\nmin-prefix-count: 2\nmin-share: 0.5\nmemory: 100MB\nworkers: 1\nforce: no\n"
    )
    return "c.yaml"


def _mds_documents(world: World, place: Path, server: Server) -> str:
    server.must(*world.tokenize(place / "m", "--format", "mds", "--workers", 1))
    shutil.rmtree(place / "m.tokens")
    (place / "m/ledger.json").unlink()
    return "m/index.json"


TARGETS = {
    target.name: target
    for target in (
        *map(_document, ("jsonl", "jsonl.gz", "jsonl.zst", "jsonl.xz", "jsonl.bz2", "parquet", "txt")),
        Target(
            "mds.index.json",
            _mds_documents,
            lambda _, place, out: ["ngrams", place / "m", "--tokenizer", TOKENIZER, "--out", out / "c", "--workers", 1],
            weight=2,
        ),
        _ids("mds", "shard*"),
        _ids("megatron", "g.idx", 2),
        _ids("megatron", "g.bin"),
        _ids("datatrove", "d.ds.index"),
        _ids("datatrove", "d.ds.metadata"),
        _ids("datatrove", "d.ds"),
        _ids("flat", "f.bin"),
        _ids("store", "ledger.json"),
        _ids("store", "tokenizer.json"),
        _ids("store", "00000-00000.bin"),
        _ids("store", "*.parquet"),
        _ids("catalog", "catalog.json"),
        _ids("catalog", "ledger.json"),
        _ids("catalog", "*.parquet"),
        _ids("model", "config.json", 2),
        _ids("model", "model.safetensors"),
        Target(
            "tokenizer", _tokenizer, lambda w, p, o: ["tokenize", w.texts, "--tokenizer", p, "--out", o / "s"], weight=2
        ),
        Target(
            "config",
            _config,
            lambda w, p, o: ["ngrams", w.store, "--out", o / "c", "--config", p / "c.yaml"],
            weight=2,
        ),
    )
}


# --- changes to bytes --------------------------------------------------------------------------------------------

_WORDS = (
    b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"null", b"NaN", b"1e999", b"-1", b"18446744073709551616", b"[" * 5_000,
    b'{"a":' * 3_000, b'"', b"\\ud800", b"\n", b"\r", b"{}", b"[]", b"true", b"!!python/object:os.system", b"&a [*a]",
    b"9" * 5_000, b"../../../etc/passwd", b"\xe2\x80\xa8", b": ", b"%s%n", b"0" * 64,
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1)


def harmed(content: bytes, seed: int, is_json: bool) -> bytes:
    """The content after one to three changes that follow from the seed."""
    chance = random.Random(seed)
    changed = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        changes = [_bits, _span_away, _span_twice, _cut, _word, _number, _garbage]
        if is_json:
            changes += [_json_field] * 5
        chance.choice(changes)(changed, chance)
    return bytes(changed)


def _place(changed: bytearray, chance: random.Random) -> int:
    """Anywhere; as often near an end, where formats keep what they say of themselves."""
    if chance.random() < 0.5:
        return chance.randint(0, len(changed))
    near = min(len(changed), 200)
    return chance.choice((chance.randint(0, near), len(changed) - chance.randint(0, near)))


def _bits(changed: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 4)):
        if changed:
            changed[min(_place(changed, chance), len(changed) - 1)] ^= 1 << chance.randrange(8)


def _span_away(changed: bytearray, chance: random.Random) -> None:
    at = _place(changed, chance)
    del changed[at : at + chance.choice((1, 2, 4, 8, 100))]


def _span_twice(changed: bytearray, chance: random.Random) -> None:
    at = _place(changed, chance)
    changed[at:at] = changed[at : at + chance.choice((1, 4, 8, 100))]


def _cut(changed: bytearray, chance: random.Random) -> None:
    del changed[_place(changed, chance) :]


def _word(changed: bytearray, chance: random.Random) -> None:
    at = _place(changed, chance)
    word = chance.choice(_WORDS)
    changed[at : at + chance.choice((0, len(word)))] = word


def _number(changed: bytearray, chance: random.Random) -> None:
    size = chance.choice((1, 2, 4, 8))
    at = _place(changed, chance) // size * size
    number = chance.choice(_NUMBERS) % (1 << 8 * size)
    changed[at : at + size] = number.to_bytes(size, "little")


def _garbage(changed: bytearray, chance: random.Random) -> None:
    at = _place(changed, chance)
    garbage = chance.randbytes(chance.choice((1, 8, 64)))
    changed[at : at + len(garbage)] = garbage


_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 2**31, 2**63, 2**64, 1e308, float("nan"), "", "x", "\ud800", "../x", [], {}, [[]], {"a": 1},
    [None] * 100, "zstd", "uint8", "ndarray:int32:0", "x" * 10_000,
)  # fmt: skip


def _json_field(changed: bytearray, chance: random.Random) -> None:
    """A field, wherever in it, gets another value, goes, or comes twice."""
    try:
        content = json.loads(changed)
    except (ValueError, RecursionError):
        return _bits(changed, chance)
    holder, key = content, None
    while isinstance(holder, dict | list) and holder:
        inner = chance.choice(sorted(holder) if isinstance(holder, dict) else range(len(holder)))
        if key is not None and chance.random() < 0.4:
            break
        parent, key = holder, inner
        holder = holder[inner]
    if key is None:
        return _bits(changed, chance)
    if chance.random() < 0.2:
        del parent[key]
    else:
        parent[key] = chance.choice(_VALUES)
    changed[:] = json.dumps(content).encode()
    return None


# --- options -----------------------------------------------------------------------------------------------------

_TYPED = (
    "", " ", "-1", "0", "1", "1.5", "-0.0", "1e999", "nan", "inf", "99999999999999999999", "0x10", "\uff11", "1_0",
    "8GB", "-8GB", "1e9GB", "0B", "x" * 5_000, "💥", "a\nb", "'; DROP TABLE x", "../x", "s3://", "http://[", "hf://x",
    "zstd:99", "zstd:", ":", "cuda:99", "a,b,,c", "%s", "$HOME", "[", "*", "none", "null", "true",
)  # fmt: skip
_NOT_TYPED = {"force", "help", "config"}
_COMMANDS = ("tokenize", "convert", "ngrams", "predict", "scan", "sql", "complete", "duckdb", "verify")


def typed(world: World, place: Path, seed: int) -> list[object]:
    """A command that is right but for one or two of its options or arguments."""
    chance = random.Random(seed)
    name = chance.choice(_COMMANDS)
    shutil.copytree(world.counted, place / "c", dirs_exist_ok=True)
    right: dict[str, list[object]] = {
        "tokenize": world.tokenize(place / "store"),
        "convert": ["convert", world.store, "--format", "mds", "--out", place / "m"],
        "ngrams": world.ngrams(place / "new"),
        "predict": world.predict(place / "c"),
        "scan": world.scan(place / "c"),
        "sql": ["sql", place / "c", "SELECT count(*) FROM bigrams"],
        "complete": ["complete", place / "c", "if "],
        "duckdb": ["duckdb", place / "c", "--out", place / "c.duckdb"],
        "verify": ["verify", place / "c"],
    }
    command = right[name]
    for _ in range(chance.randint(1, 2)):
        options = [
            parameter
            for parameter in main.commands[name].params
            if isinstance(parameter, click.Option) and not parameter.is_flag and parameter.name not in _NOT_TYPED
        ]
        if options and chance.random() < 0.85:
            option = chance.choice(options)
            command = [*command, option.opts[0], chance.choice(_TYPED)]
        else:
            at = chance.randrange(1, len(command))
            command = [*command[:at], chance.choice(_TYPED), *command[at + 1 :]]
    return command


# --- what comes of it --------------------------------------------------------------------------------------------


@dataclass
class Tormentor:
    """Gives hostile inputs to the reader of one target. May be used by several threads."""

    world: World
    target: Target
    folder: Path
    _number: "itertools.count[int]" = field(default_factory=itertools.count)
    _file: str = ""
    _answer: str = ""

    def begin(self, server: Server) -> None:
        self._whole.mkdir(parents=True)
        self._file = self.target.make(self.world, self._whole, server)
        place, out = self._copy()
        ended = server.run(self.target.command(self.world, place, out))
        assert ended.problem() is None, f"{self.target.name}: {ended.problem()}"
        self._answer = _tables(out)
        shutil.rmtree(place.parent)

    def torment(self, given: Input, server: Server) -> Verdict:
        place, out = self._copy()
        try:
            path = place / self._file
            content = path.read_bytes()
            seed = zlib.crc32(f"{given.target} {given.seed}".encode())
            path.write_bytes(harmed(content, seed, is_json=path.suffix == ".json"))
            ended = server.run(self.target.command(self.world, place, out), seconds=SECONDS)
            problem = ended.problem((0, 2))
            if not problem and not ended.code and self.target.checksum and _tables(out) != self._answer:
                problem = "another answer, though the format has a checksum"
            return Verdict(given, problem and problem.replace(str(place), "…"))
        finally:
            shutil.rmtree(place.parent)

    @property
    def _whole(self) -> Path:
        return self.folder / "whole"

    def _copy(self) -> tuple[Path, Path]:
        place = self.folder / f"case-{next(self._number)}" / "w"
        shutil.copytree(self._whole, place)
        out = place.with_name("out")
        out.mkdir()
        return place, out


OPTIONS = "options"


def torment_options(world: World, folder: Path, given: Input, server: Server) -> Verdict:
    place = folder / f"options-{given.seed}"
    place.mkdir(parents=True)
    try:
        command = typed(world, place, given.seed)
        ended = server.run(command, seconds=SECONDS, folder=place)
        if problem := ended.problem((0, 1, 2)):
            said = " ".join(str(word)[:60] for word in command).replace(str(place), "…")
            return Verdict(given, f"{problem} ({said})")
        return Verdict(given, None)
    finally:
        shutil.rmtree(place)


def inputs(n: int) -> list[Input]:
    """``n`` inputs or a few more, shared among all targets; an eighth of them are options."""
    total = sum(target.weight for target in TARGETS.values())
    share = n * 7 / 8 / total
    made = [Input(name, i) for name, target in TARGETS.items() for i in range(int(np.ceil(share * target.weight)))]
    return [*made, *(Input(OPTIONS, i) for i in range(n // 8))]


def _tables(out: Path) -> str:
    """What was made, without the ledgers: they name the size of what was read."""
    return json.dumps({name: digest for name, digest in tree(out).items() if not name.endswith("ledger.json")})


__all__: Sequence[str] = ["OPTIONS", "TARGETS", "Input", "Tormentor", "Verdict", "harmed", "inputs", "torment_options"]
