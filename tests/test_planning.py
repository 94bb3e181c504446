"""Plans against what really happens."""

import json
from pathlib import Path

import duckdb
import numpy as np
import pytest

import taskcatalog as tc
from helpers import answer, refusal
from taskcatalog.planning import grown


def test_growth_of_a_power_law() -> None:
    """Exact for a power of the size; of one whose exponent falls, never below what is there."""
    sizes = [1e6, 2e6, 4e6, 8e6]
    measured = [(size, round(3 * size**0.8)) for size in sizes]
    assert grown(measured, 8e9) == pytest.approx(3 * 8e9**0.8, rel=0.001)
    assert grown(measured, 8e6) == measured[-1][1]
    assert grown(measured, 4e6) == pytest.approx(measured[-2][1], rel=0.001)
    falling = [(size, round(1e7 * size / (size + 4e6))) for size in sizes]
    assert falling[-1][1] < grown(falling, 3e7) < 1e7
    assert grown([(10.0, 0)], 1_000.0) == 0


@pytest.mark.parametrize("memory", ["1GB", "20MB"])
def test_disk_of_counting(shared: Path, demo_data: Path, tmp_path: Path, memory: str) -> None:
    """Planned for the whole from a part: the space of the tables, and of sorted runs where memory is short."""
    store = tc.tokenize(shared / "corpus/mix_first2000.jsonl.gz", tmp_path / "store", str(demo_data)).store
    rows = tc.ngrams(tmp_path / "store", tmp_path / "c", memory=memory)
    machine = tc.Machine(memory=memory, cores=2)
    tokenizing, counting = tc.plan(tmp_path / "store", machine=machine)
    tables = [path for path in (tmp_path / "c/ngrams").rglob("*.parquet") if not path.name.startswith(("top", "uni"))]
    assert counting.final == pytest.approx(sum(path.stat().st_size for path in tables), rel=0.1)
    assert tokenizing.final == 2 * store.n_tokens
    assert (counting.temporary > 8 * rows.rows["trigrams"]) == (memory == "20MB")
    assert 0 < counting.seconds < 600


def test_other_machines(demo_data: Path, tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).zipf(1.2, 400_000) % 8_000
    tokens.astype("<u2").tofile(tmp_path / "flat.bin")
    options = tc.StoreOptions(tokenizer=str(demo_data))

    def planned(**machine: object) -> float:
        known = tc.Machine(memory="100GB", **machine)  # type: ignore[arg-type]
        return tc.plan(tmp_path / "flat.bin", options=options, tokens=10**9, machine=known)[-1].seconds

    assert planned(cores=64) < planned(cores=2) / 8
    assert planned(cores=64, disk_rate=10**6) > 2 * planned(cores=64)


def test_plan_command(demo_data: Path, tmp_path: Path) -> None:
    (np.arange(100_000) % 500).astype("<u2").tofile(tmp_path / "flat.bin")
    given = ("plan", tmp_path / "flat.bin", "--tokenizer", demo_data)
    lines = answer(*given, "--model", demo_data, "--cores", 64, "--memory", "64GB", "--disk-rate", "2GB").splitlines()
    assert [line.split()[0] for line in lines] == ["stage", "tokenize", "ngrams", "predict", "scan", "for"]
    assert len(answer("plan", tmp_path / "flat.bin").splitlines()) == 3, "without a tokenizer, only counting"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["flat.bin"]
    (tmp_path / "empty.bin").write_bytes(b"")
    assert "has no tokens to measure on" in refusal("plan", tmp_path / "empty.bin")
    assert "'fast' is not a size" in refusal(*given, "--disk-rate", "fast")


def test_one_duckdb_file(demo_data: Path, tmp_path: Path) -> None:
    tokens = np.random.default_rng(0).zipf(1.2, 50_000) % 8_000
    tokens.astype("<u2").tofile(tmp_path / "flat.bin")
    options = tc.StoreOptions(tokenizer=str(demo_data))
    tc.ngrams(tmp_path / "flat.bin", tmp_path / "c", tc.NgramSettings(n=(2, 3, 4), min_prefix_count=1), options=options)
    out = tmp_path / "it's.duckdb"
    assert "trigrams" in answer("duckdb", tmp_path / "c", "--out", out)
    catalog = tc.Catalog(tmp_path / "c")
    with duckdb.connect(out, read_only=True) as database:
        for name in catalog.tables:
            rows = database.sql(f'FROM "{name}"').to_arrow_table()
            assert rows.equals(catalog.table(name).to_arrow_table().cast(rows.schema)), name
            assert rows.num_rows
    before = out.read_bytes()
    assert "is there already" in refusal("duckdb", tmp_path / "c", "--out", out)
    assert out.read_bytes() == before
    answer("duckdb", tmp_path / "c", "--out", out, "--force")
    assert "is not a catalog" in refusal("duckdb", tmp_path, "--out", tmp_path / "x.duckdb")
    assert not (tmp_path / "x.duckdb").exists()


def test_a_plan_says_what_it_rests_on(code_store: Path) -> None:
    """The sample, and where it is too small to tell."""
    n_tokens = tc.open_store(code_store).n_tokens
    for times, is_uncertain in ((1, False), (100, False), (101, True)):
        said = answer("plan", code_store, "--tokens", times * n_tokens)
        assert f"for {times * n_tokens:,} tokens, from a sample of {n_tokens:,}" in said
        assert ("101 times the sample: sizes and times are uncertain" in said) == is_uncertain
        for stage in json.loads(answer("plan", code_store, "--tokens", times * n_tokens, "--json")):
            assert (stage["tokens"], stage["sample_tokens"]) == (times * n_tokens, n_tokens)
            assert stage["is_uncertain"] == is_uncertain
