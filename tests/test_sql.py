"""SQL over a catalog: what a query may do, what it may take, and how its rows are written."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from click.testing import Result

import taskcatalog as tc
from helpers import answer, invoke, refusal, tree
from taskcatalog.catalog.database import connect
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.counting.stage import STAGE
from taskcatalog.errors import TaskcatalogError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part

SHARED_STATEMENTS = Path(__file__).parents[2] / "shared/web/hostile_sql.txt"
HOSTILE = Path(__file__).with_name("hostile.sql").read_text().splitlines()
MEMORY = 300


@pytest.fixture(scope="module")
def made(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The catalog of a small text."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.txt").write_text("import os\nimport sys\nimport os\n\tprint(os)\n" * 50)
    tc.tokenize(folder / "a.txt", folder / "store", tokenizer=str(demo_data))
    tc.ngrams(folder / "store", folder / "catalog", tc.NgramSettings(min_prefix_count=10))
    return folder / "catalog"


@pytest.fixture
def catalog(made: Path, tmp_path: Path) -> Path:
    """A copy to be damaged."""
    return Path(shutil.copytree(made, tmp_path / "c"))


def rows(catalog: Path) -> dict[str, object]:
    """All that all tables say."""
    opened = tc.Catalog(catalog)
    return {name: opened.table(name).fetchall() for name in opened.tables}


def filled(statement: str, tmp_path: Path) -> str:
    """A statement with its SECRET, OUT and TABLE, where these stand for themselves."""
    (tmp_path / "secret.csv").write_text("password:hunter2\n")
    for word, meaning in (("SECRET", tmp_path / "secret.csv"), ("OUT", tmp_path / "out"), (" TABLE", " bigrams")):
        for end in ("'", " ", ")", ""):
            if end or statement.endswith(word):
                statement = statement.replace(f"{word}{end}", f"{meaning}{end}")
    return statement.replace("CREATE bigrams", "CREATE TABLE").replace("TEMP bigrams", "TEMP TABLE")


def statements() -> list[str]:
    shared = SHARED_STATEMENTS.read_text().splitlines() if SHARED_STATEMENTS.is_file() else []
    return [line for line in [*HOSTILE, *shared] if line and not line.startswith("# ")]


def is_endless(statement: str) -> bool:
    return "000000" in statement


def test_hostile_statements_are_refused_in_python(made: Path, tmp_path: Path) -> None:
    """None reads or writes elsewhere, none tells of the machine; the tables answer as before, to others as well."""
    assert len(HOSTILE) >= 60
    before, files = rows(made), tree(made)
    opened, other = tc.Catalog(made), tc.Catalog(made)
    for statement in statements():
        if not is_endless(statement):
            with pytest.raises(TaskcatalogError):
                opened.sql(filled(statement, tmp_path)).fetchall()
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert tree(made) == files
    assert rows(made) == before
    for reader in (opened, other):
        assert {name: reader.table(name).fetchall() for name in reader.tables} == before
        assert reader.sql("SELECT lower('A'), random() IS NOT NULL").fetchall() == [("a", True)]


@pytest.mark.slow
def test_hostile_statements_are_refused_by_the_command(made: Path, tmp_path: Path) -> None:
    before = tree(made)
    for statement in statements():
        if not is_endless(statement):
            line = refusal("sql", made, "--", filled(statement, tmp_path))
            assert "hunter2" not in line
            assert str(Path.home()) not in line.replace(str(tmp_path), "")
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert tree(made) == before


def run(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "taskcatalog", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, int, str]:
    """The exit code of a command, the most memory that it had in MB, and its errors."""
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.stdout is not None:
        process.stdout.close()
    process.stderr.close()
    return process.returncode, usage.ru_maxrss // 1000, errors


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the system does not limit a process's memory")
@pytest.mark.parametrize(
    "query",
    [
        "SELECT repeat('x', 2000000000)",
        "SELECT list(range) FROM range(2000000000)",
        "SELECT len(range(2000000000))",
        "SELECT len(lpad('x', 2000000000, 'y'))",
        "SELECT len(printf('%2000000000d', 1))",
    ],
)
def test_huge_values_end_within_memory(made: Path, query: str) -> None:
    code, memory, errors = ended(run("sql", made, query, "--memory", f"{MEMORY}MB"))
    assert code in (1, 2)
    assert errors.count("\n") == 1
    assert "needs more memory" in errors
    assert memory < MEMORY + 1_100  # what a value may take beside the limit of sorting


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["table", "csv"])
def test_endless_queries_are_interrupted(made: Path, kind: str) -> None:
    query = "SELECT sum(sqrt(a.range * b.range)) FROM range(10000000) a, range(100000) b"
    process = run("sql", made, query, "--format", kind)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    code, _, errors = ended(process)
    assert code == 130
    assert len(errors.splitlines()) <= 2
    assert "stopped" in errors


@pytest.mark.slow
def test_sorting_spills_into_a_folder_of_its_own(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the lock, also where the query fails in the end; the folder goes."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    large = "SELECT md5(range::VARCHAR) AS a FROM range(9000000) ORDER BY a DESC"
    with tc.Catalog(made, memory="256MiB") as opened:
        [folder] = tmp_path.iterdir()
        assert len(opened.sql(f"{large} OFFSET 8999999").fetchall()) == 1
        assert list(folder.iterdir()) != []  # it was needed
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(duckdb.Error), tc.Catalog(made, memory="256MiB") as opened:
        opened.sql(f"SELECT a::INT FROM ({large})").fetchall()
    assert list(tmp_path.iterdir()) == []
    assert "could not convert" in refusal("sql", made, f"SELECT a::INT FROM ({large})", "--memory", "256MiB").lower()
    assert list(tmp_path.iterdir()) == []


def test_what_reads_is_answered(made: Path) -> None:
    """The rules leave SQL as people write it."""
    opened = tc.Catalog(made)
    for query in (
        "FROM bigrams LIMIT 1",
        "TABLE bigrams",
        "VALUES (1)",
        "select ID0 from BIGRAMS;",
        "-- a comment\nSELECT 1 -- ; another",
        "DESCRIBE bigrams",
        "SUMMARIZE bigrams",
        "SHOW TABLES",
        "SHOW bigrams",
        "EXPLAIN SELECT * FROM bigrams",
        "PIVOT bigrams ON id0 IN (1, 2) USING sum(count)",
        "UNPIVOT bigrams ON id0, id1",
        "WITH RECURSIVE r AS (SELECT 1 AS x UNION ALL SELECT x + 1 FROM r WHERE x < 5) SELECT * FROM r",
        "WITH b AS MATERIALIZED (FROM bigrams) SELECT * FROM b JOIN bigrams USING (id0) ORDER BY ALL LIMIT 3 OFFSET 1",
        "SELECT DISTINCT ON (id0) id0, sum(count) OVER (PARTITION BY id0 ORDER BY id1) FROM bigrams LIMIT 10%",
        "SELECT * EXCLUDE (id0) FROM bigrams TABLESAMPLE 10% QUALIFY row_number() OVER () = 1",
        "SELECT list_transform([1, 2], lambda x: x + 1), [x FOR x IN [1]], {'a': 1}, 'a'.upper(), 1::DECIMAL(3, 2)",
        "SELECT id0 FROM bigrams GROUP BY GROUPING SETS ((id0), ()) HAVING count(*) > 1",
        "SELECT id0 FROM bigrams UNION ALL BY NAME SELECT id0 FROM trigrams EXCEPT SELECT 1",
        "SELECT * FROM unnest([1, 2]) WITH ORDINALITY, LATERAL (SELECT 1), range(3)",
        "SELECT EXISTS (FROM bigrams WHERE id0 IN (SELECT id FROM tokens)), CASE WHEN true THEN 1 END",
    ):
        opened.sql(query).fetchall()
    assert opened.sql("WITH bigrams AS (SELECT 42) FROM bigrams").fetchall() == [(42,)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("FROM scan_4", "'taskcatalog scan STORE --model MODEL --out"),
        ("FROM scan_3", "--prompt-length 3' makes it"),
        ("FROM measures_4", "--all-measures' makes it"),
        ("FROM scan_4_models", "with a second model makes it"),
        ("FROM predictions", "'taskcatalog predict"),
        ("SELECT p_70m FROM top_bigrams", "'taskcatalog predict' adds columns p_MODEL"),
        ('FROM "4grams"', "-n 4' makes it"),
        ("SELECT * FROM 4grams", 'wants double quotes: "4grams"'),
        ("FROM nowhere", "the tables are bigram_prefixes, bigrams"),
        ("SELECT CAST(token AS INT) FROM tokens", "Could not convert string"),
        ("PIVOT bigrams ON id0 USING sum(count)", "PIVOT … IN"),
    ],
)
def test_messages(made: Path, query: str, message: str) -> None:
    for kind in ("table", "csv", "json"):
        assert message in refusal("sql", made, query, "--format", kind)


def test_results_keep_every_column_and_number(made: Path, tmp_path: Path) -> None:
    query = """SELECT 1 AS a, 2 AS a, 3 AS a_1, sum(170141183460469231731687303715884::HUGEINT) AS s,
        1.50::DECIMAL(5, 2) AS d, 'nan'::DOUBLE AS n, '-inf'::FLOAT AS i, true AS t, NULL AS z, [1, NULL] AS l,
        {'k': 'v"', 'f': 'inf'::DOUBLE} AS r, '\\x00\\xFF'::BLOB AS b, DATE '2020-01-02' AS day,
        TIMESTAMP '2020-01-02 03:04:05' AS at, MAP {1: 'x'} AS m, '' AS e"""
    text = answer("sql", made, query, "--format", "json")
    expected = {
        "a": 1, "a_2": 2, "a_1": 3, "s": 170141183460469231731687303715884, "d": 1.5, "n": "NaN", "i": "-Infinity",
        "t": True, "z": None, "l": [1, None], "r": {"k": 'v"', "f": "Infinity"}, "b": "00ff", "day": "2020-01-02",
        "at": "2020-01-02T03:04:05", "m": [[1, "x"]], "e": "",
    }  # fmt: skip
    assert json.loads(text, parse_constant=pytest.fail) == [expected]
    assert '"d": 1.50' in text
    [names, cells] = csv.reader(io.StringIO(answer("sql", made, query, "--format", "csv")))
    assert names == list(expected)
    assert cells == [
        "1", "2", "3", "170141183460469231731687303715884", "1.50", "NaN", "-Infinity", "true", "", "[1, null]",
        '{"k": "v\\"", "f": "Infinity"}', "00ff", "2020-01-02", "2020-01-02T03:04:05", '[[1, "x"]]', "",
    ]  # fmt: skip
    answer("sql", made, query, "--out", tmp_path / "r.parquet")
    assert pq.read_table(tmp_path / "r.parquet").column_names == list(expected)
    sums = answer("sql", made, "SELECT sum(count) AS s FROM bigrams", "--format", "json")
    assert json.loads(sums) == [{"s": tc.Catalog(made).sql("SELECT sum(count) FROM bigrams").fetchall()[0][0]}]


@pytest.mark.slow
def test_a_path_is_no_pattern(made: Path, tmp_path: Path, demo_data: Path) -> None:
    """Beside a folder that the name of another one would match, each answers for itself."""
    (tmp_path / "b.txt").write_text("other text\n" * 30)
    for name in ("r[1]", "r1", "r*", "r?", "it's", 'a"b', "count=3", "a{b,c}", "ü b", "a\\b", "**"):
        folder = tmp_path / name
        tc.tokenize(tmp_path / "b.txt", folder / "store", tokenizer=str(demo_data))
        tc.ngrams(folder / "store", folder / "c", tc.NgramSettings(min_prefix_count=1))
        if name == "r1":
            shutil.rmtree(folder / "c")
            shutil.copytree(made, folder / "c")
    expected = rows(tmp_path / "r?" / "c")
    assert expected != rows(made)
    for folder in sorted(tmp_path.iterdir()):
        if folder.is_dir():
            assert rows(folder / "c") == (rows(made) if folder.name == "r1" else expected), folder
            if {"\\", "?"} & set(folder.name):  # in these DuckDB writes a file of another name
                assert "DuckDB opens no database" in refusal("duckdb", folder / "c", "--out", folder / "all.duckdb")
            else:
                answer("duckdb", folder / "c", "--out", folder / "all.duckdb")
    assert tc.verify(tmp_path / "r[1]/c") == []


def test_damage_takes_down_what_needs_it(catalog: Path) -> None:
    bigrams = catalog / "ngrams/bigrams/00000.parquet"
    bigrams.write_bytes(bigrams.read_bytes()[:-1])
    (catalog / "ngrams/top_trigrams.parquet").unlink()
    (catalog / "tokens.parquet").write_bytes(b"PAR1 nonsense PAR1")
    listed = json.loads(answer("sql", catalog, "--format", "json"))
    by_name = {row["name"]: row for row in listed}
    assert by_name["trigrams"]["rows"] > 0
    for name, message in (
        ("bigrams", f"{bigrams}: has "),
        ("top_trigrams", "top_trigrams.parquet: is missing"),
        ("tokens", "tokens.parquet: has 18 bytes, the ledger says "),
    ):
        assert by_name[name]["rows"] is None
        assert message in by_name[name]["columns"]
        assert message in refusal("sql", catalog, f"SELECT count(*) FROM {name}")
        with pytest.raises(tc.InputError, match="restore it"):
            tc.Catalog(catalog).table(name)
    assert "1" in answer("sql", catalog, "SELECT 1 FROM trigrams LIMIT 1")
    assert "cannot be read" in refusal("duckdb", catalog, "--out", catalog.parent / "x.duckdb")
    assert not (catalog.parent / "x.duckdb").exists()


def test_a_damaged_ledger_takes_down_its_stage(catalog: Path) -> None:
    ledger = catalog / "ngrams/ledger.json"
    ledger.write_text(ledger.read_text().replace('"complete": true', '"complete": 1'))
    assert str(ledger) in refusal("sql", catalog, "FROM bigrams")
    assert tc.Catalog(catalog).tables == ["tokens"]
    assert answer("sql", catalog, "SELECT count(*) FROM tokens")


def test_completions_need_whole_tables(catalog: Path) -> None:
    """A table that is damaged is neither looked up nor passed over."""
    trigrams = catalog / "ngrams/trigrams/00000.parquet"
    trigrams.write_bytes((catalog / "ngrams/bigrams/00000.parquet").read_bytes())
    assert f"table trigrams cannot be read: {trigrams}: has " in refusal("complete", catalog, "one two three")
    with pytest.raises(tc.InputError, match="table trigrams cannot be read"):
        tc.Catalog(catalog).count([[1, 2, 3]])
    assert tc.Catalog(catalog).count([[1, 2]]).shape == (1,)


@pytest.mark.parametrize("replace", [Path.unlink, lambda path: (path.unlink(), path.mkdir())])
def test_a_stage_that_lost_its_ledger_is_not_passed_over(
    catalog: Path, demo_data: Path, replace: Callable[[Path], object]
) -> None:
    """Or its model's column would be missing, and nothing would say so."""
    tc.predict(catalog, str(demo_data), label="m")
    lost = {"predictions/m": (("sql", "FROM top_bigrams"), ("complete", "one")), "ngrams": (("sql", "FROM bigrams"),)}
    for stage, questions in lost.items():
        replace(catalog / stage / "ledger.json")
        message = f"{catalog / stage}: holds files, but no ledger.json that tells them"
        for command, text in questions:
            assert message in refusal(command, catalog, text)
        assert any(problem.startswith(message) for problem in tc.verify(catalog))


