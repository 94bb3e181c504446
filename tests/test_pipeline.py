"""Several stages from one file."""

from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal


@pytest.fixture
def config(demo_data: Path, tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("import os\nimport sys\n" * 80)
    path = tmp_path / "all.yaml"
    path.write_text(
        f"tokenize:\n  source: {tmp_path}/a.txt\n  out: {tmp_path}/store\n  tokenizer: {demo_data}\n"
        f"ngrams: {{store: {tmp_path}/store, out: {tmp_path}/catalog, n: [2, 3], min-prefix-count: 10}}\n"
        f"convert:\n"
        f"  - {{store: {tmp_path}/store, out: {tmp_path}/mds, format: mds}}\n"
        f"  - {{store: {tmp_path}/store, out: {tmp_path}/ids.bin, format: flat}}\n"
    )
    return path


def test_all_stages_in_their_order_and_again(config: Path) -> None:
    folder = config.parent
    said = answer("pipeline", "--config", config)
    assert [line.partition(": complete")[0] for line in said.splitlines() if ": complete" in line] == [
        str(folder / name) for name in ("store", "catalog", "mds", "ids.bin")
    ]
    assert tc.Catalog(folder / "catalog").complete("import").sum_count == 160
    assert answer("pipeline", "--config", config) == said


def test_some_stages_and_none(config: Path) -> None:
    folder = config.parent
    answer("pipeline", "--config", config, "--only", "tokenize")
    assert not (folder / "catalog").exists()
    typed = answer("pipeline", "--config", config, "--only", "convert", "--dry-run").splitlines()
    assert typed[1] == f"taskcatalog convert {folder}/store --out {folder}/ids.bin --format flat"
    assert not (folder / "mds").exists()
    assert "no stage to run" in refusal("pipeline", "--config", config, "--only", "scan")


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("ngrams: {store: s, out: c}\nscam: {}\n", 2, "there is no stage 'scam': is scan meant?"),
        ("ngrams: {store: s, out: c, min-shore: 1}\n", 1, "ngrams has no option 'min-shore': is min-share meant?"),
        ("ngrams:\n  out: c\n", 2, "ngrams: Missing argument 'STORE'"),
        ("ngrams: catalog\n", 1, "ngrams needs its options below it"),
        ("ngrams:\n  store: s\n  out: c\n  min-share: much\n", 4, "'much' is not a valid float"),
    ],
)
def test_a_wrong_file_runs_nothing(config: Path, text: str, line: int, message: str) -> None:
    config.write_text(f"# {config.read_text()}".replace("\n", "\n# ").rstrip("# ") + text)
    line += config.read_text().count("\n") - text.count("\n")
    said = refusal("pipeline", "--config", config)
    assert f"{config}: line {line}: " in said
    assert message in said
    assert {path.name for path in config.parent.iterdir()} == {"a.txt", "all.yaml"}


def test_an_error_of_a_setting_names_its_line(config: Path) -> None:
    config.write_text(config.read_text().replace("min-prefix-count: 10", "min-share: 7"))
    said = invoke("pipeline", "--config", config)
    assert said.exit_code == 2
    assert said.stderr.startswith(f"taskcatalog: {config}: line 5: min share is 7")
