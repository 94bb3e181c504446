"""A file operation breaks, and the same command again ends as if nothing had happened; ``make faults`` breaks all."""

import random
from pathlib import Path

import pytest

from faults.broken import BREAKS, Breaker, Case
from faults.commands import Server
from faults.stages import SEED, STAGES, World

pytestmark = pytest.mark.usefixtures("shim")

QUICK = ("tokenize", "convert-flat", "ngrams", "sql-csv")


def broken(world: World, stage: str, folder: Path, server: Server, each: int) -> list[str]:
    """What went wrong with so many operations for each way of breaking."""
    breaker = Breaker(world, STAGES[stage], folder / "b")
    breaker.begin(server)
    chance = random.Random(SEED)
    chosen: list[Case] = []
    for how in BREAKS:
        cases = [case for case in breaker.cases(every=True) if case.how == how]
        chosen += chance.sample(cases, min(each, len(cases)))
    judged = [breaker.judge(case, server) for case in chosen]
    return [f"{one.case}: {one.problem}" for one in judged if one.problem]


@pytest.mark.parametrize("stage", QUICK)
def test_some(world: World, stage: str, tmp_path: Path, server: Server) -> None:
    assert broken(world, stage, tmp_path, server, 1) == []


def test_a_stage_that_is_to_spill_does(world: World, tmp_path: Path, server: Server) -> None:
    breaker = Breaker(world, STAGES["ngrams-spilled"], tmp_path / "b")
    breaker.begin(server)
    assert {"payload", "counts"} <= {Path(one.other).name for one in breaker.operations if one.kind == "rename"}


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_more(world: World, stage: str, tmp_path: Path, server: Server) -> None:
    assert broken(world, stage, tmp_path, server, 5) == []
