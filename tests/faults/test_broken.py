"""A file operation breaks, and the same command again ends as if nothing had happened; ``make faults`` breaks all."""

import random
from pathlib import Path

import pytest

from faults.broken import BREAKS, Break, Breaker, Case
from faults.commands import Server
from faults.stages import SEED, STAGES, World, tree
from taskcatalog.runs.replaced import REPLACED

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


@pytest.fixture(scope="module")
def forced(world: World, tmp_path_factory: pytest.TempPathFactory, server: Server) -> Breaker:
    """Of a run that replaces the output of another one, with fewer folders."""
    breaker = Breaker(world, STAGES["ngrams-forced"], tmp_path_factory.mktemp("forced") / "b")
    breaker.begin(server)
    return breaker


@pytest.mark.parametrize("how", ["EIO", "EACCES"])
@pytest.mark.parametrize("folder", ["c/ngrams/trigrams", "c/ngrams/.replaced/bigrams", "c/ngrams/.replaced"])
def test_a_folder_that_cannot_be_removed_is_named(forced: Breaker, how: Break, folder: str, server: Server) -> None:
    [at] = places(forced, "rmdir", folder)
    assert forced.judge(Case("ngrams-forced", how, at), server).problem is None


def test_an_output_that_is_being_replaced_is_never_lost(forced: Breaker, tmp_path: Path) -> None:
    """Whenever power is lost before it is given up, each of its files is where it was, or set aside."""
    given = {digest for name, digest in tree(forced.before).items() if digest != "folder"}
    up_to = next(at for at, one in enumerate(forced.operations, 1) if one.kind == "unlink" and REPLACED in one.path)
    assert up_to > 100
    for at in range(1, up_to + 1):
        forced.lose_power(at, tmp_path / str(at), "all")
        assert given <= set(tree(tmp_path / str(at)).values())


def test_a_folder_that_a_loss_of_power_left_in_two_places(world: World, tmp_path: Path, server: Server) -> None:
    """The work of a run that was stopped, which another one replaces."""
    breaker = Breaker(world, STAGES["ngrams-forced-half"], tmp_path / "b")
    breaker.begin(server)
    [moved] = places(breaker, "rename", "c/ngrams/work")
    for at in range(moved, moved + 4):
        assert breaker.judge(Case("ngrams-forced-half", "power", at), server).problem is None


def test_a_database_that_cannot_be_synced_is_named(world: World, tmp_path: Path, server: Server) -> None:
    breaker = Breaker(world, STAGES["duckdb"], tmp_path / "b")
    breaker.begin(server)
    syncs = [at for end in (".partial", ".wal") for at in places(breaker, "fsync", end)]
    assert [breaker.judge(Case("duckdb", "EIO", at), server).problem for at in syncs[::4]] == [None] * len(syncs[::4])


def places(breaker: Breaker, kind: str, end: str) -> list[int]:
    """The numbers of operations of a kind on a path that ends so."""
    return [at for at, one in enumerate(breaker.operations, 1) if one.kind == kind and one.path.endswith(end)]


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_more(world: World, stage: str, tmp_path: Path, server: Server) -> None:
    assert broken(world, stage, tmp_path, server, 5) == []
