"""What a scan must find, the plain way: every prompt run on its own, measures in float64."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import taskcatalog as tc
from helpers import float64_measures
from taskcatalog.stores.store import Store

TOLERANCE = 1e-4
END = "<|endoftext|>"
Row = dict[str, Any]


def last_logits(model: Path, prompts: list[tuple[int, ...]]) -> np.ndarray:
    """The logits after each prompt, whole prompts at a time, no cache."""
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    batches = torch.tensor(prompts).split(512)
    with torch.inference_mode():
        return torch.cat([plain(input_ids=batch, use_cache=False).logits[:, -1] for batch in batches]).numpy()


def naive_scan(
    store: Store, model: Path, n_sequences: int, length: int, front: tuple[int, ...] = ()
) -> dict[tuple[int, ...], Row]:
    """What the table must say of each distinct long prompt, accepted or not."""
    rows: dict[tuple[int, ...], Row] = {}
    read = store.read(0, n_sequences)
    tokens = read.tokens.tolist()
    documents = set(read.document_starts.tolist()) if read.document_starts is not None else None
    begin = 0
    for sequence, end in enumerate(read.ends.tolist()):
        for i in range(begin, end - length):
            ids = tuple(tokens[i : i + length + 1])
            if ids in rows:
                rows[ids]["count"] += 1
                continue
            rows[ids] = {
                "count": 1,
                "batch": sequence // 128,
                "sample": sequence % 128,
                "start": i + 1 - begin,
                "context_ids": tokens[max(begin, i + 1 - 5) : min(end, i + 1 + length + 5)],
                "true_next_id": tokens[i + length + 1] if i + length + 1 < end else None,
                "crosses_document": None
                if documents is None
                else any(i + j in documents for j in range(1, length + 1)),
            }
        begin = end
    order = list(rows)
    long = last_logits(model, [front + ids for ids in order])
    short = last_logits(model, [front + ids[1:] for ids in order])
    measures = float64_measures(short, long)
    for name, logits in (("short", short), ("long", long)):
        p = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
        measures[f"p_{name}"] = p.max(-1) / p.sum(-1)
        measures[f"{name}_max_id"] = logits.argmax(-1)
    for i, ids in enumerate(order):
        rows[ids].update({name: values[i] for name, values in measures.items()})
        ties = [np.sort(logits[i])[-2:] for logits in (short[i : i + 1], long[i : i + 1]) for i in (0,)]
        rows[ids]["near_tie"] = any(b - a < TOLERANCE * max(1, abs(b)) for a, b in ties)
    return rows


def near(value: float, threshold: float) -> bool:
    return abs(value - threshold) <= TOLERANCE * max(1.0, abs(threshold))


def assert_equal_scans(
    catalog: tc.Catalog, table: str, expected: dict[tuple[int, ...], Row], p: float, d: float, kind: str = "JS"
) -> int:
    """Every column of the table, and which rows are in it; returns how many were compared."""
    found = {tuple(row["long_ids"]): row for row in catalog.table(table).to_arrow_table().to_pylist()}
    accepted = {ids for ids, row in expected.items() if row["p_long"] > p and row[kind] > d}
    for ids in accepted ^ found.keys():
        assert near(expected[ids]["p_long"], p) or near(expected[ids][kind], d), expected[ids]
    vocabulary = catalog.vocabulary
    assert vocabulary is not None
    for ids in accepted & found.keys():
        row, truth = found[ids], expected[ids]
        for name in ("count", "batch", "sample", "start", "context_ids", "true_next_id", "crosses_document"):
            assert row[name] == truth[name], (ids, name)
        for name in ("p_short", "p_long", "JS", "jsd", "p_delta_max", "logit_excite_max", "logit_inhibit_max"):
            assert row[name] == pytest.approx(truth[name], rel=TOLERANCE, abs=1e-6), (ids, name)
        if not truth["near_tie"]:
            assert (row["short_max_id"], row["long_max_id"]) == (truth["short_max_id"], truth["long_max_id"])
        assert row["corpus_count"] >= row["documents"] >= 1
        assert row["text"] == f"[{vocabulary.text(ids[:1])}]{vocabulary.text(ids[1:])}"
        assert row["token_short"] == vocabulary.text([row["short_max_id"]])
        assert row["token_long"] == vocabulary.text([row["long_max_id"]])
        assert row["context"] == vocabulary.text(truth["context_ids"])
    order = [(-row["p_long"], ids) for ids, row in found.items()]
    assert order == sorted(order)
    assert len({row["task_id"] for row in found.values()}) == len(found)
    return len(found)
