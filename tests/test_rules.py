"""``verify`` finds whatever breaks a rule that a table is declared with, where every ledger and digest is in order."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from taskcatalog.catalog import verify
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.rules import Rows
from taskcatalog.runs.files import read_signed, write_signed
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import describe
from taskcatalog.tables.declare import Column

TEXT = "import os\nimport sys\nfor name in os.listdir(sys.path[0]):\n    print(name)\n"


@pytest.fixture(scope="module")
def catalog(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One with tables of every kind."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.txt").write_text(TEXT * 40 + TEXT.replace("import", "from") * 10)
    model = str(demo_data)
    tc.tokenize(folder / "a.txt", folder / "store", model, tc.TokenizeSettings(sequence_length=64))
    tc.ngrams(folder / "store", folder / "catalog", tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    tc.predict(folder / "catalog", model, label="one")
    settings = tc.ScanSettings(all_measures=True, min_divergence=0.01)
    tc.scan(folder / "store", model, folder / "catalog", settings, label="one")
    return folder / "catalog"


@dataclass(frozen=True)
class Edit:
    """Another content of one table's first file: ``expression`` for a column in some rows, or other rows."""

    table: str
    column: str = ""
    expression: str = ""
    where: str = "nr = 1"
    rows: str = "FROM t ORDER BY nr"

    def query(self, columns: list[str]) -> str:
        changed = f"CASE WHEN {self.where} THEN {self.expression} ELSE {self.column} END"
        picked = ", ".join(f"{changed} AS {name}" if name == self.column else name for name in columns)
        return f"SELECT {picked} {self.rows}"


ONE_LESS = "FROM t WHERE nr <> 1 ORDER BY nr"
ONE_TWICE = "FROM (FROM t UNION ALL FROM t WHERE nr = 1) ORDER BY nr"
BACKWARDS = "FROM t ORDER BY nr DESC"
EDITS = [
    Edit("tokens", rows=ONE_LESS),
    Edit("unigrams", "count", "count + 1"),
    *(Edit("bigram_prefixes", column, f"{column} + 1") for column in ("sum_count", "max_count", "completions", "id1")),
    *(Edit("trigram_prefixes", column, f"{column} + 1") for column in ("max_count", "completions", "entropy", "id2")),
    *(Edit(f"{kind}_prefixes", "frac_max", "frac_max / 2") for kind in ("bigram", "trigram")),
    *(Edit(f"{kind}_prefixes", "sum_count", "1000000") for kind in ("bigram", "trigram")),
    Edit("bigram_prefixes", "entropy", "entropy + 0.001"),
    *(Edit(f"top_{kind}", "max_count", "max_count - 1") for kind in ("bigrams", "trigrams")),
    Edit("predictions", "model", "'two'"),
    Edit("predictions", "ids", "list_append(ids, 1)"),
    Edit("predictions", "best_p", "p / 2"),
    Edit("predictions", "rank", "2", where="ids[-1] = best_id"),
    Edit("scan_4", "model", "'three'"),
    Edit("scan_4", "p_long", "0.5"),
    Edit("scan_4", "jsd", "0.69", where="JS < 1"),
    Edit("scan_4", "long_ids", "list_append(long_ids, 1)"),
    Edit("scan_4", "context_ids", "list_reverse(context_ids)"),
    Edit("scan_4", "true_next_id", "true_next_id + 1", where="true_next_id IS NOT NULL"),
    Edit("scan_4", "task_id", "'0123456789abcdef'"),
    Edit("scan_4", "count", "count + 1"),
    Edit("scan_4", "corpus_count", "count - 1", where="count > 1"),
    Edit("scan_4", "documents", "corpus_count + 1"),
    Edit("scan_4", rows=ONE_TWICE),
    Edit("measures_4", "model", "'three'"),
    Edit("measures_4", "jsd", "JS", where="JS BETWEEN 0.1 AND 0.6"),
]


def bounds(column: Column, size: int) -> Iterator[str]:
    """Values that the column must not have."""
    if column.type == "id":
        yield f"{size}"
    if column.type == "ids":
        yield f"list_append({column.name}[2:], {size})"
    if column.type in ("float32", "float64"):
        yield "'nan'::DOUBLE"
    if column.least is not None and column.least != 0:
        yield f"{column.least} - 1"
    if column.most is not None:
        yield f"{column.most} + 1"


