"""Hostile input for every parser. ``make faults`` gives two thousand."""

from pathlib import Path

import pytest

from faults.commands import Server
from faults.hostile import TARGETS, Input, Tormentor, torment_options
from faults.stages import World

QUICK = ("documents.jsonl", "documents.parquet", "mds.index.json", "megatron.g.idx", "catalog.ledger.json", "config")


def tormented(world: World, target: str, folder: Path, server: Server, n: int) -> list[str]:
    tormentor = Tormentor(world, TARGETS[target], folder / "h")
    tormentor.begin(server)
    verdicts = [tormentor.torment(Input(target, seed), server) for seed in range(n)]
    return [f"{one.input}: {one.problem}" for one in verdicts if one.problem]


@pytest.mark.parametrize("target", QUICK)
def test_some_files(world: World, target: str, tmp_path: Path, server: Server) -> None:
    assert tormented(world, target, tmp_path, server, 5) == []


def test_some_options(world: World, tmp_path: Path, server: Server) -> None:
    verdicts = [torment_options(world, tmp_path, Input("options", seed), server) for seed in range(10)]
    assert [f"{one.input}: {one.problem}" for one in verdicts if one.problem] == []


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_more_files(world: World, target: str, tmp_path: Path, server: Server) -> None:
    assert tormented(world, target, tmp_path, server, 12) == []
