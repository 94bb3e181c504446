"""The command line as people type it."""

import csv
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal
from taskcatalog.cli import main
from taskcatalog.display import columns, visible
from taskcatalog.errors import DiskFullError

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def made(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small store and the catalog of its n-grams."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.txt").write_text("import os\nimport sys\nimport os\n\tprint(os)\n" * 50)
    answer("tokenize", folder / "a.txt", "--out", folder / "store", "--tokenizer", demo_data)
    said = answer("ngrams", folder / "store", "--out", folder / "catalog", "--min-prefix-count", 10)
    assert "trigrams" in said
    return folder


def test_help_of_every_command() -> None:
    listed = answer("--help")
    for name in main.commands:
        assert f"\n  {name} " in listed
        assert "Usage:" in answer(name, "--help")


def test_help_and_counting_need_no_torch(made: Path, tmp_path: Path) -> None:
    """Without torch everything works but what runs a model, and that says what to install."""
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')")
    path = os.pathsep.join([str(tmp_path), *sys.path])
    environment = os.environ | {"PYTHONPATH": path}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "taskcatalog", *map(str, arguments)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert run("scan", "--help").returncode == 0
    assert run("ngrams", made / "store", "--out", tmp_path / "c").returncode == 0
    refused = run("predict", tmp_path / "c", "--model", "x")
    assert refused.returncode == 2
    fix = "pip install 'taskcatalog[lm]', or from a clone: pip install '.[lm]'"
    assert refused.stderr == f"taskcatalog: this command runs a model and needs torch: {fix}\n"


def test_commands_are_documented() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from make_command_docs import PAGE, command_docs
    finally:
        sys.path.pop(0)
    assert PAGE.read_text() == command_docs()


def test_complete_again_says_so(made: Path, demo_data: Path) -> None:
    arguments = ["tokenize", made / "a.txt", "--out", made / "store", "--tokenizer", demo_data]
    assert "complete" in answer(*arguments)
    assert "sequence_length was 2048, not 64" in refusal(*arguments, "--sequence-length", 64)


def test_sql(made: Path, tmp_path: Path) -> None:
    catalog = made / "catalog"
    assert "trigram_prefixes" in answer("sql", catalog)
    query = "SELECT seq, sum_count, id0 FROM top_bigrams ORDER BY sum_count DESC, id0 LIMIT 3"
    expected = tc.Catalog(catalog).sql(query).fetchall()
    assert len(expected) == 3
    as_csv = list(csv.reader(io.StringIO(answer("sql", catalog, query, "--format", "csv"))))
    assert as_csv == [["seq", "sum_count", "id0"], *([str(cell) for cell in row] for row in expected)]
    as_json = json.loads(answer("sql", catalog, query, "--format", "json"))
    assert [tuple(row.values()) for row in as_json] == expected
    answer("sql", catalog, query, "--format", "parquet", "--out", tmp_path / "t.parquet")
    assert [tuple(row.values()) for row in pq.read_table(tmp_path / "t.parquet").to_pylist()] == expected
    assert json.loads(answer("sql", catalog, query.replace("LIMIT 3", "LIMIT 0"), "--format", "json")) == []
    raw = answer("sql", catalog, "SELECT bytes FROM tokens WHERE id = 1", "--format", "json")
    assert json.loads(raw) == [{"bytes": "21"}]


def test_tables_in_a_pipe_are_whole(made: Path, tmp_path: Path) -> None:
    query = "SELECT repeat('x', 500) AS a, repeat('y', 500) AS b, range AS c FROM range(300)"
    for said in (answer("sql", made / "catalog", query), _written(tmp_path, made, query)):
        assert said.count("x" * 500) == said.count("y" * 500) == 300


def _written(folder: Path, made: Path, query: str) -> str:
    answer("sql", made / "catalog", query, "--out", folder / "t.txt", "--format", "table")
    return (folder / "t.txt").read_text()


