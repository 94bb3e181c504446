"""What a table is declared to be is what stages write, SQL answers, ``verify`` checks and the docs say."""

import re
import sys
from dataclasses import replace
from pathlib import Path, PurePath

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import taskcatalog as tc
from helpers import library_texts, write_jsonl
from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.lm import measures as computed
from taskcatalog.runs.ledger import Ledger
from taskcatalog.stores import token_store
from taskcatalog.tables import measures, registry
from taskcatalog.tables.measures import Measure

ROOT = Path(__file__).parents[1]
SCRIPTS = ROOT / "scripts"


@pytest.fixture(scope="module")
def store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    source = write_jsonl(folder / "a.jsonl", [text[:3_000] for text in library_texts(4)])
    tc.tokenize(source, folder / "store", str(demo_data), tc.TokenizeSettings(sequence_length=200))
    return folder / "store"


@pytest.fixture(scope="module")
def catalog(store: Path, demo_data: Path) -> Path:
    """One with every kind of table."""
    folder, model = store.with_name("catalog"), str(demo_data)
    tc.ngrams(store, folder, tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    settings = tc.ScanSettings(all_measures=True, min_divergence=0.1, max_tokens=600)
    for label in ("one", "two"):
        tc.predict(folder, model, label=label)
        tc.scan(store, model, folder, settings, label=label)
    return folder


def page(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), *sys.path])
    from make_table_docs import table_docs

    return table_docs()


def test_the_page_is_what_the_script_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (ROOT / "docs/tables.md").read_text() == page(monkeypatch)


def test_queries_on_the_page_are_answered(catalog: Path) -> None:
    queries = "".join(re.findall(r"```sql\n(.*?)```", (ROOT / "docs/tables.md").read_text(), re.DOTALL)).split(";\n")
    assert len(queries) == 4
    with tc.Catalog(catalog) as opened:
        for query in filter(None, queries):
            assert len(opened.sql(query).fetchall()) == 10, query


def test_every_table_is_found_by_its_name() -> None:
    tables = list(registry.all_tables())
    for table in tables:
        assert registry.find(table.name.upper()) == table
        names = [column.name for column in table.columns]
        assert len({name.lower() for name in names}) == len(names)
        assert all(column.meaning and not column.meaning.endswith(".") for column in table.columns)
        assert {term.removesuffix(" DESC") for term in table.order} | {*table.key} <= {*names}
    assert len({table.name for table in tables}) == len(tables)
    assert [registry.find(name) for name in ("6grams", "scan_17", "unigram_prefixes", "")] == [None] * 4


def test_every_file_is_of_one_table(catalog: Path, store: Path) -> None:
    """And has its columns."""
    folder = CatalogFolder(catalog)
    ids = folder.identity().id_dtype
    ledgers = [*map(Ledger.read, folder.stages()), Ledger.read(store)]
    made = set()
    for ledger in ledgers:
        for path in (path for path in ledger.files() if path.suffix == ".parquet"):
            below = path.relative_to(ledger.folder)
            tables = [table for table in registry.all_tables() if table.stage == ledger.stage and table.owns(below)]
            if ledger.stage == "scan":  # of every prompt length; the folder tells which
                tables = [table for table in tables if PurePath(table.folder).parts[0] == ledger.folder.parent.name]
            [table] = tables
            assert pq.read_schema(path).equals(table.schema(ids)), table.name
            made.add(table.name)
    assert made > {"unigrams", "trigram_prefixes", "top_bigrams", "predictions", "scan_4", "measures_4", "documents"}
    assert {*registry.files_of("tokenize")} < {*token_store.STAGE.files}


