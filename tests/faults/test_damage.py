"""Files of every kind, damaged. ``make faults`` does them all."""

import random
from pathlib import Path

import pytest

from faults.commands import Server
from faults.damage import SUBJECTS, Examiner, subjects
from faults.stages import SEED, World

QUICK = ("store", "mds", "catalog", "stopped-convert-flat")


def damaged(world: World, subject: str, folder: Path, server: Server, n: int) -> list[str]:
    examiner = Examiner(world, SUBJECTS[subject], folder / "d")
    examiner.begin(server)
    damages = examiner.damages()
    chosen = random.Random(SEED).sample(damages, min(n, len(damages)))
    return [f"{one}: {problem}" for one in chosen for problem in examiner.examine(one, server).problems]


@pytest.mark.parametrize("subject", [one.name for one in subjects() if one.name in QUICK])
def test_some(world: World, subject: str, tmp_path: Path, server: Server) -> None:
    assert damaged(world, subject, tmp_path, server, 6) == []


@pytest.mark.slow
@pytest.mark.parametrize("subject", [one.name for one in subjects()])
def test_more(world: World, subject: str, tmp_path: Path, server: Server) -> None:
    assert damaged(world, subject, tmp_path, server, 15) == []