def test_a_flipped_bit_is_found(catalog: Path) -> None:
    path = catalog / "ngrams/trigrams/00000.parquet"
    content = bytearray(path.read_bytes())
    content[100] ^= 1  # in the first page
    path.write_bytes(content)
    for options in ([], ["--verify"]):
        assert "its content is not what the ledger says" in refusal("sql", catalog, "FROM trigrams", *options)
        assert answer("sql", catalog, "SELECT count(*) FROM bigrams", *options)
    assert "its content is not what" in refusal("duckdb", catalog, "--out", catalog.parent / "x.duckdb")
    opened = tc.Catalog(catalog)
    for _ in range(2):
        with pytest.raises(tc.InputError, match="xxh3 differs"):
            opened.sql("SELECT * FROM bigrams JOIN trigrams USING (id0)")


def test_a_name_is_no_sql(catalog: Path) -> None:
    """A folder of the catalog is named as somebody likes."""
    odd = catalog / "scan_4', (SELECT 42) --" / "x"
    odd.mkdir(parents=True)
    (odd / "ledger.json").write_text("{}")
    listed = json.loads(answer("sql", catalog, "--format", "json"))
    assert {row["name"] for row in listed} > {odd.parent.name, "bigrams"}


def outcome(result: Result) -> str:
    assert result.exit_code == 2
    return result.stderr