def test_each_column_is_described(catalog: Path) -> None:
    with tc.Catalog(catalog) as opened:
        for name in opened.tables:
            described = {row[0]: row[1:] for row in opened.describe(name).fetchall()}
            there = opened.sql(f"DESCRIBE {name}").fetchall()
            assert [(column, kind) for column, kind, *_ in there] == [(one, told[0]) for one, told in described.items()]
            assert all(meaning for _, _, meaning, _ in described.values()), name
        models = dict.fromkeys(("one", "two"))
        for table, start in (("top_trigrams", "p_"), ("scan_4_models", "p_long_")):
            meanings = {row[0]: row[3] for row in opened.describe(table).fetchall()}
            assert all(f"the model `{label}`" in meanings[start + label] for label in models)
        assert opened.describe("bigram_prefixes").fetchall()[3] == (
            "max_count",
            "UBIGINT",
            "occurrences",
            "how often the most frequent completion follows the prefix",
            "max `count` of `bigrams`",
        )
        with pytest.raises(tc.SettingsError, match="table 'x' is not in"):
            opened.describe("x")


def test_one_file_of_all_tables_says_what_they_mean(catalog: Path, tmp_path: Path) -> None:
    rows = tc.write_duckdb(catalog, tmp_path / "x.duckdb")
    with duckdb.connect(tmp_path / "x.duckdb", read_only=True) as database:
        said = database.sql(
            "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal"
        ).fetchall()
        about = dict(database.sql("SELECT table_name, comment FROM duckdb_tables()").fetchall())
    assert {name for name, _, _ in said} == rows.keys() == about.keys()
    assert [column for *column, comment in said if not comment] == []
    assert [name for name, comment in about.items() if not comment] == []
    assert ("scan_4", "JS") in {(name, column) for name, column, comment in said if "half the Jeffreys" in comment}


def test_a_measure_is_declared_once(
    store: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One more: a declaration and its computation. Tables, description, page and rules follow."""
    overlap = Measure(
        name="overlap",
        type="float32",
        meaning="how much of their probability S and L share",
        unit="probability",
        source="Σ min(S, L)",
        least=0,
        most=1.001,
        needs="both distributions",
    )
    compared = computed._compared

    def with_overlap(
        short: torch.Tensor, best_short: computed.Best, long: torch.Tensor, best_long: computed.Best
    ) -> computed.Measured:
        s, l = (computed._log_p(a.clone(), best).exp() for a, best in ((short, best_short), (long, best_long)))  # noqa: E741
        return {**compared(short, best_short, long, best_long), "overlap": torch.minimum(s, l).sum(-1)}

    monkeypatch.setattr(measures, "MEASURES", (*measures.MEASURES, overlap))
    monkeypatch.setattr(computed, "_compared", with_overlap)
    monkeypatch.setitem(computed._TOGETHER, "overlap", torch.add)
    settings = tc.ScanSettings(all_measures=True, min_divergence=0.1, max_tokens=400)
    tc.scan(store, str(demo_data), tmp_path / "c", settings, label="one")
    with tc.Catalog(tmp_path / "c") as catalog:
        for table in ("scan_4", "measures_4"):
            [(rows, low, high, least_slack)] = catalog.sql(
                # The total variation, 1 - overlap, is at least the largest change of one token's probability.
                f"SELECT count(*), min(overlap), max(overlap), min(1 - overlap - p_delta_max) FROM {table}"
            ).fetchall()
            assert rows
            assert 0 < low < high < 1.001
            assert least_slack > -1e-4
            assert ("overlap", "FLOAT", "probability", overlap.meaning, overlap.source) in catalog.describe(
                table
            ).fetchall()
    assert tc.verify(tmp_path / "c") == []
    assert page(monkeypatch).count(f"| `overlap` | float32 | probability | {overlap.meaning} | Σ min(S, L) |") == 2
    declared = registry.find("scan_4")
    assert declared is not None
    assert declared.schema().field("overlap").type == pa.float32()
    monkeypatch.setattr(measures, "MEASURES", (*measures.MEASURES[:-1], replace(overlap, most=0.01)))
    said = tc.verify(tmp_path / "c")
    assert len(said) == 2
    assert all("against the rule: `overlap` is finite and at least 0 and at most 0.01 (" in problem for problem in said)
