"""Damages files of every kind, and asks whether ``verify`` names them and no command gives another answer unsaid.

A subject is a folder with the commands that read it. Each damage is to one file of a fresh copy: cut in half or by one
byte, emptied, removed, replaced by a folder, a bit flipped, a byte added, swapped with a file of its kind, and where it
is JSON each field with a value of another type. Then

- ``verify`` must end with exit code 1 or 2 and name the file, where something in the subject tells (a checksum, or that
  the file is read at all);
- every reading command must give the answer it gives of the undamaged subject, or one line and exit code 1 or 2.
"""

import itertools
import json
import random
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from faults.commands import Server
from faults.shim import why_not
from faults.stages import STAGES, TOKENIZER, World, stopped, tree

_OTHERS: tuple[Any, ...] = (None, "x", -1, 2**70, 1.5, True, [], {})
"""Values of every JSON type, to stand where another one is expected."""


@dataclass(frozen=True)
class Subject:
    """Files of one kind, and what is asked of them."""

    name: str
    make: Callable[[World, Path, Server], None]
    """Makes them in a folder."""
    ask: Callable[[World, Path, Path], list[list[object]]]
    """The commands that read them, for the world, their folder, and a folder for what the commands make."""
    verify: Callable[[Path], list[object]] | None = None
    """The command that verifies them, if checksums are kept of all their content."""
    answers: bool = True
    """Whether another answer is wrong: not where nothing tells one content from another."""
    writes: bool = False
    """Whether the commands write to the folder itself: then their answer is what is in it, but for what was damaged."""
    spare: tuple[str, ...] = ()
    """Files that the others do not need: nothing has to tell of their loss."""


@dataclass(frozen=True)
class Damage:
    subject: str
    file: str
    how: str
    """As ``flip 3``: the name of a way, and the number of the try, from which all chance follows."""

    def __str__(self) -> str:
        return f"python -m faults damage {self.subject} --file {self.file} --how '{self.how}'"


@dataclass(frozen=True)
class Examined:
    damage: Damage
    problems: list[str]


# --- what is damaged ---------------------------------------------------------------------------------------------


def _verified(path: str) -> Callable[[Path], list[object]]:
    return lambda place: ["verify", place / path]


def _mds(world: World, place: Path, server: Server) -> None:
    server.must("convert", world.store, "--format", "mds", "--out", place / "m", "--workers", 1, "--size-limit", "2KB")


def _flat(world: World, place: Path, server: Server) -> None:
    server.must("convert", world.store, "--format", "flat", "--out", place / "f.bin", "--workers", 1)


def _megatron(_: World, place: Path, __: Server) -> None:
    ids = np.random.default_rng(3).integers(0, 4_000, 500).astype("<u2")
    lengths, starts = [100] * 5, [i * 200 for i in range(5)]
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, 8, len(lengths), len(lengths) + 1)
    arrays = [np.array(lengths, "<i4"), np.array(starts, "<i8"), np.arange(len(lengths) + 1, dtype="<i8")]
    (place / "g.bin").write_bytes(ids.tobytes())
    (place / "g.idx").write_bytes(head + b"".join(array.tobytes() for array in arrays))


def _datatrove(_: World, place: Path, __: Server) -> None:
    ids = np.random.default_rng(4).integers(0, 4_000, 500).astype("<u2")
    (place / "d.ds").write_bytes(ids.tobytes())
    (place / "d.ds.index").write_bytes(np.arange(100, 501, 100, dtype="<u8").tobytes())
    (place / "d.ds.metadata").write_text(f"tokenizer|2\n{len(ids)}\n500 tokens")


def _model(world: World, place: Path, _: Server) -> None:
    shutil.copytree(world.model, place / "model")


def _copied(name: str) -> Callable[[World, Path, Server], None]:
    def make(world: World, place: Path, _: Server) -> None:
        shutil.copytree(getattr(world, name), place / name)

    return make


_TABLES = ("tokens", "unigrams", "bigrams", "trigrams", "bigram_prefixes", "trigram_prefixes", "top_bigrams",
           "top_trigrams", "predictions", "scan_4", "measures_4")  # fmt: skip
_ALL_ROWS = " UNION ALL ".join(f"SELECT '{name}' AS name, count(*), bit_xor(hash(t)) FROM {name} t" for name in _TABLES)


def _ask_ids(path: str) -> Callable[[World, Path, Path], list[list[object]]]:
    given = ["--tokenizer", TOKENIZER, *(["--sequence-length", 32] if path != "m" else [])]
    return lambda _, place, out: [
        ["ngrams", place / path, *given, "--out", out / "c", "--workers", 1],
        ["convert", place / path, *given, "--out", out / "f", "--format", "flat", "--workers", 1],
    ]


def _ask_model(command: str, world: World, place: Path, _: Path) -> list[list[object]]:
    return [getattr(world, command)(place / "counted")]


