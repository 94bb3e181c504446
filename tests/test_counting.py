"""N-gram tables against a naive count, the golden results, and themselves under other limits."""

import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import taskcatalog as tc
from helpers import answer, library_texts, refusal, tree, write_jsonl
from taskcatalog.counting import count as counting
from taskcatalog.counting import kernels, runs, tables
from taskcatalog.counting.count import count_range, cut_store
from taskcatalog.counting.runs import MemoryRun, StoredRun
from taskcatalog.counting.tables import table_jobs, write_unigrams
from taskcatalog.errors import ConflictError, SettingsError
from taskcatalog.ids import GramLayout, high_and_low
from taskcatalog.runs.ledger import Ledger
from taskcatalog.storage import AnyPath
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.store import Sequences, uniform_ends
from taskcatalog.tables.names import ngram_table, prefix_table, top_table
from taskcatalog.vocabulary import Vocabulary

Gram = tuple[int, ...]


def naive_counts(sequences: list[list[int]], n: int) -> dict[Gram, int]:
    """Every n-gram within a sequence, with its count, sorted by ids."""
    grams = Counter(tuple(row[i : i + n]) for row in sequences for i in range(len(row) - n + 1))
    return dict(sorted(grams.items()))


def naive_prefixes(grams: dict[Gram, int]) -> list[tuple[Any, ...]]:
    """Prefix, most frequent completion (of equals the smallest id), sum, largest count, share, number of completions,
    and the entropy of the next token in nats."""
    prefixes: dict[Gram, dict[int, int]] = {}
    for gram, count in grams.items():
        prefixes.setdefault(gram[:-1], {})[gram[-1]] = count
    rows = []
    for prefix, counts in sorted(prefixes.items()):
        best = min(counts, key=lambda id_: (-counts[id_], id_))
        total = sum(counts.values())
        entropy = sum(-count / total * math.log(count / total) for count in counts.values())
        rows.append(
            (*prefix, best, total, counts[best], counts[best] / total, len(counts), pytest.approx(entropy, 1e-6))
        )
    return rows


@dataclass
class Rows:
    """A store of some sequences."""

    rows: list[list[int]]
    vocabulary_size: int
    path: AnyPath = Path("rows")
    vocabulary: Vocabulary | None = None
    stamp: str = ""

    def stamp_now(self) -> str:
        return self.stamp

    @property
    def identity(self) -> StoreIdentity:
        length = max(map(len, self.rows), default=1)
        return StoreIdentity(
            fingerprint="", sequence_length=max(1, length), vocabulary_size=self.vocabulary_size, end_of_text=None
        )

    @property
    def n_sequences(self) -> int:
        return len(self.rows)

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.rows))

    def read(self, start: int, stop: int) -> Sequences:
        rows = self.rows[start:stop]
        tokens: NDArray[Any] = np.array([id_ for row in rows for id_ in row], self.identity.id_dtype)
        return Sequences(tokens, np.cumsum([len(row) for row in rows], dtype=np.int64), None)


def tables_of(
    store: Rows, n: int, folder: Path, at_once: int, memory: int, workers: int, rows_at_once: int
) -> dict[str, list[tuple[int | float, ...]]]:
    """The tables of all lengths up to n, from ranges of so many tokens."""
    layout = GramLayout(n, store.vocabulary_size)
    found, id_counts = [], np.zeros(store.vocabulary_size, np.int64)
    for i, range_ in enumerate(cut_store(store, at_once)):
        run, counts = count_range(store, range_, layout, memory, workers)
        run.write(folder / str(range_))
        found.append(StoredRun(layout, folder / str(range_)) if i % 2 else run)
        id_counts += counts
    for job in table_jobs(id_counts, layout, range(2, n + 1), found, folder, memory):
        replace(job, rows_at_once=rows_at_once).make()
    write_unigrams(id_counts, folder / "unigrams/0.parquet")
    names = ["unigrams", *(name(k) for k in range(2, n + 1) for name in (ngram_table, prefix_table))]
    return {
        name: [
            tuple(row.values()) for file in sorted((folder / name).iterdir()) for row in pq.read_table(file).to_pylist()
        ]
        for name in names
    }