def test_out_overwrites_nothing_of_ours(made: Path, catalog: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.csv"
    mine.write_text("precious")
    before, store = tree(catalog), tree(made.parent / "store")
    for command in (("sql", catalog, "FROM bigrams"), ("duckdb", catalog)):
        assert "is there already" in refusal(*command, "--out", mine)
        assert mine.read_text() == "precious"
        for target in ("catalog.json", "new.csv", "ngrams/new.csv", "ngrams/bigrams/00000.parquet"):
            message = refusal(*command, "--out", catalog / target, "--force")
            assert "which taskcatalog made" in message
        assert "which taskcatalog made" in refusal(*command, "--out", made.parent / "store/x.csv", "--force")
        (tmp_path / "folder.csv").mkdir(exist_ok=True)
        assert "is a folder" in refusal(*command, "--out", tmp_path / "folder.csv", "--force")
        assert "no ordinary file" in refusal(*command, "--out", "/dev/null", "--force", *_as_csv(command))
        link = tmp_path / "link.csv"
        link.unlink(missing_ok=True)
        link.symlink_to(catalog / "catalog.json")
        assert "which taskcatalog made" in refusal(*command, "--out", link, "--force")
        answer(*command, "--out", mine, "--force")
        assert mine.read_bytes() != b"precious"
        mine.write_text("precious")
    assert tree(catalog) == before
    assert tree(made.parent / "store") == store


def _as_csv(command: tuple[object, ...]) -> list[str]:
    return ["--format", "csv"] if command[0] == "sql" else []


def test_the_name_tells_the_format(made: Path, tmp_path: Path) -> None:
    query = "SELECT id0 FROM bigrams ORDER BY ALL LIMIT 2"
    expected = tc.Catalog(made).sql(query).fetchall()
    for name in ("a.csv", "a.json", "a.parquet"):
        answer("sql", made, query, "--out", tmp_path / name)
    assert (tmp_path / "a.csv").read_text().split() == ["id0", *(str(id0) for (id0,) in expected)]
    assert [tuple(row.values()) for row in json.loads((tmp_path / "a.json").read_text())] == expected
    assert [tuple(row.values()) for row in pq.read_table(tmp_path / "a.parquet").to_pylist()] == expected
    assert "end it in .csv, .json, .parquet, or give --format" in refusal("sql", made, query, "--out", tmp_path / "a.x")
    answer("sql", made, query, "--out", tmp_path / "a.x", "--format", "table")


def test_leftovers_of_killed_commands_go(made: Path, tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left = [tmp_path / f"x.duckdb.{gone.pid}.partial{end}" for end in ("", ".wal")]
    others = [tmp_path / f"x.duckdb.{os.getppid()}.partial", tmp_path / f"y.duckdb.{gone.pid}.partial"]
    for path in [*left, *others]:
        path.write_text("half")
    answer("duckdb", made, "--out", tmp_path / "x.duckdb")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "x.duckdb", *others])