def _ask_stage(stage: str) -> Callable[[World, Path, Path], list[list[object]]]:
    return lambda world, place, _: [STAGES[stage].command(world, place)]


SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(
            "store",
            _copied("store"),
            lambda _, place, out: [
                ["ngrams", place / "store", "--out", out / "c", "--workers", 1],
                ["convert", place / "store", "--out", out / "m", "--format", "mds", "--workers", 1],
            ],
            _verified("store"),
        ),
        Subject("mds", _mds, _ask_ids("m"), _verified("m"), spare=("m/ledger.json",)),
        Subject("flat", _flat, _ask_ids("f.bin"), answers=False),
        Subject("megatron", _megatron, _ask_ids("g.bin"), answers=False),
        Subject("datatrove", _datatrove, _ask_ids("d.ds"), answers=False),
        Subject(
            "catalog",
            _copied("full"),
            lambda _, place, __: [
                ["sql", place / "full", _ALL_ROWS, "--format", "csv"],
                ["complete", place / "full", "if "],
                ["sql", place / "full", "SELECT seq, sum_count, p_m FROM top_bigrams", "--format", "csv"],
            ],
            _verified("full"),
        ),
        *(
            Subject(
                f"asked-{command}", _copied("counted"), partial(_ask_model, command), _verified("counted"), writes=True
            )
            for command in ("predict", "scan")
        ),
        Subject(
            "model",
            _model,
            lambda world, place, out: [
                [
                    "scan",
                    world.store,
                    "--model",
                    place / "model",
                    "--out",
                    out / "c",
                    "--max-tokens",
                    64,
                    "--label",
                    "m",
                ]
            ],
            answers=False,
        ),
        *(
            Subject(f"stopped-{stage}", stopped(stage, after), _ask_stage(stage), writes=True)
            for stage, after in (
                ("tokenize", 0.6),
                ("ngrams-spilled", 0.5),
                ("predict", 0.6),
                ("scan", 0.6),
                ("convert-flat", 0.7),
                ("convert-mds", 0.7),
            )
        ),
    )
}


# --- how it is damaged -------------------------------------------------------------------------------------------


