"""A run killed at any moment goes on, and ends with the bytes of a run that was never killed."""

import time
from pathlib import Path

import pytest

from faults.kills import command, kill_after_parts, kill_ever_later, kill_until_done, run
from helpers import tree, write_jsonl
from taskcatalog.embedded.standard_library import standard_library_sources

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source code in enough files for several parts."""
    folder = tmp_path_factory.mktemp("sources")
    texts = [path.read_text("utf-8", "replace") for path in standard_library_sources()[:320]]
    for i in range(12):
        write_jsonl(folder / f"{i}.jsonl", texts[i::12])
    return folder


@pytest.fixture(scope="module")
def store(sources: Path, demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("store") / "store"
    run(command("tokenize", sources, "--out", out, "--tokenizer", demo_data, "--sequence-length", 256))
    return out


def test_tokenize(sources: Path, store: Path, demo_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    arguments = command("tokenize", sources, "--out", out, "--tokenizer", demo_data, "--sequence-length", 256)
    assert kill_until_done(arguments, out, 1) >= 2
    assert tree(out) == tree(store)


def test_ngrams(store: Path, tmp_path: Path) -> None:
    arguments = ["ngrams", store, "--memory", "1MB", "--min-prefix-count", 20]
    run(command(*arguments, "--out", tmp_path / "never"))
    kills = kill_until_done(command(*arguments, "--out", tmp_path / "killed"), tmp_path / "killed/ngrams", 3)
    assert kills >= 4
    assert tree(tmp_path / "killed") == tree(tmp_path / "never")


def test_ngrams_resumed_with_other_limits(store: Path, tmp_path: Path) -> None:
    """Less memory than it was begun with counts anew in smaller ranges; more goes on as begun."""
    run(command("ngrams", store, "--out", tmp_path / "never"))
    out = tmp_path / "killed"
    counting = command("ngrams", store, "--out", out, "--memory")
    assert kill_after_parts([*counting, "4MB", "--workers", "1"], out / "ngrams", 3)
    assert kill_after_parts([*counting, "1MB", "--workers", "2"], out / "ngrams", 4)
    run([*counting, "1GB"])
    assert tree(out) == tree(tmp_path / "never")


@pytest.fixture(scope="module")
def catalog(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("catalog") / "c"
    run(command("ngrams", store, "--out", out, "--min-prefix-count", 1, "-n", 2, "-n", 3, "-n", 4))
    return out


def test_predict(catalog: Path, demo_data: Path) -> None:
    predicted = catalog / "predictions"
    arguments = command("predict", catalog, "--model", demo_data, "--label", "demo")
    run(arguments)
    never = tree(predicted)
    run(["rm", "-r", str(predicted)])
    assert kill_until_done(arguments, predicted / "demo", 1) >= 2
    assert tree(predicted) == never


def test_scan(store: Path, demo_data: Path, tmp_path: Path) -> None:
    arguments = [
        "scan",
        store,
        "--model",
        demo_data,
        "--label",
        "demo",
        "--max-tokens",
        60_000,
        "--min-divergence",
        0.7,
    ]
    run(command(*arguments, "--out", tmp_path / "never"))
    stage = tmp_path / "killed/scan_4/demo"
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
