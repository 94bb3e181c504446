"""A catalog as an object: what it shows of itself, what its methods take, and the functions that its SQL has."""

import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import taskcatalog as tc
from helpers import answer, refusal
from taskcatalog.display import visible
from taskcatalog.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def made(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.txt").write_text("import os\nimport sys\nimport os\n\tprint(os)\n" * 50)
    tc.tokenize(folder / "a.txt", folder / "store", tokenizer=str(demo_data))
    tc.ngrams(folder / "store", folder / "catalog", tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    return folder / "catalog"


@pytest.fixture
def catalog(made: Path) -> tc.Catalog:
    return tc.Catalog(made)


def random_ids(n_ids: int, n_rows: int) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(0, n_ids, generator.integers(0, 9)).tolist() for _ in range(n_rows)]


def vocabulary_of(catalog: tc.Catalog) -> Vocabulary:
    assert catalog.vocabulary is not None
    return catalog.vocabulary


def test_a_catalog_shows_its_tables(catalog: tc.Catalog) -> None:
    lines = repr(catalog).splitlines()
    assert lines[0] == f"Catalog({str(catalog.folder.path)!r})"
    shown = {name: int(rows.replace(",", "")) for name, rows in map(str.split, lines[1:])}
    assert shown == {name: catalog.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in catalog.tables}
    html = catalog._repr_html_()
    assert all(f">{name}</td><td>{rows:,}</td>" in html for name, rows in shown.items())


def test_html_is_escaped(made: Path) -> None:
    link = made.with_name("a<b>&c")
    link.symlink_to(made)
    html = tc.Catalog(link)._repr_html_()
    assert "a&lt;b&gt;&amp;c" in html
    assert "<b>&c" not in html


def test_what_several_models_make_is_shown_without_asking(made: Path, demo_data: Path) -> None:
    """A table that only a query can count has no number, and costs nothing."""
    settings = tc.ScanSettings(max_tokens=500, min_probability=0.0, min_divergence=0.0)
    for label in ("one", "two"):
        tc.scan(made.with_name("store"), str(demo_data), made.with_name("scanned"), settings, label=label)
    shown = repr(tc.Catalog(made.with_name("scanned")))
    assert [line.split() for line in shown.splitlines() if "scan_4_models" in line] == [["scan_4_models"]]


def test_tables_by_name(catalog: tc.Catalog) -> None:
    assert "bigrams" in catalog
    assert "4grams" not in catalog
    assert 3 not in catalog
    assert catalog["bigrams"].fetchall() == catalog.table("bigrams").fetchall()
    for name in ("4grams", 3, None):
        with pytest.raises(tc.SettingsError, match="bigrams"):
            catalog[name]  # type: ignore[index]
    with pytest.raises(TypeError, match=r"catalog\.tables"):
        list(catalog)  # type: ignore[call-overload]


def test_a_closed_catalog_says_so(made: Path) -> None:
    with tc.Catalog(made) as opened:
        assert opened.sql("SELECT 1").fetchall() == [(1,)]
    with pytest.raises(tc.SettingsError, match="was closed: open it again"):
        opened.sql("SELECT 1")


def test_parameters(catalog: tc.Catalog) -> None:
    assert catalog.sql("SELECT ? + 1, ?", [1, "a'b"]).fetchall() == [(2, "a'b")]
    assert catalog.sql("SELECT $a, text($ids)", {"a": np.int64(3), "ids": [72, 73]}).fetchall() == [(3, "hi")]
    assert catalog.sql("SELECT sum(count) FROM bigrams WHERE id0 = ?", (725,)).fetchall() == [(150,)]
    # A parameter is a value: never a table, never more SQL.
    for query in ("FROM ?", "SELECT * FROM read_csv(?)", "SELECT getenv(?)", "INSTALL ?"):
        with pytest.raises(tc.SettingsError):
            catalog.sql(query, ["/etc/passwd"]).fetchall()
    for odd in ("a", 3, {1}, [], [1, 2], {"b": 1}, [object()]):
        with pytest.raises(tc.SettingsError) as raised:
            catalog.sql("SELECT ?", odd).fetchall()  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)
    with pytest.raises(tc.SettingsError, match="give one SELECT as a text"):
        catalog.sql(3)  # type: ignore[arg-type]


