"""Accepted prompts to the scan's table: texts, contexts and positions."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from taskcatalog.counting.occurrences import count_occurrences
from taskcatalog.lm.model import ModelName
from taskcatalog.runs.progress import note
from taskcatalog.sizes import worker_count
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Sequences, Store
from taskcatalog.tables import scans
from taskcatalog.tables.parquet import table_writer
from taskcatalog.tables.scans import CONTEXT, MOST_CORPUS, SEQUENCES_PER_BATCH
from taskcatalog.tables.sorting import parquet_files, sorted_batches, write_sorted

_TOKENS_AT_ONCE = 1 << 20
_TASKS_AT_ONCE = 1 << 12


def write_tasks(
    accepted: list[Path],
    store: Store,
    model: ModelName,
    prompt_length: int,
    n_scanned: int,
    memory: int,
    out: Path,
    work: Path,
) -> int:
    """Writes the table of accepted prompts by ``p_long`` descending, of equals by ids; returns its rows.

    The store is read twice from front to back: to count the prompts in all of it, unless that has too many times the
    ``n_scanned`` tokens, and for what is around them, as they are taken in the order of their positions.
    """
    schema = scans.scan(prompt_length).schema(store.identity.id_dtype)
    described = work / "described.parquet"
    reader = _SequenceReader(store)
    by_position = f"SELECT * FROM {parquet_files(accepted)} ORDER BY position"
    in_corpus = _in_corpus(by_position, store, prompt_length + 1, n_scanned, memory, work)
    n_described = 0
    with table_writer(described, schema) as writer:
        for table in sorted_batches(by_position, memory, work / "by-position.sort", rows=_TASKS_AT_ONCE):
            counted = in_corpus.slice(n_described, len(table))
            n_described += len(table)
            writer.write(_described(table, reader, model) | {name: counted[name] for name in counted.schema.names})
    query = f"SELECT * FROM {parquet_files([described])} ORDER BY p_long DESC, long_ids"
    return write_sorted(query, schema, out, memory, work / "by-p.sort").n_rows


def _in_corpus(by_position: str, store: Store, length: int, n_scanned: int, memory: int, work: Path) -> pa.RecordBatch:
    """Occurrences and documents of each accepted prompt in all of the store, in the order of the query."""
    batches = sorted_batches(f"SELECT long_ids FROM ({by_position})", memory, work / "by-position.sort")
    ids = [np.zeros(0, store.identity.id_dtype)]
    ids += [table["long_ids"].combine_chunks().flatten().to_numpy() for table in batches]
    lengths = np.full(sum(map(len, ids)) // length, length, np.int64)
    counts = documents = pa.nulls(len(lengths), pa.uint64())
    if store.n_tokens <= MOST_CORPUS * n_scanned:
        workers = worker_count(None)
        found = count_occurrences(store, np.concatenate(ids), lengths, positions=1, workers=workers, memory=memory)
        counts = pa.array(found.counts)
        documents = documents if found.documents is None else pa.array(found.documents)
    elif len(lengths):
        note(f"corpus_count and documents are left out: the store has over {MOST_CORPUS} times the scanned tokens")
    return pa.record_batch({"corpus_count": counts, "documents": documents})


def task_id(label: str, long_ids: list[int]) -> str:
    """Names a task by its model and prompt: 16 hexadecimal digits of a SHA-256."""
    return hashlib.sha256(f"{label}:{','.join(map(str, long_ids))}".encode()).hexdigest()[:16]


def _described(table: pa.Table, reader: "_SequenceReader", model: ModelName) -> dict[str, Any]:
    long_ids = table["long_ids"].to_pylist()
    positions = table["position"].to_numpy()
    sequences, starts = positions >> np.uint64(32), (positions & np.uint64(2**32 - 1)).astype(np.int64)
    seen = [
        reader.surroundings(int(sequence), start, len(ids))
        for sequence, start, ids in zip(sequences, starts.tolist(), long_ids, strict=True)
    ]
    contexts = [item.context_ids for item in seen]
    vocabulary = reader.store.vocabulary

    def texts(ids: list[list[int]]) -> list[str | None]:
        return [vocabulary.text(row) if vocabulary else None for row in ids]

    firsts, rests = texts([ids[:1] for ids in long_ids]), texts([ids[1:] for ids in long_ids])
    columns = {
        "text": [None if first is None else f"[{first}]{rest}" for first, rest in zip(firsts, rests, strict=True)],
        "token_short": texts([[id_] for id_ in table["short_max_id"].to_pylist()]),
        "token_long": texts([[id_] for id_ in table["long_max_id"].to_pylist()]),
        "context": texts(contexts),
        "context_ids": contexts,
        "batch": sequences // SEQUENCES_PER_BATCH,
        "sample": (sequences % SEQUENCES_PER_BATCH).astype(np.uint8),
        "start": starts + 1,
        "task_id": [task_id(model.label, ids) for ids in long_ids],
        "model": [model.label] * len(long_ids),
        "true_next_id": [item.next_id for item in seen],
        "crosses_document": [item.crosses_document for item in seen],
    }
    same = [name for name in table.column_names if name != "position"]
    return columns | {name: table[name].combine_chunks() for name in same}


@dataclass(frozen=True)
class _Surroundings:
    context_ids: list[int]
    next_id: int | None
    crosses_document: bool | None


class _SequenceReader:
    """Looks at positions in the store, in ascending order, keeping one range of sequences in memory."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._range = SequenceRange(0, 0)
        self._sequences: Sequences | None = None

    def surroundings(self, sequence: int, start: int, length: int) -> _Surroundings:
        """What is around the long prompt of ``length`` tokens that begins at ``start`` in this sequence."""
        held = self._read(sequence)
        i = sequence - self._range.start
        begin, end = (int(held.ends[i - 1]) if i else 0), int(held.ends[i])
        first, after = begin + start, begin + start + length
        context = held.tokens[max(begin, first + 1 - CONTEXT) : min(end, after + CONTEXT)]
        crosses = None
        if (starts := held.document_starts) is not None:
            crosses = bool(np.searchsorted(starts, first, "right") < np.searchsorted(starts, after, "left"))
        return _Surroundings(context.tolist(), int(held.tokens[after]) if after < end else None, crosses)

    def _read(self, sequence: int) -> Sequences:
        if self._sequences is None or not self._range.start <= sequence < self._range.stop:
            at_once = max(1, _TOKENS_AT_ONCE // self.store.identity.sequence_length)
            self._range = SequenceRange(sequence, min(sequence + at_once, self.store.n_sequences))
            self._sequences = self.store.read(self._range.start, self._range.stop)
        return self._sequences
