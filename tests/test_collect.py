"""The distinct prompts of a store, however it is cut."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.tasks import collect


@pytest.mark.parametrize("at_once", [12, 300, 1 << 22])
def test_prompts_of_long_sequences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Sequences of 50, cut every few ids or not at all: each prompt with its count and its first position."""
    tokens = np.minimum(np.random.default_rng(0).geometric(0.4, 190), 9)
    tokens.astype("<u2").tofile(tmp_path / "flat.bin")
    options = tc.StoreOptions(sequence_length=50)
    store = tc.open_store(tmp_path / "flat.bin", options)
    reference = StoreReference.of(store, tmp_path / "flat.bin", options)
    monkeypatch.setattr(collect, "_IDS_AT_ONCE", at_once)
    jobs = collect.collect_jobs(reference, SequenceRange(0, store.n_sequences), 3, tmp_path)
    done = [job.make().facts_as(collect.Collected) for job in jobs]
    expected: dict[tuple[int, ...], list[int]] = {}
    for sequence in range(4):
        row = tokens[50 * sequence : 50 * (sequence + 1)].tolist()
        for i in range(len(row) - 2):
            expected.setdefault(tuple(row[i : i + 3]), []).append((sequence << 32) + i)
    schema = collect.prompts_schema(3, store.identity.id_dtype)
    out = tmp_path / "prompts.parquet"
    collect.merge_collected([job.out for job in jobs], schema, out, 1 << 28)
    found = [tuple(row.values()) for row in pq.read_table(out).to_pylist()]
    assert found == [(*prompt, len(positions), min(positions)) for prompt, positions in sorted(expected.items())]
    assert sum(facts.windows for facts in done) == sum(map(len, expected.values()))
