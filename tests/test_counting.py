"""N-gram tables against a naive count, the golden results, and themselves under other limits."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import taskcatalog as tc
from helpers import tree
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.schemas import ngram_table, prefix_table, top_table
from taskcatalog.corpus.stores.store import Sequences, uniform_ends
from taskcatalog.counting import merge
from taskcatalog.counting.keys import KeyLayout
from taskcatalog.counting.runs import count_grams, merge_runs, shorten
from taskcatalog.errors import ConflictError, SettingsError

Gram = tuple[int, ...]


def naive_counts(sequences: list[list[int]], n: int) -> dict[Gram, int]:
    """Every n-gram within a sequence, with its count, sorted by ids."""
    grams = Counter(tuple(row[i : i + n]) for row in sequences for i in range(len(row) - n + 1))
    return dict(sorted(grams.items()))


def naive_prefixes(grams: dict[Gram, int]) -> list[tuple[int | float, ...]]:
    """Prefix, most frequent completion (of equals the smallest id), sum, largest count, share."""
    prefixes: dict[Gram, dict[int, int]] = {}
    for gram, count in grams.items():
        prefixes.setdefault(gram[:-1], {})[gram[-1]] = count
    rows = []
    for prefix, counts in sorted(prefixes.items()):
        best = min(counts, key=lambda id_: (-counts[id_], id_))
        total = sum(counts.values())
        rows.append((*prefix, best, total, counts[best], counts[best] / total))
    return rows


def as_sequences(rows: list[list[int]], dtype: type[np.unsignedinteger]) -> Sequences:
    tokens = np.array([id_ for row in rows for id_ in row], dtype)
    return Sequences(tokens, np.cumsum([len(row) for row in rows], dtype=np.int64), None)


rows_of = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=8)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n=st.integers(2, 5), vocabulary=st.sampled_from([2, 300, 65_536, 65_537, 100_278, 262_144]))
def test_counts_of_any_sequences(data: st.DataObject, n: int, vocabulary: int) -> None:
    """Few ids from all over the vocabulary, so that grams repeat and every bit of an id is used."""
    ids = data.draw(st.lists(st.integers(0, vocabulary - 1), min_size=4, max_size=4))
    rows = [[ids[i] for i in row] for row in data.draw(rows_of)]
    if vocabulary == 262_144 and n == 5:
        rows = rows[:2]  # its buckets alone take half a gigabyte; one such case is enough below
        n = 4
    sequences = as_sequences(rows, np.uint16 if vocabulary <= 65_536 else np.uint32)
    run = count_grams(sequences, KeyLayout(n, vocabulary))
    for length in range(n, 0, -1):
        if length < n:
            run = shorten(run, sequences)
        found = dict(zip(zip(*(c.tolist() for c in run.ids()), strict=True), run.counts.tolist(), strict=True))
        assert found == naive_counts(rows, length)
        assert list(found) == sorted(found)


@settings(max_examples=30, deadline=None)
@given(parts=st.lists(rows_of, min_size=1, max_size=6), n=st.integers(2, 5))
def test_merged_runs_are_the_run_of_all(parts: list[list[list[int]]], n: int) -> None:
    layout = KeyLayout(n, 4)
    merged = merge_runs(count_grams(as_sequences(rows, np.uint16), layout) for rows in parts)
    whole = count_grams(as_sequences([row for rows in parts for row in rows], np.uint16), layout)
    assert merged.payload.tolist() == whole.payload.tolist()
    assert merged.counts.tolist() == whole.counts.tolist()
    assert merged.starts.tolist() == whole.starts.tolist()


def test_large_buckets_are_sorted_by_all_their_bits() -> None:
    """Above 400 grams of one head, other ways of sorting take over."""
    generator = np.random.default_rng(5)
    for vocabulary, n in ((65_536, 3), (65_536, 5), (100_278, 5)):
        tails = generator.integers(0, vocabulary, (3_000, n - 1))
        rows = [[7, *tail] for tail in tails[generator.integers(0, 2_000, 6_000)].tolist()]
        sequences = as_sequences(rows, np.uint32)
        run = count_grams(sequences, KeyLayout(n, vocabulary))
        found = dict(zip(zip(*(c.tolist() for c in run.ids()), strict=True), run.counts.tolist(), strict=True))
        assert found == naive_counts(rows, n)


def write_flat(path: Path, tokens: list[int], dtype: str) -> Path:
    np.array(tokens, dtype).tofile(path)
    return path


def rows_in(catalogue: tc.Catalogue, table: str) -> list[tuple[int | float, ...]]:
    return catalogue.table(table).fetchall()


@pytest.mark.parametrize(
    ("n_tokens", "length", "dtype", "spread"),
    [
        (3_000, 64, "uint16", 1),
        (3_001, 64, "uint16", 4_000),
        (2_500, 50, "uint32", 9_000),
        (0, 8, "uint16", 1),
        (0, 8, "uint32", 1),
        (1, 8, "uint16", 1),
        (40, 3, "uint32", 1),
        (5, 2_048, "uint16", 1),
    ],
)
def test_tables_equal_a_naive_count(tmp_path: Path, n_tokens: int, length: int, dtype: str, spread: int) -> None:
    """Whole stage, every n; also sequences shorter than n, a store of one token, and one of none."""
    generator = np.random.default_rng(n_tokens)
    tokens = (np.minimum(generator.geometric(0.15, n_tokens), 12) * spread).tolist()
    flat = write_flat(tmp_path / "flat.bin", tokens, dtype)
    sequences = [tokens[i : i + length] for i in range(0, n_tokens, length)]
    options = tc.StoreOptions(sequence_length=length, id_dtype=dtype)  # type: ignore[arg-type]
    ns = tc.NgramSettings(n=(2, 3, 4, 5), min_prefix_count=5, min_share=0.3)
    tc.ngrams(flat, tmp_path / "c", ns, options=options, workers=2, memory="1MB")
    catalogue = tc.open(tmp_path / "c")
    for n in ns.n:
        grams = naive_counts(sequences, n)
        assert rows_in(catalogue, ngram_table(n)) == [(*gram, count) for gram, count in grams.items()]
        prefixes = naive_prefixes(grams)
        assert rows_in(catalogue, prefix_table(n)) == prefixes
        top = [row for row in prefixes if row[-1] > 0.3 and row[n] > (0 if n == 2 else 5)]
        top.sort(key=lambda row: (-row[n], row))
        assert [row[: n + 3] for row in rows_in(catalogue, top_table(n))] == top
    assert tc.verify(tmp_path / "c") == []


def test_heads_with_more_grams_than_a_cell_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of 50 rows: the completions of frequent first ids are cut between prefixes."""
    generator = np.random.default_rng(3)
    tokens = np.minimum(generator.geometric(0.2, 20_000), 40).tolist()
    flat = write_flat(tmp_path / "flat.bin", tokens, "uint16")
    options = tc.StoreOptions(sequence_length=100)
    settings = tc.NgramSettings(n=(2, 3, 4))
    tc.ngrams(flat, tmp_path / "whole", settings, options=options)
    monkeypatch.setattr(merge, "_LEAST_ROWS", 50)
    tc.ngrams(flat, tmp_path / "cells", settings, options=options, memory="1KB")
    assert tree(tmp_path / "cells") == tree(tmp_path / "whole")