rows_of = st.lists(st.lists(st.integers(0, 3), max_size=12), max_size=8)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.data(),
    n=st.integers(2, 5),
    vocabulary=st.sampled_from([2, 3, 300, 65_535, 65_536, 65_537, 100_278, 151_936, 262_143, 262_144]),
    at_once=st.integers(1, 40),
    memory=st.sampled_from([0, 1 << 30]),
    workers=st.integers(1, 4),
    rows_at_once=st.sampled_from([1, 2, 5, 1_000]),
)
def test_tables_of_any_sequences(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    n: int,
    vocabulary: int,
    at_once: int,
    memory: int,
    workers: int,
    rows_at_once: int,
) -> None:
    """Few ids from all over the vocabulary, so that grams repeat and every bit of an id is used; in any number of
    ranges and cells, also of parts of a sequence."""
    ids = data.draw(st.lists(st.integers(0, vocabulary - 1), min_size=4, max_size=4))
    rows = [[ids[i] for i in row] for row in data.draw(rows_of)]
    if vocabulary > 65_537 and memory == 0:  # ids are looked at in windows of 64 then
        at_once += 10
    folder = tmp_path_factory.mktemp("tables")
    found = tables_of(Rows(rows, vocabulary), n, folder, at_once, memory, workers, rows_at_once)
    assert found["unigrams"] == [(*gram, count) for gram, count in naive_counts(rows, 1).items()]
    for k in range(2, n + 1):
        grams = naive_counts(rows, k)
        assert found[ngram_table(k)] == [(*gram, count) for gram, count in grams.items()]
        assert found[prefix_table(k)] == naive_prefixes(grams)


@pytest.mark.parametrize("memory", [0, 1 << 30])
def test_large_buckets_are_sorted_by_all_their_bits(tmp_path: Path, memory: int) -> None:
    """Above 48 and 128 grams of one head, other ways of sorting take over; without memory, ways that need none."""
    generator = np.random.default_rng(5)
    for i, (vocabulary, n) in enumerate([(65_535, 3), (65_535, 5), (100_278, 5), (1 << (20 if memory else 18), 5)]):
        tails = generator.integers(0, vocabulary, (3_000, n - 1))
        tails[:1_000, 0] = 5
        rows = [[7, *tail] for tail in tails[generator.integers(0, 2_000, 6_000)].tolist()]
        rows += [[8, *tail] for tail in tails[generator.integers(0, 90, 100)].tolist()]
        found = tables_of(Rows(rows, vocabulary), n, tmp_path / str(i), 2_000 * n, memory, 2, 1_000)
        assert found[ngram_table(n)] == [(*gram, count) for gram, count in naive_counts(rows, n).items()]


@pytest.mark.parametrize(("vocabulary", "n"), [(2**32 - 1, 5), (2**24, 5), (2**24 - 1, 5), (2**32 - 1, 3), (2**16, 5)])
def test_the_widest_payloads(vocabulary: int, n: int) -> None:
    """Of one gram, there and back, with the end id in it."""
    layout = GramLayout(n, vocabulary)
    for tokens in ([1, *[vocabulary - 1] * (n - 2), vocabulary - 2], [1, 0, 1], [1]):
        payload = np.empty(1, layout.payload_dtype)
        ids, end = np.array(tokens, np.uint32), np.array([len(tokens)])
        numbers = high_and_low(payload)
        kernels.scatter_payloads(ids, end, 1, n, layout.bits, layout.end_id, np.zeros(2, np.int64), *numbers)
        found = np.empty((n, 1), np.uint32)
        kernels.decode(1, np.array([0, 1]), *numbers, layout.bits, found)
        assert found[:, 0].tolist() == tokens + [vocabulary] * (n - len(tokens))


