"""N-grams of some of a store's sequences."""

import json
import random
from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal, tree
from taskcatalog.errors import ConflictError, SettingsError
from test_counting import naive_counts

LENGTH = 250


def sequences_of(store: Path) -> list[list[int]]:
    opened = tc.open_store(store)
    return [opened.read(i, i + 1).tokens.tolist() for i in range(opened.n_sequences)]


@pytest.mark.parametrize(("start", "max_tokens"), [(0, 1_000), (LENGTH * 3 + 7, None), (LENGTH * 3 + 7, 999), (1, 1)])
@pytest.mark.parametrize("workers", [1, 3])
def test_ngrams_of_a_range(code_store: Path, tmp_path: Path, start: int, max_tokens: int | None, workers: int) -> None:
    settings = tc.NgramSettings(start=start, max_tokens=max_tokens)
    tc.ngrams(code_store, tmp_path / "c", settings, workers=workers)
    first = start // LENGTH
    there = sequences_of(code_store)
    stop = len(there) if max_tokens is None else first + max(1, max_tokens // LENGTH)
    rows = there[first:stop]
    with tc.Catalog(tmp_path / "c") as catalog:
        for n, table in ((2, "bigrams"), (3, "trigrams")):
            ids = ", ".join(f"id{i}" for i in range(n))
            found = catalog.sql(f"SELECT {ids}, count FROM {table} ORDER BY ALL").fetchall()
            assert {row[:n]: row[n] for row in found} == naive_counts(rows, n)
        [(counted,)] = catalog.sql("SELECT sum(count) FROM unigrams").fetchall()
    n_counted, n_tokens = sum(map(len, rows)), sum(map(len, there))
    facts = json.loads((tmp_path / "c/ngrams/ledger.json").read_text())["facts"]
    assert (facts["tokens"], facts["store_tokens"], counted) == (n_counted, n_tokens, n_counted)
    assert tc.verify(tmp_path / "c") == []
    said = f"its n-grams are of {n_counted:,} of the {n_tokens:,} tokens of its store, from token {start:,} on"
    for command in (("sql", tmp_path / "c"), ("complete", tmp_path / "c", "import")):
        assert said in invoke(*command).stderr


def test_in_runs_on_disk(code_store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same bytes as in memory."""
    settings = tc.NgramSettings(start=600, max_tokens=5_000)
    tc.ngrams(code_store, tmp_path / "a", settings)
    monkeypatch.setattr("taskcatalog.counting.stage.tokens_that_fit", lambda *_: random.Random(1).randint(600, 900))
    tc.ngrams(code_store, tmp_path / "b", settings)
    both = [tree(tmp_path / name / "ngrams") for name in "ab"]
    for one in both:
        del one["ledger.json"]
    assert both[0] == both[1]


def test_a_range_is_part_of_the_settings(code_store: Path, tmp_path: Path) -> None:
    out = tmp_path / "c"
    assert "1,000 of the" in invoke("ngrams", code_store, "--out", out, "--max-tokens", 1_000).stderr
    with pytest.raises(ConflictError, match="max_tokens"):
        tc.ngrams(code_store, out)
    assert "of the" not in invoke("ngrams", code_store, "--out", tmp_path / "all").stderr
    assert "of the" not in invoke("sql", tmp_path / "all").stderr
    tc.ngrams(code_store, tmp_path / "most", tc.NgramSettings(max_tokens=10**9))
    assert "store_tokens" not in json.loads((tmp_path / "most/ngrams/ledger.json").read_text())["facts"]
    with pytest.raises(SettingsError, match="start is 10000000: "):
        tc.ngrams(code_store, tmp_path / "none", tc.NgramSettings(start=10_000_000))
    assert "max tokens is 0" in refusal("ngrams", code_store, "--out", tmp_path / "d", "--max-tokens", 0)
    assert "token" in answer("sql", out, "SELECT * FROM tokens LIMIT 1")
