"""Each named question, against a plain answer in Python from the files."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal
from taskcatalog.questions import Question
from taskcatalog.tables.names import id_columns, ngram_table, top_table

Row = dict[str, Any]


@pytest.fixture(scope="module")
def catalog(two_models: Path) -> Iterator[tc.Catalog]:
    with tc.Catalog(two_models / "catalog") as opened:
        yield opened


@pytest.fixture(scope="module")
def folder(two_models: Path) -> Path:
    return two_models / "catalog"


def rows(path: Path) -> list[Row]:
    files = [path] if path.is_file() else sorted(path.glob("*.parquet"))
    return [row for file in files for row in pq.ParquetFile(file).read().to_pylist()]


def top(folder: Path, n: int) -> list[Row]:
    """A top table with ``ids``, and for each model what it said, in ``demo`` and ``small``."""
    said: dict[tuple[str, tuple[int, ...]], Row] = {}
    for label in ("demo", "small"):
        for row in rows(folder / "predictions" / label):
            said[label, tuple(row["ids"])] = row
    table = rows(folder / f"ngrams/{top_table(n)}.parquet")
    for row in table:
        ids = tuple(row[name] for name in id_columns(n))
        row |= {"ids": ids, "demo": said["demo", ids], "small": said["small", ids]}
        row["prefix"] = "".join(row[f"token{i}"] for i in range(n - 1))
        row["completion"] = row[f"token{n - 1}"]
    assert len(table) > 30
    return table


def asked(catalog: tc.Catalog, name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = tc.ask(catalog, name, **parameters).fetchall()
    assert found
    return found


def by_frequency(table: list[Row]) -> list[Row]:
    return sorted(table, key=lambda row: (-row["sum_count"], row["ids"]))


def told(row: Row, label: str) -> tuple[Any, ...]:
    return row["prefix"], row["completion"], row["sum_count"], row["frac_max"], row[label]["p"]


@pytest.mark.parametrize("n", [2, 3, 5])
def test_learned(catalog: tc.Catalog, folder: Path, n: int) -> None:
    table = top(folder, n)
    known = [row for row in table if row["demo"]["p"] > 0.4]
    [(of_rows, of_occurrences)] = asked(catalog, "learned", n=n, model="demo", above=0.4)
    assert of_rows == pytest.approx(len(known) / len(table))
    assert of_occurrences == pytest.approx(
        sum(row["max_count"] for row in known) / sum(row["max_count"] for row in table)
    )


@pytest.mark.parametrize("n", [2, 3])
def test_memorized(catalog: tc.Catalog, folder: Path, n: int) -> None:
    known = [row for row in by_frequency(top(folder, n)) if row["demo"]["p"] > 0.5]
    assert asked(catalog, "memorized", n=n, model="demo", limit=7) == [told(row, "demo") for row in known[:7]]


def test_memorized_varied(catalog: tc.Catalog, folder: Path) -> None:
    chosen: dict[str, Row] = {}
    for row in by_frequency(top(folder, 3)):
        letters = [c.isascii() and c.isalpha() for c in row["prefix"]]
        if row["demo"]["p"] > 0.5 and any(map(all, pairwise(letters))):
            chosen.setdefault(row["completion"], row)
    found = asked(catalog, "memorized", n=3, model="demo", varied=True, limit=10_000)
    assert found == [told(row, "demo") for row in chosen.values()]
    assert len(found) < len(asked(catalog, "memorized", n=3, model="demo", limit=10_000))


def test_unknown(catalog: tc.Catalog, folder: Path) -> None:
    found = [row for row in by_frequency(top(folder, 2)) if row["demo"]["p"] < 0.3]
    assert asked(catalog, "unknown", model="demo", below=0.3) == [told(row, "demo") for row in found[:20]]


@pytest.mark.parametrize(("name", "sign"), [("best", 1), ("worst", -1)])
def test_best_and_worst(catalog: tc.Catalog, folder: Path, name: str, sign: int) -> None:
    frequent = [row for row in by_frequency(top(folder, 2)) if row["sum_count"] >= 5]
    ordered = sorted(frequent, key=lambda row: -sign * (row["demo"]["p"] - row["frac_max"]))
    found = asked(catalog, name, model="demo", min_count=5, limit=10)
    assert [row[:5] for row in found] == [told(row, "demo") for row in ordered[:10]]
    assert [row[5] for row in found] == pytest.approx([sign * (row[4] - row[3]) for row in found])


def test_calibrated(catalog: tc.Catalog, folder: Path) -> None:
    tenths: dict[int, list[Row]] = defaultdict(list)
    for row in top(folder, 3):
        if row["sum_count"] >= 4:
            tenths[min(int(row["demo"]["p"] * 10), 9)].append(row)
    found = asked(catalog, "calibrated", n=3, model="demo", min_count=4)
    assert len(found) == len(tenths) > 5
    for p_from, completions, mean_p, share in found:
        there = tenths[round(p_from * 10)]
        occurrences = sum(row["sum_count"] for row in there)
        assert completions == len(there)
        assert mean_p == pytest.approx(sum(row["demo"]["p"] * row["sum_count"] for row in there) / occurrences)
        assert share == pytest.approx(sum(row["max_count"] for row in there) / occurrences)


def test_changed(catalog: tc.Catalog, folder: Path) -> None:
    token = {row["id"]: row["token"] for row in rows(folder / "tokens.parquet")}
    differ = [row for row in by_frequency(top(folder, 2)) if row["demo"]["best_id"] != row["small"]["best_id"]]
    expected = [
        told(row, "demo")[:4]
        + tuple(x for one in (row["demo"], row["small"]) for x in (token[one["best_id"]], one["best_p"]))
        for row in differ
    ]
    assert asked(catalog, "changed", limit=15) == expected[:15]
    # Named, the models stand in the order that they are named in.
    turned = [row[:4] + row[6:] + row[4:6] for row in expected[:15]]
    assert asked(catalog, "changed", limit=15, model="small", other="demo") == turned
    assert asked(catalog, "changed", limit=15, other="demo") == turned


def tasks(folder: Path) -> list[Row]:
    return [row for label in ("demo", "small") for row in rows(folder / f"scan_4/{label}")]


def test_answer(catalog: tc.Catalog, folder: Path) -> None:
    there = tasks(folder)
    token = max({row["token_long"] for row in there}, key=lambda one: sum(row["token_long"] == one for row in there))
    mine = [row for row in there if row["token_long"] == token]
    mine.sort(key=lambda row: (-row["count"], -row["p_long"], row["task_id"]))
    assert len(mine) > 1
    assert [row[-1] for row in asked(catalog, "answer", token=token)] == [row["task_id"] for row in mine[:20]]


def is_word(text: str) -> bool:
    letters = text.removeprefix(" ")
    return len(letters) > 1 and letters.isascii() and letters.isalpha() and letters.islower()


def test_meaning(catalog: tc.Catalog, folder: Path) -> None:
    chosen: dict[str, Row] = {}
    for row in sorted(tasks(folder), key=lambda row: (-row["count"], -row["JS"], row["task_id"])):
        short, long = row["token_short"], row["token_long"]
        sure = row["p_short"] > 0.25 and row["p_long"] > 0.6 and not row["crosses_document"]
        if short != long and sure and is_word(short) and is_word(long):
            chosen.setdefault(long, row)
    expected = [(row["text"], row["token_short"], row["token_long"], row["count"]) for row in chosen.values()]
    found = asked(catalog, "meaning")
    assert [(row[0], row[1], row[3], row[6]) for row in found] == expected[:20]


@pytest.mark.parametrize("n", [2, 5])
def test_starting(catalog: tc.Catalog, folder: Path, n: int) -> None:
    token = {row["id"]: row["token"] for row in rows(folder / "tokens.parquet")}
    grams = [(row["count"], [row[name] for name in id_columns(n)]) for row in rows(folder / "ngrams" / ngram_table(n))]
    grams = sorted((gram for gram in grams if token[gram[1][0]] == " self"), key=lambda gram: (-gram[0], gram[1]))
    expected = [("".join(token[one] for one in ids), count, ids) for count, ids in grams[:5]]
    assert asked(catalog, "starting", n=n, token=" self", limit=5) == expected


def test_every_question_is_whole(catalog: tc.Catalog) -> None:
    for name, question in tc.QUESTIONS.items():
        assert question.name == name
        assert question.title.endswith("?")
        assert question.answers.endswith(".")
        needed: dict[str, Any] = {"token": " self"} if "token" in question.parameters else {}
        if "model" in question.parameters and question.models == 1:
            needed["model"] = "demo"
        tc.ask(catalog, name, **needed).fetchall()
        tables = {table.strip("{}") for table in question.tables}
        read = {"top", "ngrams", "scan"} & set(catalog_places(question))
        assert tables >= read


def catalog_places(question: Question) -> list[str]:
    from string import Formatter

    return [name for _, name, _, _ in Formatter().parse(question.sql) if name]


REFUSED: list[tuple[Callable[[tc.Catalog], object], str]] = [
    (lambda c: tc.ask(c, "nothing"), "question 'nothing' is not known: the questions are learned"),
    (lambda c: tc.ask(c, "unknown", model="demo", lim=3), "unknown: has no parameter 'lim': it has n, model"),
    (lambda c: tc.ask(c, "unknown", model="other"), "model 'other' is not in the catalog: it has demo, small"),
    (lambda c: tc.ask(c, "unknown"), "unknown: name the model with model: the catalog has demo, small"),
    (lambda c: tc.ask(c, "changed", model="demo", other="demo"), "'demo' is given twice"),
    (lambda c: tc.ask(c, "unknown", model="demo", n=6), "n is 6: it is at most 5"),
    (lambda c: tc.ask(c, "unknown", model="demo", n=4), "'taskcatalog ngrams"),
    (lambda c: tc.ask(c, "unknown", model="demo", below=float("nan")), "below is nan"),
    (lambda c: tc.ask(c, "unknown", model="demo", limit=0), "limit is 0: it is at least 1"),
    (lambda c: tc.ask(c, "unknown", model="demo", limit="3"), "limit is '3': it takes a whole number"),
    (lambda c: tc.ask(c, "unknown", model="demo", limit=True), "limit is True: it takes a whole number"),
    (lambda c: tc.ask(c, "answer"), "answer: token is missing"),
    (lambda c: tc.ask(c, "answer", token="x", prompt_length=7), "'taskcatalog scan"),
]


@pytest.mark.parametrize(("asking", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_refused(catalog: tc.Catalog, asking: Callable[[tc.Catalog], object], words: str) -> None:
    with pytest.raises(tc.SettingsError) as error:
        asking(catalog)
    assert words in str(error.value)


def test_a_value_is_no_sql(catalog: tc.Catalog) -> None:
    assert tc.ask(catalog, "answer", token="' OR '1' = '1").fetchall() == []
    assert tc.ask(catalog, "answer", token="{limit}").fetchall() == []


def test_needs_more_models(two_models: Path, tmp_path: Path) -> None:
    tc.ngrams(two_models / "store", tmp_path / "c")
    assert "'taskcatalog predict" in refusal("ask", tmp_path / "c", "unknown")


def test_the_command(two_models: Path, catalog: tc.Catalog, tmp_path: Path) -> None:
    folder = two_models / "catalog"
    listed = answer("ask", folder)
    assert all(f"{name}: {question.title}" in listed for name, question in tc.QUESTIONS.items())
    out = tmp_path / "a.parquet"
    answer("ask", folder, "unknown", "--param", "model=demo", "--param", "below=0.25", "--out", out)
    expected = tc.ask(catalog, "unknown", model="demo", below=0.25).fetchall()
    assert [tuple(row.values()) for row in pq.read_table(out).to_pylist()] == expected
    query = answer("ask", folder, "unknown", "--param", "model=demo", "--param", "below=0.25", "--show-sql")
    assert catalog.sql(query).fetchall() == expected
    assert '"name": "memorized"' in answer("ask", folder, "--json")


@pytest.mark.parametrize(
    ("parameter", "words"),
    [
        ("limit", "'limit' is no parameter with its value: write it as limit=5"),
        ("limit=many", "limit is 'many': it takes a whole number"),
        ("varied=perhaps", "varied is 'perhaps': it takes true or false"),
        ("many=1", "has no parameter 'many'"),
    ],
)
def test_parameters_that_are_typed_wrong(two_models: Path, parameter: str, words: str) -> None:
    assert words in refusal("ask", two_models / "catalog", "memorized", "--param", parameter)


def test_a_parameter_takes_text_with_an_equals_sign(two_models: Path) -> None:
    assert invoke("ask", two_models / "catalog", "answer", "--param", "token= =").exit_code == 0
