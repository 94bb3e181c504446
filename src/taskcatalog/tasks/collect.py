"""Token store to distinct long prompts, each with its number of occurrences and its first place."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from taskcatalog.catalog.parquet import table_writer
from taskcatalog.catalog.schemas import id_columns, ngram_schema
from taskcatalog.catalog.sorting import parquet_files, write_sorted
from taskcatalog.cluster.local import PartResult
from taskcatalog.corpus.stores.store import Store, check_ids, stretches
from taskcatalog.tasks.prompts import PROMPTS_PER_PART, distinct_rows

_TOKENS_AT_ONCE = 1 << 20


def prompts_schema(length: int, ids: np.dtype[np.uint16] | np.dtype[np.uint32]) -> pa.Schema:
    """The prompt's ids, its ``count``, and the ``place`` of its first token where it occurs first: the number of
    the sequence in the high 32 bits, the index in the sequence in the low ones."""
    return ngram_schema(length, ids).append(pa.field("place", pa.uint64(), nullable=False))


@dataclass(frozen=True, kw_only=True)
class CollectPart:
    """One stretch of sequences: the distinct prompts of ``length`` tokens in it go to ``out``."""

    store: Store
    first: int
    last: int
    length: int
    out: Path


def collect_parts(store: Store, first: int, last: int, length: int, work: Path) -> dict[str, CollectPart]:
    at_once = max(1, _TOKENS_AT_ONCE // store.corpus.sequence_length)
    return {
        f"collect-{first + begin:010d}": CollectPart(
            store=store,
            first=first + begin,
            last=first + end,
            length=length,
            out=work / f"collected-{first + begin:010d}.parquet",
        )
        for begin, end in stretches(last - first, at_once)
    }


def collect_part(part: CollectPart) -> PartResult:
    sequences = part.store.read(part.first, part.last)
    check_ids(part.store, sequences, part.first)
    starts = np.concatenate([[0], sequences.ends[:-1]])
    n_windows = np.maximum(sequences.ends - starts - part.length + 1, 0)
    offsets = np.arange(n_windows.sum()) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    firsts = np.repeat(starts, n_windows) + offsets
    windows = sequences.tokens[firsts[:, None] + np.arange(part.length)]
    places = np.repeat(np.arange(part.first, part.last, dtype=np.uint64), n_windows) << np.uint64(32)
    places |= offsets.astype(np.uint64)
    vocabulary_size = part.store.corpus.vocabulary_size
    found = distinct_rows(windows, max(1, (vocabulary_size - 1).bit_length()))
    with table_writer(part.out, prompts_schema(part.length, part.store.corpus.id_dtype)) as writer:
        ids = dict(zip(id_columns(part.length), found.rows.T, strict=True))
        writer.write(ids | {"count": found.counts, "place": places[found.first]})
    return PartResult(files=[part.out], amount=len(sequences.tokens), facts={"windows": len(windows)})


def merge_collected(collected: list[Path], schema: pa.Schema, out: Path, memory: int) -> int:
    """All stretches' prompts, each once, sorted by ids; returns how many."""
    ids = ", ".join(name for name in schema.names if name.startswith("id"))
    query = f"""SELECT {ids}, sum(count) AS count, min(place) AS place FROM {parquet_files(collected)}
        GROUP BY {ids} ORDER BY {ids}"""
    return write_sorted(query, schema, out, memory, out.with_suffix(".sort"), PROMPTS_PER_PART).n_rows