def edits_of(rows: Rows) -> Iterator[Edit]:
    """Those that a table's declaration calls for, and ours."""
    name = rows.table.name
    yield from (edit for edit in EDITS if edit.table == name)
    yield from (Edit(name, rows=other) for other in (ONE_LESS, BACKWARDS))
    for column in rows.table.columns:
        yield from (Edit(name, column.name, value) for value in bounds(column, rows.identity.vocabulary_size))


@contextmanager
def edited(file: Path, edit: Edit, schema: pa.Schema | None = None) -> Iterator[None]:
    """The catalog with a file that was edited, and whose ledger says that it should be so."""
    signed = next(path / name for path in file.parents for name in ("ledger.json", "catalog.json")
                  if (path / name).is_file())  # fmt: skip
    before = file.read_bytes(), signed.read_bytes()
    schema = schema or pq.read_schema(file)
    with duckdb.connect() as database:
        database.execute(f"CREATE TABLE t AS SELECT *, row_number() OVER () AS nr FROM read_parquet('{file}')")
        pq.write_table(database.sql(edit.query(schema.names)).to_arrow_table().cast(schema), file)
    content = read_signed(signed, json.loads(signed.read_text())["format"], "ledger")
    entries = [content["files"]] if "files" in content else [part["files"] for part in content["parts"].values()]
    for entry in entries:
        if (name := file.relative_to(signed.parent).as_posix()) in entry:
            entry[name] = describe(file)
    write_signed(signed, content)
    yield
    file.write_bytes(before[0])
    signed.write_bytes(before[1])


def all_rows(catalog: Path) -> list[Rows]:
    folder = CatalogFolder(catalog)
    return list(verify._all_rows(folder, [Ledger.read(stage) for stage in folder.stages()]))


def test_edits_are_found(catalog: Path) -> None:
    """Some of them, with the rule and the number of rows."""
    files = {rows.table.name: rows.files[0] for rows in all_rows(catalog)}
    for edit, message in (
        (Edit("trigrams", rows=BACKWARDS), "ngrams: trigrams: rows are not in the order of id0, id1, id2 ("),
        (
            Edit("bigram_prefixes", "sum_count", "sum_count + 1"),
            "`sum_count` is the sum of their counts in `bigrams`",
        ),
        (
            Edit("scan_4", "jsd", "0.7"),
            "scan_4/one: scan_4: against the rule: `jsd` is finite and at least -1e-05 and",
        ),
    ):
        with edited(files[edit.table], edit):
            assert [problem for problem in tc.verify(catalog) if message in problem] != []
    assert tc.verify(catalog) == []


def test_other_columns_are_found(catalog: Path) -> None:
    [file] = (rows.files[0] for rows in all_rows(catalog) if rows.table.name == "bigrams")
    with edited(file, Edit("bigrams"), pa.schema([("id0", pa.uint16()), ("id1", pa.uint16()), ("count", pa.int64())])):
        said = "its columns are id0 uint16, id1 uint16, count int64, not id0 uint16, id1 uint16, count uint64"
        assert tc.verify(catalog) == [f"{file}: {said}"]


@pytest.mark.slow
def test_every_rule_finds_what_breaks_it(catalog: Path) -> None:
    """Each edit is found, and each rule of each table finds an edit."""
    assert tc.verify(catalog) == []
    unbroken = {f"{rows.where}: against the rule: {rule}" for rows in all_rows(catalog)
                for rules in rows.rules() for rule in rules.hold}  # fmt: skip
    unbroken |= {f"{rows.where}: rows are not in the order of" for rows in all_rows(catalog) if rows.table.order}
    assert len(unbroken) > 100
    for rows in all_rows(catalog):
        for edit in edits_of(rows):
            with edited(rows.files[0], edit):
                problems = tc.verify(catalog)
            assert problems != [], edit
            unbroken -= {rule for rule in unbroken if any(problem.startswith(rule) for problem in problems)}
    assert unbroken == set()
    assert tc.verify(catalog) == []