def frames_of_all_kinds() -> list[object]:
    columns = {"id0": [725, 8], "mine": [1.5, 2.5]}
    table = pa.table(columns)
    frames: list[object] = [columns, table, table.to_batches()[0], table.to_reader()]
    for library in ("pandas", "polars"):
        try:
            frames.append(__import__(library).DataFrame(columns))
        except ImportError:
            continue
    return frames


def test_frames_of_the_caller(catalog: tc.Catalog) -> None:
    query = 'SELECT mine, sum(count) FROM bigrams JOIN "Frame" USING (id0) GROUP BY 1 ORDER BY 1'
    frames = frames_of_all_kinds()
    assert len(frames) >= 4
    for frame in frames:
        relation = catalog.sql(query, frames={"Frame": frame})
        assert relation.fetchall() == [(1.5, 150), (2.5, 50)]
    assert catalog.sql("SELECT * FROM f WHERE mine > ?", [2], frames={"f": frames[0]}).fetchall() == [(8, 2.5)]
    pandas = pytest.importorskip("pandas")
    indexed = pandas.DataFrame({"x": [1]}, index=["row"])
    assert catalog.sql("FROM f", frames={"f": indexed}).columns == ["x"]


def test_a_frame_is_there_for_one_query(catalog: tc.Catalog, made: Path) -> None:
    first, second = (catalog.sql("FROM f", frames={"f": {"x": [i]}}) for i in (1, 2))
    assert (first.fetchall(), second.fetchall()) == ([(1,)], [(2,)])
    for other in (catalog, tc.Catalog(made)):
        with pytest.raises(tc.SettingsError, match="table 'f' is not in"):
            other.sql("FROM f")
    f = pa.table({"x": [1]})  # a name of the program that asks
    with pytest.raises(tc.SettingsError, match="table 'f' is not in"):
        catalog.sql("FROM f")
    assert f.num_rows == 1