def test_duckdb_has_the_same_rows_again(made: Path, tmp_path: Path) -> None:
    """In the same order; its bytes are DuckDB's own, which differ."""
    contents = []
    for name in ("a.duckdb", "b.duckdb"):
        tc.write_duckdb(made, tmp_path / name)
        with duckdb.connect(tmp_path / name, read_only=True) as database:
            names = [row[0] for row in database.sql("SHOW TABLES").fetchall()]
            contents.append({one: database.sql(f'FROM "{one}"').fetchall() for one in names})
    assert contents[0] == contents[1] == rows(made)


def test_complete_and_count_say_what_they_take(made: Path) -> None:
    opened = tc.Catalog(made)
    assert "0" in outcome(invoke("complete", made, "import", "--limit", 0))
    for limit in (0, -1):
        with pytest.raises(tc.SettingsError, match="at least 1"):
            opened.complete("import", limit)
    odd: tuple[Any, ...] = ([0.5], [], [[]], ["import", ""], [[1.5], [2]], [1, "import"], [None], [2**63], None, b"x")
    for prefix in odd:
        with pytest.raises(tc.SettingsError):
            opened.complete(prefix)
    wrong: tuple[Any, ...] = (
        [[0.5, 1]],
        [[[1, 2]]],
        [["a", "b"]],
        [[1], [1, 2, 3, 4]],
        [[1, 2, 3, 4]],
        [[2**63, 1]],
        None,
        [],
        {1},
        b"x",
    )
    for ngrams in wrong:
        with pytest.raises(tc.SettingsError) as raised:
            opened.count(ngrams)
        assert "\n" not in str(raised.value)
    assert opened.complete([70_000]).sum_count == opened.complete([-1]).sum_count == 0
    with pytest.raises(tc.SettingsError, match="ids from 0 up"):
        opened.text([-1])