def _flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def _cut(path: Path, chance: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: chance.choice((len(content) // 2, len(content) - 1))])


def _empty(path: Path, _: random.Random) -> None:
    path.write_bytes(b"")


def _remove(path: Path, _: random.Random) -> None:
    path.unlink()


def _folder(path: Path, _: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _add(path: Path, chance: random.Random) -> None:
    path.write_bytes(path.read_bytes() + chance.randbytes(chance.choice((1, 2, 64))))


def _swap(path: Path, chance: random.Random) -> Any:
    """With another file of its kind whose content differs; none: like ``add``."""
    siblings = [
        other
        for other in sorted(_top_of(path).rglob(f"*{path.suffix}"))
        if other.is_file() and other != path and other.read_bytes() != path.read_bytes()
    ]
    if not siblings:
        return _add(path, chance)
    other = chance.choice(siblings)
    content = path.read_bytes()
    path.write_bytes(other.read_bytes())
    return other.write_bytes(content)


def _retype(path: Path, chance: random.Random) -> None:
    """One JSON field gets a value of another type; in a ledger the digest is made to fit, as by another program."""
    lines = path.read_bytes().splitlines() if path.suffix == ".jsonl" else [path.read_bytes()]
    at = chance.randrange(len(lines))
    content = json.loads(lines[at])
    places = list(_fields(content))
    holder, key = chance.choice(places)
    holder[key] = chance.choice([other for other in _OTHERS if type(other) is not type(holder[key])])
    lines[at] = json.dumps(content).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")


def _fields(content: Any) -> Iterator[tuple[Any, Any]]:
    items: Any = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(items):
        yield content, key
        if isinstance(value, dict | list):
            yield from itertools.islice(_fields(value), 40)


def _top_of(path: Path) -> Path:
    """The damaged copy that a file is in: a folder called ``damaged``."""
    return next(parent for parent in path.parents if parent.name == "damaged")


WAYS: dict[str, Callable[[Path, random.Random], Any]] = {
    "flip": _flip, "cut": _cut, "empty": _empty, "remove": _remove, "folder": _folder, "add": _add, "swap": _swap,
    "retype": _retype,
}  # fmt: skip
_TRIES = {"flip": 6, "cut": 2, "retype": 8}
"""How often a way is tried on a file; once, if it is not said."""


# --- what comes of it --------------------------------------------------------------------------------------------


@dataclass
class Examiner:
    """Damages the files of one subject. May be used by several threads."""

    world: World
    subject: Subject
    folder: Path
    _answers: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """What each command says and makes, of files that nothing happened to."""
    _given: dict[str, str] = field(default_factory=dict)
    _number: "itertools.count[int]" = field(default_factory=itertools.count)

    def begin(self, server: Server) -> None:
        self._whole.mkdir(parents=True)
        self.subject.make(self.world, self._whole, server)
        self._given = tree(self._whole)
        place, out = self._copy()
        if self.subject.verify is not None:
            ended = server.run(self.subject.verify(place))
            assert ended.problem() is None, f"{self.subject.name}: {ended.err}"
        for command in self.subject.ask(self.world, place, out):
            ended = server.run(command)
            assert ended.problem() is None, f"{self.subject.name}: {ended.problem()}"
            self._answers.append(self._answer(ended.out, place, out))
        shutil.rmtree(place.parent)

    def damages(self) -> list[Damage]:
        made = []
        for path in sorted(path for path in self._whole.rglob("*") if path.is_file()):
            for way in WAYS:
                if way == "retype" and not _is_json(path):
                    continue
                if path.stat().st_size == 0 and way in ("flip", "cut", "empty"):
                    continue
                name = str(path.relative_to(self._whole))
                made += [Damage(self.subject.name, name, f"{way} {i}") for i in range(_TRIES.get(way, 1))]
        return made

    def examine(self, damage: Damage, server: Server) -> Examined:
        place, out = self._copy()
        try:
            path = place / damage.file
            way, _, _ = damage.how.partition(" ")
            WAYS[way](path, random.Random(zlib.crc32(str(damage).encode())))
            if path.is_file() and _same(path, self._whole / damage.file):
                return Examined(damage, [])
            there = tree(place)
            harmed = {name for name in there.keys() | self._given.keys() if there.get(name) != self._given.get(name)}
            problems = [
                *self._verify_problems(damage, place, server),
                *self._answer_problems(place, out, server, harmed),
            ]
            return Examined(damage, [problem.replace(str(place), "…") for problem in problems])
        finally:
            shutil.rmtree(place.parent)

    def _verify_problems(self, damage: Damage, place: Path, server: Server) -> Iterator[str]:
        if self.subject.verify is None or damage.file in self.subject.spare:
            return
        ended = server.run(self.subject.verify(place))
        if ended.code == 0 and not ended.problem():
            yield "verify says that all is well"
        elif problem := ended.problem((1, 2)):
            yield f"verify: {problem}"
        elif not any(name in ended.err for name in _names(damage)):
            yield f"verify does not name the file: {ended.err.strip().splitlines()[0][:200]}"

    def _answer_problems(self, place: Path, out: Path, server: Server, harmed: set[str]) -> Iterator[str]:
        for command, (said, made) in zip(self.subject.ask(self.world, place, out), self._answers, strict=True):
            ended = server.run(command)
            if problem := ended.problem((0, 1, 2)):
                yield f"{command[0]}: {problem}"
            elif not ended.code and self.subject.answers:
                says, makes = self._answer(ended.out, place, out)
                besides = {name for name in made.keys() | makes.keys() if made.get(name) != makes.get(name)} - harmed
                if says != said or besides:
                    what = sorted(besides)[0] if besides else "what it says"
                    yield f"{command[0]}: another answer, and nothing said ({what})"

    def _answer(self, said: str, place: Path, out: Path) -> tuple[str, dict[str, str]]:
        """What a command said and made."""
        made = tree(place if self.subject.writes else out)
        return said.replace(str(place), "…").replace(str(out), "…"), made

    @property
    def _whole(self) -> Path:
        return self.folder / "whole" / "damaged"

    def _copy(self) -> tuple[Path, Path]:
        place = self.folder / f"case-{next(self._number)}" / "damaged"
        shutil.copytree(self._whole, place)
        out = place.with_name("out")
        out.mkdir()
        return place, out


def subjects() -> list[Subject]:
    """Those that can be made here."""
    return [subject for subject in SUBJECTS.values() if not (why_not() and subject.name.startswith("stopped"))]


def _same(one: Path, other: Path) -> bool:
    """Whether two files say the same; white space between the fields of JSON says nothing."""
    if one.suffix == ".json":
        try:
            return bool(json.loads(one.read_bytes()) == json.loads(other.read_bytes()))
        except ValueError:
            pass
    return one.read_bytes() == other.read_bytes()


def _names(damage: Damage) -> list[str]:
    """Which names tell of a damage: without its ledger or index a folder is no store; of two that were swapped one."""
    path, described = Path(damage.file), ["ledger.json", "index.json", "catalog.json"]
    if damage.how.startswith("swap"):
        return [path.name, *described]
    return [path.name, f"{path.parent}: "] if path.name in described else [path.name]


def _is_json(path: Path) -> bool:
    return path.suffix in (".json", ".jsonl")


__all__ = ["SUBJECTS", "WAYS", "Damage", "Examined", "Examiner", "Subject", "subjects"]