def test_frames_replace_nothing_and_lend_nothing_else(catalog: tc.Catalog, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("password\n")
    before = catalog["bigrams"].fetchall()
    names = ["bigrams", "Bigrams", "scan_4", "predictions", "sqlite_master", "pg_class", "a b", 'a"b', "a.b", "", 3]
    for name in names:
        with pytest.raises(tc.SettingsError, match="frames: "):
            catalog.sql("FROM bigrams", frames={name: {"x": [1]}})  # type: ignore[dict-item]
    with pytest.raises(tc.SettingsError, match="two of them are called A"):
        catalog.sql("SELECT 1", frames={"a": {"x": [1]}, "A": {"x": [1]}})
    for query in (
        "DROP TABLE f", "INSERT INTO f VALUES (2)", "FROM temp.f", "FROM duckdb_tables()",
        f"FROM '{tmp_path}/secret.csv'", "CREATE TABLE g AS FROM f", 'FROM "f given"',
    ):  # fmt: skip
        with pytest.raises(tc.SettingsError):
            catalog.sql(query, frames={"f": {"x": [1]}}).fetchall()
    for odd in (3, "text", [1, 2], object(), {"x": [1], "y": [1, 2]}, {"x": [object()]}, None):
        with pytest.raises(tc.SettingsError, match="frames: f ") as raised:
            catalog.sql("SELECT 1", frames={"f": odd})
        assert "\n" not in str(raised.value)
    with pytest.raises(tc.SettingsError, match="give a dictionary of names and tables"):
        catalog.sql("SELECT 1", frames=[1])  # type: ignore[arg-type]
    assert catalog["bigrams"].fetchall() == before


def test_text_in_sql_is_the_vocabulary_s(catalog: tc.Catalog) -> None:
    """Also where bytes are no UTF-8, as of half of a character, and for ids beyond the vocabulary."""
    vocabulary = vocabulary_of(catalog)
    rows = random_ids(len(vocabulary) + 50, 5_000)
    texts = catalog.sql("SELECT text(ids) FROM f", frames={"f": {"ids": rows}}).fetchall()
    expected = [vocabulary.text(ids) for ids in rows]
    assert [text for (text,) in texts] == expected
    assert sum("\ufffd" in text for text in expected) > 100
    assert sum("<82" in text for text in expected) > 10
    assert catalog.text(rows) == expected


def test_text_of_nothing_is_nothing(catalog: tc.Catalog) -> None:
    query = "SELECT text(NULL), text([1, NULL]), text([]), text(ids) FROM f"
    frame = pa.table({"ids": pa.array([[72], None, [73, None], []], pa.list_(pa.uint16()))})
    assert catalog.sql(query, frames={"f": frame}).fetchall() == [
        (None, None, "", "h"),
        (None, None, "", None),
        (None, None, "", None),
        (None, None, "", ""),
    ]
    with pytest.raises(Exception, match="text takes ids from 0 up"):
        catalog.sql("SELECT text([-1])").fetchall()


def test_an_answer_outlives_its_catalog(made: Path) -> None:
    relations = [tc.Catalog(made).sql(f"SELECT text([{id_}]) FROM range(3)") for id_ in (72, 73)]
    gc.collect()
    assert [relation.fetchall()[2] for relation in relations] == [("h",), ("i",)]
    with tc.Catalog(made) as opened:
        closed = opened.sql("SELECT text([72]) FROM range(100000)")
    gc.collect()
    with pytest.raises(Exception, match="closed"):
        closed.fetchall()


def test_functions_in_the_command(made: Path) -> None:
    query = "SELECT visible(text([id0, id1])) AS t FROM bigrams ORDER BY count DESC, id0, id1"
    opened = tc.Catalog(made)
    vocabulary = vocabulary_of(opened)
    rows = opened.sql("SELECT id0, id1 FROM bigrams ORDER BY count DESC, id0, id1").fetchall()
    assert answer("sql", made, query, "--format", "csv").splitlines()[1:] == [
        f'"{text}"' if "," in (text := visible(vocabulary.text(ids))) else text for ids in rows
    ]
    assert "text takes ids from 0 up" in refusal("sql", made, "SELECT text([-1])", "--format", "csv")


def test_without_a_tokenizer_there_is_no_text(tmp_path: Path) -> None:
    np.arange(500, dtype=np.uint16).tofile(tmp_path / "flat.bin")
    tc.ngrams(tmp_path / "flat.bin", tmp_path / "c")
    opened = tc.Catalog(tmp_path / "c")
    assert opened.sql("SELECT visible('a b')").fetchall() == [("a·b",)]
    assert "without a tokenizer" in refusal("sql", tmp_path / "c", "SELECT text([1])", "--format", "csv")
    for call in (lambda: opened.text([1]), lambda: opened.count(["a"]), lambda: opened.complete(["a"])):
        with pytest.raises(tc.InputError, match="made without a tokenizer"):
            call()
    assert opened.complete([[1], [2]])["prefix"].to_pylist() == [None, None]


def test_damaged_tokens_have_no_text(made: Path, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    for path in made.iterdir():
        (tmp_path / "c" / path.name).symlink_to(path)
    (tmp_path / "c/tokens.parquet").unlink()
    content = bytearray((made / "tokens.parquet").read_bytes())
    content[1_000] ^= 1
    (tmp_path / "c/tokens.parquet").write_bytes(content)
    with pytest.raises(Exception, match=r"tokens\.parquet"):
        tc.Catalog(tmp_path / "c").sql("SELECT text([1])").fetchall()


def test_counts_of_rows_of_any_length(catalog: tc.Catalog) -> None:
    vocabulary = vocabulary_of(catalog)
    [stream] = vocabulary.encode_batch(["import os\nimport sys\nimport os\n\tprint(os)\n" * 50])
    rows = [row[:3] for row in random_ids(len(vocabulary), 200) if row]
    rows += [stream[i : i + n] for i in range(20) for n in (1, 2, 3)]

    def naive(row: list[int]) -> int:
        return sum(stream[i : i + len(row)] == row for i in range(len(stream)))

    # The store ends with an end of text.
    expected = [naive(row) for row in rows]
    assert sum(expected) > 1_000
    assert catalog.count(rows).tolist() == expected
    assert catalog.count(pa.array(rows)).tolist() == expected
    assert catalog.count([np.array(row, np.uint16) for row in rows]).tolist() == expected
    assert catalog.count(tuple(map(tuple, rows))).tolist() == expected
    texts = ["import", "import os", " sys", "import zebra"]
    of_texts = [naive(vocabulary.encode(text)) for text in texts[:3]]
    assert catalog.count(texts[:3]).tolist() == of_texts
    assert catalog.count(pa.array(texts[:3])).tolist() == of_texts
    assert catalog.count("import os").tolist() == [naive(vocabulary.encode("import os"))]
    assert catalog.count(stream[:2]).tolist() == [naive(stream[:2])]
    with pytest.raises(tc.SettingsError, match=r"that is there \(1, 2, 3\): row 1 has 4 ids"):
        catalog.count([[1], [1, 2, 3, 4]])


def test_completions_of_many_prefixes(catalog: tc.Catalog) -> None:
    vocabulary = vocabulary_of(catalog)
    prefixes = ["import", " os", "zebra zebra", "import sys\nimport os", "import"]
    many = catalog.complete(prefixes, limit=2)
    assert many.column_names[:4] == ["prefix", "prefix_ids", "sum_count", "rank"]
    expected = []
    for prefix in prefixes:
        one = catalog.complete(prefix, limit=2)
        first = {"prefix": prefix, "prefix_ids": one.prefix_ids, "sum_count": one.sum_count}
        expected += [first | row for row in one.table.to_pylist()]
    assert many.to_pylist() == expected
    assert len(expected) == 6
    by_ids = catalog.complete([vocabulary.encode(prefix) for prefix in prefixes], limit=2)
    assert by_ids.to_pylist() == many.to_pylist()
    assert catalog.complete(np.array([[725], [619]])).num_rows == catalog.complete(["import", " os"]).num_rows


def test_completions_have_each_models_probability(made: Path, demo_data: Path, tmp_path: Path) -> None:
    tc.ngrams(made.with_name("store"), tmp_path / "c", tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    for label in ("one", "two"):
        tc.predict(tmp_path / "c", str(demo_data), label=label)
    catalog = tc.Catalog(tmp_path / "c")
    p = {tuple(ids): p for ids, p in catalog.sql("SELECT ids, p FROM predictions WHERE model = 'two'").fetchall()}
    rows = catalog.complete(["import", "import os", "import"]).to_pylist()
    found = [row["p_two"] for row in rows]
    assert found == [p.get((*row["prefix_ids"], row["id"])) for row in rows]
    assert sum(one is not None for one in found) >= 3
    assert any(one is None for one in found)
    assert found == [row["p_one"] for row in rows]


def test_texts_of_ids(catalog: tc.Catalog) -> None:
    assert catalog.text([72, 73]) == catalog.text(np.array([72, 73])) == "hi"
    assert catalog.text([[72, 73], [], [72]]) == ["hi", "", "h"]
    assert catalog.text(np.array([[72, 73]])) == ["hi"]
    assert catalog.text(pa.array([[72], [73, 73]])) == ["h", "ii"]
    assert catalog.text(72) == "h"
    assert catalog.text([]) == ""
    strange: tuple[Any, ...] = ("h", ["h"], [[-1]], [1.5], None, [None], {1}, {"a": 1})
    for odd in strange:
        with pytest.raises(tc.SettingsError, match="text takes") as raised:
            catalog.text(odd)
        assert "\n" not in str(raised.value)


def test_a_program_that_ends_with_an_open_catalog_is_silent(made: Path) -> None:
    script = (
        "import sys, taskcatalog as tc\ncatalog = tc.Catalog(sys.argv[1])\n"
        "rows = catalog.sql('SELECT text([72])')\nassert rows.fetchall() == [('h',)]\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(made)], capture_output=True, text=True, check=True)
    assert done.stdout + done.stderr == ""
