"""Second half of the stage: runs to tables, one range of first ids after the other.

The ranges hold about equal numbers of tokens and depend on the corpus alone, so that the files of a table are
the same however the corpus was cut into stretches. Within a range, the runs are merged in *cells* that fit
the memory; a cell never cuts the completions of one prefix, so each cell gives finished rows of both tables.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskcatalog.catalog.parquet import table_writer
from taskcatalog.catalog.schemas import id_columns, id_dtype, ngram_schema, ngram_table, prefix_schema, prefix_table
from taskcatalog.cluster.local import PartResult
from taskcatalog.counting.kernels import summarize_prefixes
from taskcatalog.counting.keys import KeyLayout
from taskcatalog.counting.runs import Run, first_rows, merge_runs, read_run

_TOKENS_PER_RANGE = 8 << 20
_MOST_RANGES = 1_024
_BYTES_PER_ROW = 128
"""Of working memory while a cell is merged and written: runs, merged run, columns of ids, prefixes."""
_LEAST_ROWS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class MergePart:
    """One range of first ids of one n: runs in, a file of each table out."""

    layout: KeyLayout
    first_id: int
    last_id: int
    runs: Sequence[Path]
    rows_at_once: int
    ngrams_file: Path
    prefixes_file: Path


def merge_parts(
    id_counts: NDArray[np.int64], ns: Sequence[int], runs: Sequence[Path], folder: Path, memory: int, workers: int
) -> dict[str, MergePart]:
    """A part for each n and range of ids; ``id_counts`` (vocabulary,) is how often each id occurs."""
    rows_at_once = max(_LEAST_ROWS, memory // workers // _BYTES_PER_ROW)
    parts = {}
    for n in ns:
        for i, (first_id, last_id) in enumerate(id_ranges(id_counts)):
            parts[f"merge-{n}-{i:05d}"] = MergePart(
                layout=KeyLayout(n, len(id_counts)),
                first_id=first_id,
                last_id=last_id,
                runs=[run / str(n) for run in runs],
                rows_at_once=rows_at_once,
                ngrams_file=folder / ngram_table(n) / f"{i:05d}.parquet",
                prefixes_file=folder / prefix_table(n) / f"{i:05d}.parquet",
            )
    return parts


def id_ranges(id_counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of ids, the last of each excluded, with about the same number of tokens in each."""
    cumulative = np.cumsum(id_counts)
    total = int(cumulative[-1])
    n_ranges = min(max(1, -(-total // _TOKENS_PER_RANGE)), _MOST_RANGES)
    goals = np.arange(1, n_ranges) * total // n_ranges
    inner = np.searchsorted(cumulative, goals, side="right")
    cuts = np.unique(np.concatenate([[0], inner, [len(id_counts)]])).tolist()
    return list(pairwise(cuts))


def merge_part(part: MergePart) -> PartResult:
    layout = part.layout
    spilled = layout.spilled_bits
    runs = [read_run(stem, layout).heads(part.first_id << spilled, part.last_id << spilled) for stem in part.runs]
    ids, n = id_dtype(layout.vocabulary_size), layout.n
    occurrences = 0
    with (
        table_writer(part.ngrams_file, ngram_schema(n, ids)) as grams,
        table_writer(part.prefixes_file, prefix_schema(n, ids)) as prefixes,
    ):
        for cell in _cells(runs, part.rows_at_once):
            merged = merge_runs(cell)
            columns = dict(zip(id_columns(n), merged.ids(), strict=True))
            counts = merged.counts.astype(np.uint64)
            grams.write(columns | {"count": counts})
            prefixes.write(_prefix_rows(merged, columns, counts))
            occurrences += int(counts.sum())
    facts = {ngram_table(n): grams.n_rows, prefix_table(n): prefixes.n_rows, "occurrences": occurrences}
    return PartResult(files=[part.ngrams_file, part.prefixes_file], amount=occurrences, facts=facts)


def _prefix_rows(run: Run, columns: dict[str, NDArray[Any]], counts: NDArray[np.uint64]) -> dict[str, NDArray[Any]]:
    """A row for each prefix: its ids, its most frequent completion (of equals the smallest id), the numbers."""
    is_first = first_rows(run.gram_heads(), run.payload >> run.payload.dtype.type(run.layout.bits))
    n_prefixes = int(is_first.sum())
    sums, largest = np.empty(n_prefixes, np.uint64), np.empty(n_prefixes, np.uint64)
    best_rows = np.empty(n_prefixes, np.int64)
    summarize_prefixes(is_first, counts, sums, largest, best_rows)
    ids = {name: column[best_rows] for name, column in columns.items()}
    return ids | {"sum_count": sums, "max_count": largest, "frac_max": largest / sums}


def _cells(runs: list[Run], rows_at_once: int) -> Iterator[list[Run]]:
    """The runs' grams in order, in groups of whole prefixes of about ``rows_at_once`` rows."""
    first, end = runs[0].first_head, runs[0].first_head + len(runs[0].starts) - 1
    rows_up_to = sum(run.starts - run.starts[0] for run in runs)
    while first < end:
        goal = rows_up_to[first - runs[0].first_head] + rows_at_once
        last = runs[0].first_head + int(np.searchsorted(rows_up_to, goal, side="right")) - 1
        last = min(max(last, first + 1), end)
        cell = [run.heads(first, last) for run in runs]
        if last == first + 1 and sum(map(len, cell)) > rows_at_once:
            yield from _split_head(cell, rows_at_once)
        else:
            yield cell
        first = last


def _split_head(runs: list[Run], rows_at_once: int) -> Iterator[list[Run]]:
    """The grams of one head that are too many for one cell, cut between prefixes."""
    layout = runs[0].layout
    largest = max(runs, key=len)
    n_cells = -(-sum(map(len, runs)) // rows_at_once)
    rows = np.arange(1, n_cells) * len(largest) // n_cells
    whole_prefix = ~((1 << layout.bits) - 1)
    inner = {int(value) & whole_prefix for value in largest.payload[rows]} - {0}
    cuts = [0, *sorted(inner), 1 << 64]
    for low, high in pairwise(cuts):
        yield [run.payloads(low, high) for run in runs]