def test_ranges_cover_all_ids_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merge, "_TOKENS_PER_RANGE", 10)
    for counts in ([0, 100, 0, 1], [1] * 50, [0, 0, 5], [1000]):
        ranges = merge.id_ranges(np.array(counts))
        assert [id_ for first, last in ranges for id_ in range(first, last)] == list(range(len(counts)))


def golden_hash(catalogue: tc.Catalogue, table: str) -> str:
    columns = catalogue.table(table).to_arrow_table()
    digest = hashlib.sha256()
    for name in columns.column_names:
        if name != "frac_max":
            digest.update(columns[name].to_numpy().astype("<u8").tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(("memory", "workers"), [("8GB", 1), ("8GB", 2), ("8MB", 2), ("100KB", 1)])
def test_golden_results(shared: Path, tmp_path: Path, memory: str, workers: int) -> None:
    golden = json.loads((shared / "golden/pile_layout_ngrams.json").read_text())
    source = shared / "mds/pile_layout_zstd"
    rows = tc.ngrams(source, tmp_path / "c", memory=memory, workers=workers)
    catalogue = tc.open(tmp_path / "c")
    for table in ("bigrams", "bigram_prefixes", "trigrams", "trigram_prefixes"):
        assert rows[table] == golden[table]["rows"]
        assert golden_hash(catalogue, table) == golden[table]["sha256"]
        if "sum_count" in golden[table]:
            assert catalogue.sql(f"SELECT sum(count) FROM {table}").fetchall() == [(golden[table]["sum_count"],)]
        else:
            over = golden[table]["rows_with_share_over_half_and_sum_count_over_20"]
            query = f"SELECT count(*) FROM {table} WHERE frac_max > 0.5 AND sum_count > 20"
            assert catalogue.sql(query).fetchall() == [(over,)]


def test_same_bytes_whatever_the_limits(shared: Path, tmp_path: Path) -> None:
    source = shared / "mds/pile_layout_zstd"
    options = tc.StoreOptions(tokenizer=str(shared / "tokenizers/gpt_neox_20b"))
    trees = []
    for i, (memory, workers) in enumerate([("8GB", 1), ("8GB", 2), ("4MB", 2)]):
        out = tmp_path / str(i)
        tc.ngrams(source, out, tc.NgramSettings(min_prefix_count=20), options=options, memory=memory, workers=workers)
        trees.append(tree(out))
    assert trees[0] == trees[1] == trees[2]
    n_counting = [name for name in Ledger.read(tmp_path / "0/ngrams").parts if name.startswith("count-")]
    assert n_counting == []  # what only the run needs leaves no trace


def test_refused(tmp_path: Path) -> None:
    flat = write_flat(tmp_path / "flat.bin", [1, 2, 3, 4], "uint16")
    with pytest.raises(SettingsError, match="from 2 to 5"):
        tc.NgramSettings(n=(1, 2))
    with pytest.raises(SettingsError, match="'lots' is not a size"):
        tc.ngrams(flat, tmp_path / "c", memory="lots")
    tc.ngrams(flat, tmp_path / "c")
    before = tree(tmp_path / "c")
    with pytest.raises(ConflictError, match=r"n was \[2, 3\], not \[2\].*--force"):
        tc.ngrams(flat, tmp_path / "c", tc.NgramSettings(n=(2,)))
    other = write_flat(tmp_path / "other.bin", [4, 3, 2, 1], "uint16")
    with pytest.raises(ConflictError, match="made from another store"):
        tc.ngrams(other, tmp_path / "c", force=True)
    with pytest.raises(ConflictError, match=r"from this store with another sequence_length \(2048, here 2;"):
        tc.ngrams(flat, tmp_path / "c", options=tc.StoreOptions(sequence_length=2))
    assert tree(tmp_path / "c") == before


def test_force_counts_anew(tmp_path: Path) -> None:
    flat = write_flat(tmp_path / "flat.bin", [1, 2, 3, 4], "uint16")
    tc.ngrams(flat, tmp_path / "c")
    tc.ngrams(flat, tmp_path / "c", tc.NgramSettings(n=(2,)), force=True)
    assert "trigrams" not in tc.open(tmp_path / "c").tables


def test_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    flat = write_flat(tmp_path / "flat.bin", [1, 2, 3, 4], "uint16")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/tokens.parquet.123.partial").write_text("half")
    tc.ngrams(flat, tmp_path / "c")
    tc.ngrams(flat, tmp_path / "d")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")


def test_uniform_ends() -> None:
    assert uniform_ends(7, 3).tolist() == [3, 6, 7]
    assert uniform_ends(6, 3).tolist() == [3, 6]
    assert uniform_ends(0, 3).tolist() == []
