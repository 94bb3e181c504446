"""Two commands at once on the same files. ``make faults`` runs all pairs."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.commands import Server
from faults.pairs import Pair, Rivals, pairs
from faults.stages import World

QUICK = [
    Pair("bare", "ngrams", "ngrams"),
    Pair("bare", "ngrams", "ngrams-forced"),
    Pair("full", "ngrams-forced", "sql"),
    Pair("full", "scan-forced", "verify"),
]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("other")) as started:
        yield started


@pytest.fixture(scope="module")
def rivals(world: World, tmp_path_factory: pytest.TempPathFactory) -> Rivals:
    return Rivals(world, tmp_path_factory.mktemp("rivals"))


@pytest.mark.parametrize("pair", QUICK, ids=str)
def test_some(rivals: Rivals, pair: Pair, server: Server, other: Server) -> None:
    assert rivals.judge(pair, server, other).problem is None


@pytest.mark.slow
def test_many(world: World, tmp_path: Path, server: Server, other: Server) -> None:
    rivals = Rivals(world, tmp_path)
    results = [rivals.judge(pair, server, other) for pair in pairs()[::14]]
    assert [f"{one.pair}: {one.problem}" for one in results if one.problem] == []
