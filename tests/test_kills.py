"""A run killed at any moment goes on, and ends with the bytes of a run that was never killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from helpers import texts_of, tree, write_jsonl
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.errors import InputError


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "taskcatalog", *map(str, arguments)]


def run(arguments: list[str]) -> None:
    subprocess.run(arguments, check=True, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"})


def finished_parts(stage: Path) -> int:
    """How many parts the ledger of a stage records; 0 before there is one."""
    try:
        return len(Ledger.read(stage).parts)
    except InputError:
        return 0


def kill_after_parts(arguments: list[str], stage: Path, n_parts: int) -> bool:
    """Starts a command and kills it once it has done so many more parts; False if it ended first."""
    goal = finished_parts(stage) + n_parts
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None:
        if finished_parts(stage) >= goal:
            process.kill()  # and not its workers: they must notice by themselves
            process.wait()
            return True
        time.sleep(0.02)
    assert process.returncode == 0
    return False


def kill_until_done(arguments: list[str], stage: Path, n_parts: int) -> int:
    """Kills the command each time it has done some more parts, until it ends; returns the number of kills."""
    kills = 0
    while kill_after_parts(arguments, stage, n_parts):
        kills += 1
    return kills


def kill_ever_later(arguments: list[str], step: float) -> int:
    """Kills the command and its workers after one step, then two, and so on; returns how often until it ended."""
    kills = 0
    while True:
        process = subprocess.Popen(
            arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            assert process.wait((kills + 1) * step) == 0
            return kills
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kills += 1


@pytest.fixture(scope="module")
def sources(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Web text in enough files for several parts."""
    folder = tmp_path_factory.mktemp("sources")
    texts = texts_of(shared / "corpus/c4_sample.jsonl.gz", 600)
    for i in range(6):
        write_jsonl(folder / f"{i}.jsonl", texts[i * 100 : (i + 1) * 100] * 4)
    return folder


@pytest.fixture(scope="module")
def store(sources: Path, stories: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "store"
    run(command("tokenize", sources, "--out", out, "--tokenizer", stories, "--sequence-length", 256))
    return out


def test_tokenize(sources: Path, store: Path, stories: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    arguments = command("tokenize", sources, "--out", out, "--tokenizer", stories, "--sequence-length", 256)
    assert kill_until_done(arguments, out, 2) >= 2
    assert tree(out) == tree(store)


def test_ngrams(store: Path, tmp_path: Path) -> None:
    arguments = ["ngrams", store, "--memory", "500KB", "--min-prefix-count", 20]
    run(command(*arguments, "--out", tmp_path / "never"))
    kills = kill_until_done(command(*arguments, "--out", tmp_path / "killed"), tmp_path / "killed/ngrams", 3)
    assert kills >= 4
    assert tree(tmp_path / "killed") == tree(tmp_path / "never")


def test_ngrams_resumed_with_other_limits(store: Path, tmp_path: Path) -> None:
    """Less memory than it was begun with counts anew in smaller stretches; more goes on as begun."""
    run(command("ngrams", store, "--out", tmp_path / "never"))
    out = tmp_path / "killed"
    counting = command("ngrams", store, "--out", out, "--memory")
    assert kill_after_parts([*counting, "4MB", "--workers", "1"], out / "ngrams", 3)
    assert kill_after_parts([*counting, "500KB", "--workers", "2"], out / "ngrams", 4)
    run([*counting, "1GB"])
    assert tree(out) == tree(tmp_path / "never")


@pytest.fixture(scope="module")
def catalogue(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("catalogue") / "c"
    run(command("ngrams", store, "--out", out, "--min-prefix-count", 1, "-n", 2, "-n", 3, "-n", 4))
    return out


def test_predict(catalogue: Path, stories: Path) -> None:
    predicted = catalogue / "predictions"
    arguments = command("predict", catalogue, "--model", stories)
    run(arguments)
    never = tree(predicted)
    run(["rm", "-r", str(predicted)])
    assert kill_until_done(arguments, predicted / "stories260k", 1) >= 2
    assert tree(predicted) == never


def test_scan(store: Path, stories: Path, tmp_path: Path) -> None:
    arguments = ["scan", store, "--model", stories, "--max-tokens", 60_000, "--min-divergence", 0.7]
    run(command(*arguments, "--out", tmp_path / "never"))
    stage = tmp_path / "killed/scan_4/stories260k"
    assert kill_until_done(command(*arguments, "--out", tmp_path / "killed"), stage, 1) >= 2
    assert tree(tmp_path / "killed") == tree(tmp_path / "never")


def test_kills_at_any_moment(store: Path, tmp_path: Path) -> None:
    """Not at the end of a part, but wherever the command happens to be."""
    arguments = ["ngrams", store, "--memory", "8MB"]
    start = time.monotonic()
    run(command(*arguments, "--out", tmp_path / "never"))
    duration = time.monotonic() - start
    assert kill_ever_later(command(*arguments, "--out", tmp_path / "killed"), duration / 12) >= 2
    assert tree(tmp_path / "killed") == tree(tmp_path / "never")