def test_whitespace_can_be_drawn(made: Path) -> None:
    query = 'SELECT E\'a b\\n\\tc\\x1b\' AS "a ""b", 1 AS n'
    drawn = "a·b⏎⇥c␛"
    assert answer("sql", made / "catalog", query, "--visible", "--format", "csv") == f'"a ""b",n\n{drawn},1\n'
    assert drawn in answer("sql", made / "catalog", query, "--visible")
    assert visible("a b\n\tc\x1b") == drawn


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("DROP VIEW tokens", "only reads"),
        ("COPY tokens TO '/tmp/x.csv'", "only reads"),
        ("SELECT 1; SELECT 2", "only reads"),
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM nowhere", "the tables are bigram_prefixes, bigrams"),
        ("SELECT nothing FROM tokens", "nothing"),
    ],
)
def test_queries_that_are_refused(made: Path, query: str, message: str) -> None:
    assert message in refusal("sql", made / "catalog", query)


def test_complete(made: Path) -> None:
    lines = answer("complete", made / "catalog", "import").splitlines()
    assert lines[0] == "import: 150 occurrences"
    assert lines[1].split() == ["rank", "token", "count", "share"]
    assert lines[2].split() == ["1", "·os", "100", "0.667"]
    assert lines[3].split() == ["2", "·sys", "50", "0.333"]
    longer = answer("complete", made / "catalog", "import sys\nimport os")
    assert longer.startswith("import·os (without import·sys⏎): 100 occurrences")
    assert "0 occurrences" in answer("complete", made / "catalog", "zebra zebra")
    assert "empty" in refusal("complete", made / "catalog", "")


def test_python_api(made: Path) -> None:
    catalog = tc.Catalog(made / "catalog")
    trigrams = catalog.table("trigrams").to_arrow_table()
    ids = np.stack([trigrams[f"id{i}"].to_numpy() for i in range(3)], 1)
    absent = np.array([[1, 1, 1]])
    counts = catalog.count(np.concatenate([ids[::-1], absent, ids[:2]]))
    expected = trigrams["count"].to_numpy()
    assert counts.tolist() == [*expected[::-1].tolist(), 0, *expected[:2].tolist()]
    vocabulary = catalog.vocabulary
    assert vocabulary is not None
    found = catalog.complete(vocabulary.encode("import"), limit=1)
    assert found.table["token"].to_pylist() == [" os"]
    assert found.sum_count == 150
    with pytest.raises(tc.SettingsError, match="table 'nope' is not in"):
        catalog.table("nope")
    with pytest.raises(tc.SettingsError, match="count takes integer ids"):
        catalog.count([[0.5, 1]])


def test_config_file(made: Path, tmp_path: Path) -> None:
    config = tmp_path / "ngrams.yaml"
    config.write_text(f"out: {tmp_path / 'c'}\nn: [2, 4]\nmin-prefix-count: 7\n")
    answer("ngrams", made / "store", "--config", config)
    assert "4grams" in tc.Catalog(tmp_path / "c").tables
    answer("ngrams", made / "store", "--config", config, "--out", tmp_path / "d", "-n", 2)
    assert "4grams" not in tc.Catalog(tmp_path / "d").tables