def test_counts_beyond_what_a_run_can_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that count in 8 bits, in the place of 32: one sequence of 3,000 equal ids is cut into runs of 255."""
    for module in (runs, counting):
        monkeypatch.setattr(module, "COUNTS", np.dtype(np.uint8))
    monkeypatch.setattr(counting, "_MOST_TOKENS", 255)
    flat = write_flat(tmp_path / "flat.bin", [9] * 3_000, "uint16")
    tc.ngrams(flat, tmp_path / "c", options=tc.StoreOptions(sequence_length=3_000))
    assert rows_in(tc.Catalog(tmp_path / "c"), "trigrams") == [(9, 9, 9, 2_998)]


@pytest.mark.parametrize("most", [7, 1_000, 4_999, 5_000, 5_001, 12_000])
def test_sequences_longer_than_a_range(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    """Cut anywhere, with the bytes of those that are not."""
    tokens = np.minimum(np.random.default_rng(3).geometric(0.2, 12_345), 40)
    flat = write_flat(tmp_path / "flat.bin", tokens[: 40 * most].tolist(), "uint16")
    options = tc.StoreOptions(sequence_length=5_000)
    settings = tc.NgramSettings(n=(2, 3, 5), min_prefix_count=5)
    tc.ngrams(flat, tmp_path / "whole", settings, options=options)
    monkeypatch.setattr(counting, "_MOST_TOKENS", most)
    tc.ngrams(flat, tmp_path / "cut", settings, options=options, workers=2)
    assert tree(tmp_path / "cut") == tree(tmp_path / "whole")


def test_an_id_beyond_the_vocabulary_in_a_part_of_a_sequence(
    demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = write_flat(tmp_path / "flat.bin", [5] * 300 + [60_000] + [5] * 300, "uint16")
    monkeypatch.setattr(counting, "_MOST_TOKENS", 100)
    options = tc.StoreOptions(sequence_length=400, tokenizer=str(demo_data))
    with pytest.raises(tc.InputError, match="sequence 0, token 300: id 60000 is beyond the vocabulary"):
        tc.ngrams(flat, tmp_path / "c", options=options)


def test_entropies_are_those_of_real_counts(tmp_path: Path) -> None:
    """Of counts from one to billions, to the last of 32 bits but one."""
    generator = np.random.default_rng(1)
    counts = (10 ** generator.uniform(0, 9.6, 3_000)).astype(np.uint32)
    layout = GramLayout(2, 3_000)
    starts = np.minimum(np.arange(3_001), 3_000) // 30 * 30
    rows = np.array([0, 3_000])
    run = MemoryRun(layout, starts, np.arange(3_000, dtype=np.uint32), counts, rows, rows[:1])
    [job] = table_jobs(np.ones(3_000, np.int64), layout, [2], [run], tmp_path, 0)
    job.make()
    found = pq.read_table(job.file(prefix_table(2)))["entropy"].to_numpy()
    shares = counts.reshape(-1, 30) / counts.reshape(-1, 30).astype(np.float64).sum(1, keepdims=True)
    np.testing.assert_allclose(found, -(shares * np.log(shares)).sum(1), rtol=2e-7)


def test_the_widest_grams() -> None:
    with pytest.raises(SettingsError, match="5-grams of a vocabulary of 4,294,967,296 ids are too wide"):
        GramLayout(5, 1 << 32)


def test_the_least_memory(tmp_path: Path) -> None:
    """Is named, before anything is touched, and is enough."""
    flat = write_flat(tmp_path / "flat.bin", [1, 2, 3, 150_000], "uint32")
    options = tc.StoreOptions(id_dtype="uint32")
    message = r"memory is 1.0 MB: counting 3-grams of a vocabulary of 150,001 ids needs --memory 13MB or more"
    with pytest.raises(SettingsError, match=message):
        tc.ngrams(flat, tmp_path / "c", options=options, memory="1MB")
    assert not (tmp_path / "c").exists()
    tc.ngrams(flat, tmp_path / "c", options=options, memory="13MB")
    write_flat(flat, [1, 2**32 - 2], "uint32")
    with pytest.raises(SettingsError, match=r"4,294,967,295 ids needs --memory 3498\d\dMB or more"):
        tc.ngrams(flat, tmp_path / "d", options=options)


_PEAK = """
import sys, taskcatalog as tc
from taskcatalog.sizes import peak_memory
options = tc.StoreOptions(id_dtype="uint32")
tc.ngrams(sys.argv[1], sys.argv[2], tc.NgramSettings(n=(2, 5)), options=options, memory="200MB")
print(peak_memory())
"""


@pytest.mark.slow
def test_wide_grams_keep_the_memory(tmp_path: Path) -> None:
    """Of a process with its libraries and compilers; it took gigabytes when buckets had bits of the second id."""
    tokens = np.minimum(np.random.default_rng(0).zipf(1.1, 2_000_000) - 1, 151_935).astype("<u4")
    tokens.tofile(tmp_path / "flat.bin")
    command = [sys.executable, "-c", _PEAK, str(tmp_path / "flat.bin"), str(tmp_path / "c")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 800 * 10**6


def write_flat(path: Path, tokens: list[int], dtype: str) -> Path:
    np.array(tokens, dtype).tofile(path)
    return path


def rows_in(catalog: tc.Catalog, table: str) -> list[tuple[int | float, ...]]:
    return catalog.table(table).fetchall()


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
    tc.ngrams(flat, tmp_path / "c", ns, options=options, workers=2, memory="9MB")
    catalog = tc.Catalog(tmp_path / "c")
    for n in ns.n:
        grams = naive_counts(sequences, n)
        assert rows_in(catalog, ngram_table(n)) == [(*gram, count) for gram, count in grams.items()]
        prefixes = naive_prefixes(grams)
        assert rows_in(catalog, prefix_table(n)) == prefixes
        top = [row for row in prefixes if row[n + 2] > 0.3 and row[n] > (0 if n == 2 else 5)]
        top.sort(key=lambda row: (-row[n], row[:n]))
        assert [row[: n + 5] for row in rows_in(catalog, top_table(n))] == top
    assert tc.verify(tmp_path / "c") == []


def test_heads_with_more_grams_than_a_cell_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of 50 rows: the grams of frequent first ids are cut anywhere."""
    generator = np.random.default_rng(3)
    tokens = np.minimum(generator.geometric(0.2, 20_000), 40).tolist()
    flat = write_flat(tmp_path / "flat.bin", tokens, "uint16")
    options = tc.StoreOptions(sequence_length=100)
    settings = tc.NgramSettings(n=(2, 3, 4))
    tc.ngrams(flat, tmp_path / "whole", settings, options=options)
    monkeypatch.setattr(tables, "_LEAST_ROWS", 50)
    monkeypatch.setattr(tables, "_MOST_ROWS", 50)
    tc.ngrams(flat, tmp_path / "cells", settings, options=options)
    assert tree(tmp_path / "cells") == tree(tmp_path / "whole")


