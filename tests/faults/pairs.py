"""Two commands at once on the same files: each ends well or is refused, and the tables are those of an order.

All pairs of commands, with the same and with other settings, forced and not, begin together or shortly one after the
other (how long follows from a seed). Each must end well, or with one line and exit code 1 or 2. What is on disk then
must be what the two leave one after the other, in one order or the other, or what one leaves where the other was
refused. What a reading command says must be what it says before, between or after.
"""

import itertools
import json
import random
import shutil
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from faults.broken import content_of
from faults.commands import Ended, Server
from faults.stages import World, difference

_ROWS = "SELECT count(*), bit_xor(hash(t)) FROM bigrams t"
_LONGEST_DELAY = 0.4

READING = {"sql", "complete", "verify", "verify-store"}
STATES = ("bare", "full")
"""What is there before: only the texts' store, or a whole catalog too."""


def commands(world: World, place: Path) -> dict[str, list[object]]:
    """All commands, by name."""
    store, catalog = place / "store", place / "c"
    mds = ["convert", store, "--format", "mds", "--out", place / "m", "--workers", 1]
    counting = ["ngrams", store, "--out", catalog, "--workers", 1, "--min-prefix-count", 2]
    scanning = ["scan", store, *world.scan(catalog)[2:]]
    both = world.tokenize(store, "--workers", 1, "--separator", "both")
    rows = ["sql", catalog, _ROWS, "--format", "csv"]
    return {
        "tokenize": world.tokenize(store),
        "tokenize-other": both,
        "tokenize-forced": [*both, "--force"],
        "convert": mds,
        "convert-forced": [*mds, "--hashes", "sha1", "--force"],
        "convert-flat": ["convert", store, "--format", "flat", "--out", place / "f.bin", "--workers", 1],
        "ngrams": counting,
        "ngrams-other": [*counting, "-n", 2],
        "ngrams-forced": [*counting, "-n", 2, "--force"],
        "predict": world.predict(catalog),
        "predict-forced": world.predict(catalog, "--dtype", "bfloat16", "--force"),
        "scan": scanning,
        "scan-forced": [*scanning, "--min-probability", 0.4, "--force"],
        "sql": rows,
        "sql-out": [*rows, "--out", place / "rows.csv"],
        "complete": ["complete", catalog, "if "],
        "verify": ["verify", catalog],
        "verify-store": ["verify", store],
        "duckdb": ["duckdb", catalog, "--out", place / "c.duckdb"],
        "duckdb-forced": ["duckdb", catalog, "--out", place / "c.duckdb", "--force"],
    }


@dataclass(frozen=True)
class Pair:
    state: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"python -m faults pairs {self.state} {self.first} {self.second}"

    @property
    def delay(self) -> float:
        """Seconds between the two, from none on."""
        chance = random.Random(zlib.crc32(f"{self.state} {self.first} {self.second}".encode()))
        return max(0.0, chance.uniform(-_LONGEST_DELAY / 2, _LONGEST_DELAY))


@dataclass(frozen=True)
class Result:
    pair: Pair
    problem: str | None


@dataclass
class _Left:
    """What commands, one after the other, leave on disk and say."""

    place: Path
    content: dict[str, str]
    said: str


@dataclass
class Rivals:
    """Runs pairs. Used by one thread, with two servers."""

    world: World
    folder: Path
    _known: dict[tuple[str, ...], _Left] = field(default_factory=dict)
    _number: "itertools.count[int]" = field(default_factory=itertools.count)

    def judge(self, pair: Pair, one: Server, other: Server) -> Result:
        place = self._copy(self._begun(pair.state))
        try:
            ends = self._at_once(pair, place, one, other)
            for name, ended in zip((pair.first, pair.second), ends, strict=True):
                if problem := ended.problem((0, 1, 2)):
                    if name.startswith("verify") and ended.code == 1:
                        continue  # many lines may say what is unfinished
                    return Result(pair, f"{name}: {problem}".replace(str(place), "…"))
            problem = self._wrong_disk(pair, ends, place, one) or self._wrong_answer(pair, ends, place, one)
            return Result(pair, problem)
        finally:
            shutil.rmtree(place.parent)

    def _at_once(self, pair: Pair, place: Path, one: Server, other: Server) -> list[Ended]:
        start = threading.Barrier(2)

        def run(name: str, server: Server, delay: float) -> Ended:
            start.wait()
            time.sleep(delay)
            return server.run(commands(self.world, place)[name])

        with ThreadPoolExecutor(2) as executor:
            first = executor.submit(run, pair.first, one, 0.0)
            second = executor.submit(run, pair.second, other, pair.delay)
            return [first.result(), second.result()]

    def _wrong_disk(self, pair: Pair, ends: list[Ended], place: Path, server: Server) -> str | None:
        a, b = pair.first, pair.second
        orders: list[tuple[str, ...]] = [(a, b), (b, a)]
        orders += [(a,)] if ends[1].code else []
        orders += [(b,)] if ends[0].code else []
        orders += [()] if ends[0].code and ends[1].code else []
        there = content_of(place)
        wrong = [difference(there, self._after(pair.state, order, server).content) for order in orders]
        if None in wrong:
            return None
        said = " | ".join(ended.err.strip()[-150:] for ended in ends if ended.code).replace(str(place), "…")
        return f"what is left is of no order: {min(map(str, wrong), key=len)[:300]} (refused: {said})"

    def _wrong_answer(self, pair: Pair, ends: list[Ended], place: Path, server: Server) -> str | None:
        for name, rival, ended in ((pair.first, pair.second, ends[0]), (pair.second, pair.first, ends[1])):
            if name not in READING or ended.code:
                continue
            right = {self._after(pair.state, order, server).said for order in ((name,), (rival, name))}
            if (said := _said(ended, place)) not in right:
                return f"{name} says neither what it says before {rival} nor after: {said[:200]!r}"
        return None

    def _begun(self, state: str) -> Path:
        place = self.folder / state / "w"
        if not place.is_dir():
            place.mkdir(parents=True)
            shutil.copytree(self.world.store, place / "store")
            if state == "full":
                shutil.copytree(self.world.full, place / "c")
        return place

    def _after(self, state: str, order: tuple[str, ...], server: Server) -> _Left:
        """The state after these commands, one after the other."""
        key = (state, *order)
        if key not in self._known:
            before = self._after(state, order[:-1], server).place if order else self._begun(state)
            place = self._copy(before)
            said = _said(server.run(commands(self.world, place)[order[-1]]), place) if order else ""
            self._known[key] = _Left(place, content_of(place), said)
        return self._known[key]

    def _copy(self, before: Path) -> Path:
        place = self.folder / f"case-{next(self._number)}" / "w"
        shutil.copytree(before, place)
        return place


def pairs() -> list[Pair]:
    nowhere = Path()
    names = commands(World(nowhere), nowhere)
    return [
        Pair(state, first, second)
        for state in STATES
        for first, second in itertools.combinations_with_replacement(names, 2)
        if not {first, second} <= READING
    ]


def _said(ended: Ended, place: Path) -> str:
    return json.dumps([ended.code, ended.out.replace(str(place), "…")])
