"""What commands print, for people and for programs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal
from taskcatalog.runs.progress import progress_bar
from taskcatalog.terminal import Loudness, set_loudness


@pytest.fixture(scope="module")
def store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("output")
    (folder / "a.txt").write_text("import os\nimport sys\n" * 80)
    tc.tokenize([str(folder / "a.txt")], folder / "store", str(demo_data))
    return folder / "store"


def test_every_result_as_json(store: Path, demo_data: Path, tmp_path: Path) -> None:
    """One JSON value on the standard output, and nothing else."""

    def facts(*arguments: object) -> object:
        return json.loads(answer(*arguments, "--json"))

    out, catalog = tmp_path / "s", tmp_path / "c"
    made = facts("tokenize", store.parent / "a.txt", "--out", out, "--tokenizer", demo_data)
    n_tokens = tc.open_store(out).n_tokens
    assert isinstance(made, dict)
    assert (made["out"], made["tokens"]) == (str(out), n_tokens)
    assert facts("convert", out, "--out", tmp_path / "x.bin", "--format", "flat") == {
        "out": str(tmp_path / "x.bin"), "tokens": n_tokens, "sequences": 1, "dropped_tokens": 0,
    }  # fmt: skip
    rows = facts("ngrams", out, "--out", catalog)
    assert isinstance(rows, dict)
    assert rows["bigrams"] == tc.Catalog(catalog).sql("SELECT count(*) FROM bigrams").fetchall()[0][0]
    assert facts("sql", catalog, "SELECT 1 AS a") == [{"a": 1}]
    completed = facts("complete", catalog, "import", "--limit", 1)
    assert isinstance(completed, dict)
    assert [row["token"] for row in completed["completions"]] == [" os"]
    planned = facts("plan", out)
    assert isinstance(planned, list)
    assert [stage["stage"] for stage in planned] == ["tokenize", "ngrams"]
    assert facts("verify", catalog) == {"path": str(catalog), "problems": []}
    (catalog / "tokens.parquet").write_bytes(b"")
    broken = invoke("verify", catalog, "--json")
    assert broken.exit_code == 1
    assert len(json.loads(broken.stdout)["problems"]) == 1


def test_quiet_prints_what_was_asked_for_only(store: Path, tmp_path: Path) -> None:
    catalog = tmp_path / "c"
    made = invoke("ngrams", store, "--out", catalog, "-q")
    assert (made.exit_code, made.stdout, made.stderr) == (0, "", "")
    assert answer("sql", catalog, "SELECT 1 AS a", "--format", "csv", "--quiet") == "a\n1\n"
    assert "os" in answer("complete", catalog, "import", "--quiet")
    assert "neither a token store" in refusal("ngrams", tmp_path, "--out", catalog, "--quiet")
    assert "contradict" in refusal("ngrams", store, "--out", catalog, "-q", "-v")


def test_verbose_tells_costs_and_causes(store: Path, tmp_path: Path) -> None:
    made = invoke("ngrams", store, "--out", tmp_path / "c", "-v")
    assert made.exit_code == 0
    assert " s of processor time; " in made.stderr
    failed = invoke("ngrams", tmp_path / "none", "--out", tmp_path / "d", "--verbose")
    assert failed.exit_code == 2
    assert "Traceback" in failed.stderr
    assert failed.stderr.splitlines()[-1].startswith(f"taskcatalog: {tmp_path / 'none'}: does not exist")
    assert "Traceback" not in refusal("ngrams", tmp_path / "none", "--out", tmp_path / "d")


def test_progress_without_a_terminal_is_lines() -> None:
    """In the log of a job: no bar that is drawn again and again, and nothing for what is short."""
    script = (
        "import time\nfrom taskcatalog.runs import progress\nprogress._SECONDS_BETWEEN_LINES = 0.2\n"
        "with progress.progress_bar('count', {total}, 'tokens') as bar:\n"
        "    for _ in range(8):\n        time.sleep({seconds})\n        bar.update(1000)\n"
    )

    def said(total: int | None, seconds: float) -> list[str]:
        command = [sys.executable, "-c", script.format(total=total, seconds=seconds)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr.splitlines()

    lines = said(8_000, 0.1)
    assert len(lines) >= 2
    assert all(line.startswith("taskcatalog: count: ") and "of 8.00k tokens" in line for line in lines)
    assert all("k tokens, " in line and "%" not in line for line in said(None, 0.1))
    assert said(8_000, 0) == []


def test_a_quiet_process_has_no_bar() -> None:
    set_loudness(Loudness.QUIET)
    try:
        with progress_bar("count", 10, "tokens") as bar:
            assert bar.disable
    finally:
        set_loudness(Loudness.NORMAL)
    with progress_bar("count", 10, "tokens") as bar:
        assert not bar.disable