def test_ranges_cover_all_ids_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "_LEAST_TOKENS_IN_RANGE", 10)
    for counts in ([0, 100, 0, 1], [1] * 50, [0, 0, 5], [1000], [0], [0, 0]):
        ranges = tables.id_ranges(np.array(counts))
        assert [id_ for first, last in ranges for id_ in range(first, last)] == list(range(len(counts)))


def golden_hash(catalog: tc.Catalog, table: str) -> str:
    columns = catalog.table(table).to_arrow_table()
    digest = hashlib.sha256()
    for name in columns.column_names:
        if name not in ("frac_max", "completions", "entropy"):
            digest.update(columns[name].to_numpy().astype("<u8").tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize(("memory", "workers"), [("8GB", 1), ("8GB", 2), ("8MB", 2), ("6MB", 1)])
def test_golden_results(shared: Path, tmp_path: Path, memory: str, workers: int) -> None:
    golden = json.loads((shared / "golden/pile_layout_ngrams.json").read_text())
    source = shared / "mds/pile_layout_zstd"
    rows = tc.ngrams(source, tmp_path / "c", memory=memory, workers=workers)
    catalog = tc.Catalog(tmp_path / "c")
    for table in ("bigrams", "bigram_prefixes", "trigrams", "trigram_prefixes"):
        assert rows.rows[table] == golden[table]["rows"]
        assert golden_hash(catalog, table) == golden[table]["sha256"]
        if "sum_count" in golden[table]:
            assert catalog.sql(f"SELECT sum(count) FROM {table}").fetchall() == [(golden[table]["sum_count"],)]
        else:
            over = golden[table]["rows_with_share_over_half_and_sum_count_over_20"]
            query = f"SELECT count(*) FROM {table} WHERE frac_max > 0.5 AND sum_count > 20"
            assert catalog.sql(query).fetchall() == [(over,)]


def test_same_bytes_whatever_the_limits(demo_data: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    tc.tokenize(write_jsonl(tmp_path / "a.jsonl", library_texts(120)), store, str(demo_data))
    trees = []
    for i, (memory, workers) in enumerate([("8GB", 1), ("8GB", 2), ("1MB", 2)]):
        out = tmp_path / str(i)
        tc.ngrams(store, out, tc.NgramSettings(min_prefix_count=20), memory=memory, workers=workers)
        trees.append(tree(out))
    assert trees[0] == trees[1] == trees[2]
    n_counting = [name for name in Ledger.read(tmp_path / "0/ngrams").parts if name.startswith("count-")]
    assert n_counting == []  # what only the run needs leaves no trace


def test_refused(tmp_path: Path) -> None:
    flat = write_flat(tmp_path / "flat.bin", [1, 2, 3, 4], "uint16")
    with pytest.raises(SettingsError, match="from 1 to 5"):
        tc.NgramSettings(n=(0, 2))
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
    assert "trigrams" not in tc.Catalog(tmp_path / "c").tables


def test_leftovers_of_a_killed_run_go(tmp_path: Path) -> None:
    flat = write_flat(tmp_path / "flat.bin", [1, 2, 3, 4], "uint16")
    (tmp_path / "c").mkdir()
    (tmp_path / "c/tokens.parquet.123.partial").write_text("half")
    tc.ngrams(flat, tmp_path / "c")
    tc.ngrams(flat, tmp_path / "d")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")


@pytest.mark.parametrize(("memory", "room"), [("1MB", "3m"), ("1GB", "1m")])
def test_a_full_disk(demo_data: Path, tmp_path: Path, memory: str, room: str) -> None:
    """In the middle of sorted runs, or of tables: said in one line, and gone on with when there is room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        pytest.skip("only root can mount a small disk")
    try:
        tokens = np.random.default_rng(0).zipf(1.3, 600_000) % 8_000
        flat = write_flat(tmp_path / "flat.bin", tokens.tolist(), "uint16")
        arguments = ("ngrams", flat, "--tokenizer", demo_data, "--memory", memory, "--out", disk / "c")
        assert "no more room on its disk: make some, and the same command goes on" in refusal(*arguments, exit_code=1)
        assert not list(disk.rglob("*.partial"))
        subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
        answer(*arguments)
        answer(*arguments[:-1], tmp_path / "c")
        assert tree(disk / "c") == tree(tmp_path / "c")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_lookups_in_many_row_groups(tmp_path: Path) -> None:
    """Counts and completions from files of several row groups, of frequent and rare n-grams and of none."""
    generator = np.random.default_rng(7)
    tokens = np.minimum(generator.zipf(1.3, 600_000), 3_000).astype("<u2")
    tokens.tofile(tmp_path / "flat.bin")
    tc.ngrams(tmp_path / "flat.bin", tmp_path / "c", options=tc.StoreOptions(sequence_length=600_000))
    catalog = tc.Catalog(tmp_path / "c")
    [file] = (tmp_path / "c/ngrams/trigrams").iterdir()
    assert pq.read_metadata(file).num_row_groups > 4
    for n in (1, 2, 3):
        grams = naive_counts([tokens.tolist()], n)
        known = list(grams)
        asked = [known[i] for i in generator.integers(0, len(known), 3_000)]
        asked += [tuple(gram) for gram in generator.integers(0, 5_000, (2_000, n)).tolist()]
        asked += [(-1,) * n, (2**31,) * n, (2**40,) * n, known[0], known[-1]]
        assert catalog.count(asked).tolist() == [grams.get(gram, 0) for gram in asked]
        assert catalog.count(np.zeros((0, n), int)).tolist() == []
    prefixes: dict[Gram, list[tuple[int, int]]] = {}
    for gram in known:
        prefixes.setdefault(gram[:-1], []).append((-grams[gram], gram[-1]))
    some = [list(prefixes)[i] for i in generator.integers(0, len(prefixes), 100)] + [(1, 1), (1, 2), (2_999, 4_000)]
    for prefix in some:
        found = catalog.complete(list(prefix), limit=5)
        expected = sorted(prefixes.get(prefix, []))
        assert found.sum_count == -sum(count for count, _ in expected)
        table = found.table.to_pylist()
        assert [(-row["count"], row["id"]) for row in table] == expected[:5]


def test_two_commands_at_once(demo_data: Path, tmp_path: Path) -> None:
    """The second is refused, and the first is not harmed."""
    tokens = np.random.default_rng(0).zipf(1.3, 1_500_000) % 8_000
    flat = write_flat(tmp_path / "flat.bin", tokens.tolist(), "uint16")
    arguments = ("ngrams", flat, "--tokenizer", demo_data, "--memory", "1MB", "--out", tmp_path / "c")
    command = [sys.executable, "-m", "taskcatalog", *map(str, arguments)]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "c/ngrams/ledger.parts.jsonl").exists():
        assert first.poll() is None
        time.sleep(0.01)
    assert "another taskcatalog command is at work there" in refusal(*arguments)
    assert first.wait() == 0
    answer(*arguments[:-1], tmp_path / "d")
    assert tree(tmp_path / "c") == tree(tmp_path / "d")


def test_uniform_ends() -> None:
    assert uniform_ends(7, 3).tolist() == [3, 6, 7]
    assert uniform_ends(6, 3).tolist() == [3, 6]
    assert uniform_ends(0, 3).tolist() == []