def test_bad_input_is_one_line(made: Path, tmp_path: Path) -> None:
    for arguments, message in (
        (("ngrams", tmp_path / "none", "--out", tmp_path / "c"), "none: does not exist"),
        (("ngrams", made / "store", "--out", tmp_path / "c", "--memory", "much"), "'much' is not a size"),
        (("ngrams", made / "store", "--out", tmp_path / "c", "--workers", 0), "workers is 0"),
        (("ngrams", made / "store", "--out", made / "a.txt"), "a.txt: is there and is no catalog"),
        (("sql", tmp_path / "none"), "none: does not exist"),
        (("verify", made), "is neither a token store, an MDS folder"),
    ):
        assert message in refusal(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_verify(made: Path, tmp_path: Path) -> None:
    assert "all is well" in answer("verify", made / "store")
    assert "all is well" in answer("verify", made / "catalog")
    answer("ngrams", made / "store", "--out", tmp_path / "c")
    table = tmp_path / "c/ngrams/bigrams/00000.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 2] ^= 1
    table.write_bytes(content)
    result = invoke("verify", tmp_path / "c")
    assert result.exit_code == 1
    assert "00000.parquet: its content is not what the ledger says" in result.stderr
    assert "1 problem found" in result.stderr


def test_visible() -> None:
    assert visible(" a\n\t\x00\u200bé") == "·a⏎⇥␀\\u200bé"
    assert columns([["a", "1"], ["bcd", "20"]], "<>") == ["a     1", "bcd  20"]


@pytest.mark.parametrize("name", ["[x]", "a*", "co:lon", "q'u\"ote", "sp ace", "\u202e"])
def test_folders_of_odd_names(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    answer("ngrams", made / "store", "--out", name)
    assert int(answer("sql", name, "SELECT count(*) FROM bigrams", "--format", "csv").splitlines()[1]) > 0
    assert "all is well" in answer("verify", name)
    answer("tokenize", made / "a.txt", "--out", f"{name}s", "--tokenizer", Path(tc.__file__).parent / "embedded/data")
    assert "all is well" in answer("verify", f"{name}s")


def test_names_that_no_output_can_have(made: Path, tmp_path: Path) -> None:
    assert "is not UTF-8: choose another folder" in refusal("ngrams", made / "store", "--out", tmp_path / "\udcff")
    assert "is not UTF-8: choose another folder" in refusal("sql", tmp_path / "\udcff")
    assert "is a URL: give a folder or a file on this machine" in refusal("ngrams", made / "store", "--out", "s3://a/b")
    assert "is not UTF-8: only sources" in refusal("complete", made / "catalog", "\udcff")
    assert "is not UTF-8: only sources" in refusal("sql", made / "catalog", "SELECT '\udcff'")
    source = ["tokenize", made / "a.txt", "--tokenizer", "x"]
    assert "is not UTF-8: only sources" in refusal(*source, "--out", tmp_path / "\udcff")
    assert list(tmp_path.iterdir()) == []


def test_exit_codes_and_defects(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 where the run failed, 2 where the command was wrong, 130 where it was stopped."""
    for error, code, said in (
        (tc.InputError("a: b"), 2, "taskcatalog: a: b"),
        (tc.ConflictError("a\nb\x1b"), 2, "taskcatalog: a b\\x1b"),
        (DiskFullError("a"), 1, "taskcatalog: a"),
        (tc.TaskcatalogError("a worker died"), 1, "taskcatalog: a worker died"),
        (OSError(5, "Input/output error", "x.bin"), 1, "taskcatalog: x.bin: Input/output error"),
        (MemoryError(), 1, "taskcatalog: there is not enough memory: give a smaller --memory or fewer --workers"),
        (KeyboardInterrupt(), 130, "taskcatalog: stopped; the same command goes on from here"),
        (ZeroDivisionError("x\x1b"), 1, "taskcatalog: this is a defect of taskcatalog, not of what you gave it"),
    ):

        def fail(*_: object, error: BaseException = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(tc, "verify", fail, raising=False)
        result = invoke("verify", made / "store")
        assert result.exit_code == code
        assert result.stderr.splitlines()[-1].startswith(said)
        assert ("Traceback" in result.stderr) == isinstance(error, ZeroDivisionError)
        assert "\x1b" not in result.stderr
    assert issubclass(DiskFullError, tc.TaskcatalogError)
    assert "no such command" in refusal("nothing").lower()
    assert "missing argument 'STORE'".lower() in refusal("ngrams").lower()
    assert "0 is not in the range" in refusal("complete", made / "catalog", "a", "--limit", 0)