def test_memory_is_an_option_of_what_sorts(made: Path, tmp_path: Path) -> None:
    [(limit,)] = (
        connect(CatalogFolder(made), "1GiB").connection.sql("SELECT current_setting('memory_limit')").fetchall()
    )
    assert limit == "1.0 GiB"
    assert "all is well" in answer("verify", made, "--memory", "300MB")
    answer("duckdb", made, "--out", tmp_path / "x.duckdb", "--memory", "300MB")
    for command in (("sql", made), ("verify", made), ("duckdb", made, "--out", tmp_path / "y.duckdb")):
        assert "'much' is not a size" in refusal(*command, "--memory", "much")


def test_tables_that_are_made_anew_while_a_catalog_is_open(catalog: Path, made: Path) -> None:
    opened = tc.Catalog(catalog)
    [(before,)] = opened.sql("SELECT count(*) FROM top_bigrams").fetchall()
    opened.complete([0])
    tc.ngrams(made.with_name("store"), catalog, tc.NgramSettings(n=(2, 3), min_share=0.9), force=True)
    for call in (lambda: opened.sql("FROM top_bigrams"), lambda: opened.complete([0]), lambda: opened.count([[0, 1]])):
        with pytest.raises(tc.InputError, match="was made anew since the catalog was opened: open it again"):
            call()
    assert tc.Catalog(catalog).sql("SELECT count(*) FROM top_bigrams").fetchall() != [(before,)]


def test_a_stage_that_is_not_finished_says_so(catalog: Path) -> None:
    inputs = {"store": tc.Catalog(catalog).identity.fingerprint}
    with Ledger.begin(catalog / "ngrams", STAGE, inputs, {"n": [2]}, force=True) as ledger:
        ledger.finish_part("count", Part.of({}, Facts(amount=1)))
    for name in ("bigrams", "top_bigrams"):
        said = refusal("sql", catalog, f"FROM {name}")
        assert f"table {name} is not there yet: {catalog}/ngrams: is not finished" in said
