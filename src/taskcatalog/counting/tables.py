"""Second half of the stage: sorted runs to tables, one range of first ids after the other.

The ranges hold about equal numbers of tokens and depend on the corpus alone, so that the files of a table are
the same however the corpus was cut into ranges. Within a range, the runs are merged in *cells* that fit
the memory, and the rows of every table fall out of the longest grams in order.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from taskcatalog.counting.count import equal_ranges
from taskcatalog.counting.kernels import decode, group
from taskcatalog.counting.runs import Grams, Run, merge
from taskcatalog.ids import GramLayout, high_and_low
from taskcatalog.runs.jobs import OnePart
from taskcatalog.runs.parts import Part, finished
from taskcatalog.tables import ngrams as declared
from taskcatalog.tables.declare import Table
from taskcatalog.tables.names import id_columns, id_dtype, ngram_table, prefix_table
from taskcatalog.tables.parquet import TableWriter, table_writer
from taskcatalog.tables.tabulated import Tabulated

_LEAST_TOKENS_IN_RANGE = 1 << 22
_MOST_TOKENS_IN_RANGE = 1 << 24
_RANGES = 16
"""How many ranges of first ids there are, unless each would hold fewer or more tokens than the two bounds above."""
_BYTES_PER_ROW = 160
"""Of working memory while a cell is merged, tabulated and written."""
_LEAST_ROWS, _MOST_ROWS = 1 << 14, 1 << 17
_BYTES_PER_HEAD = 24
"""Of working memory in each run."""
_LEAST_HEADS = 64


@dataclass(frozen=True, kw_only=True)
class TableJob(OnePart):
    """One range of first ids: runs in, a file of each table out."""

    name: str
    layout: GramLayout
    first_id: int
    stop_id: int
    n_tokens: int
    """That is, how often these ids occur."""
    runs: Sequence[Run]
    rows_at_once: int
    heads_at_once: int
    ns: Sequence[int]
    folder: Path
    number: int

    def file(self, table: str) -> Path:
        return self.folder / table / f"{self.number:05d}.parquet"

    def make(self) -> Part:
        files: list[Path] = []
        rows: dict[str, int] = {}
        ids = id_dtype(self.layout.vocabulary_size)
        with ExitStack() as stack:

            def writer(table: Table, n: int) -> TableWriter:
                files.append(self.file(table.name))
                return stack.enter_context(table_writer(files[-1], table.schema(ids), delta=id_columns(n)))

            tables = {n: (writer(declared.ngrams(n), n), writer(declared.prefixes(n), n - 1)) for n in self.ns}
            tabulator = _Tabulator(self.layout, tables)
            for cell in _cells(self):
                tabulator.add(merge(cell))
            tabulator.close()
        for n, (grams, prefixes) in tables.items():
            rows |= {ngram_table(n): grams.n_rows, prefix_table(n): prefixes.n_rows}
        return finished(self.folder, files, Tabulated(amount=self.n_tokens, rows=rows, first_id=self.first_id))


def table_jobs(
    id_counts: NDArray[np.int64], layout: GramLayout, ns: Sequence[int], runs: Sequence[Run], folder: Path, memory: int
) -> list[TableJob]:
    """A job for each range of ids, to be done within ``memory`` bytes; ``id_counts`` (vocabulary,) is how often each
    id occurs."""
    for_rows, for_heads = memory // 2, memory // 2
    rows_at_once = min(max(_LEAST_ROWS, for_rows // _BYTES_PER_ROW // max(1, layout.n - 1)), _MOST_ROWS)
    heads_at_once = max(_LEAST_HEADS, for_heads // (_BYTES_PER_HEAD * (len(runs) + 1)))
    return [
        TableJob(
            name=f"tables-{i:05d}",
            layout=layout,
            first_id=first,
            stop_id=stop,
            n_tokens=int(id_counts[first:stop].sum()),
            runs=runs,
            rows_at_once=rows_at_once,
            heads_at_once=heads_at_once,
            ns=ns,
            folder=folder,
            number=i,
        )
        for i, (first, stop) in enumerate(id_ranges(id_counts))
    ]


def id_ranges(id_counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Ranges of ids, from the first to where each stops, with about the same number of tokens in each."""
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(id_counts)])
    per_range = min(max(int(starts[-1]) // _RANGES, _LEAST_TOKENS_IN_RANGE), _MOST_TOKENS_IN_RANGE)
    return equal_ranges(starts, max(1, -(-int(starts[-1]) // per_range)))


def write_unigrams(id_counts: NDArray[np.int64], out: Path) -> int:
    """The table of single ids that occur; returns its rows."""
    ids = id_dtype(len(id_counts))
    found = np.flatnonzero(id_counts)
    with table_writer(out, declared.ngrams(1).schema(ids), delta=id_columns(1)) as table:
        table.write({"id0": found.astype(ids), "count": id_counts[found].astype(np.uint64)})
    return len(found)


class _Tabulator:
    """The longest grams in, in order; rows of all tables out."""

    def __init__(self, layout: GramLayout, tables: dict[int, tuple[TableWriter, TableWriter]]) -> None:
        """``tables`` has, for each n, the writers of the n-grams and of their prefixes."""
        self._layout = layout
        self._tables = tables
        self._ids = id_dtype(layout.vocabulary_size + 1)  # the end id among them
        self._open = {
            k: (np.full(k, -1, np.int64), np.zeros(4, np.uint64), np.zeros(1)) for k in range(2, layout.n + 1)
        }
        """Of each k, what ``kernels.group`` keeps of a prefix that may go on."""

    def add(self, grams: Grams) -> None:
        ids = np.empty((self._layout.n, len(grams.payload)), self._ids)
        decode(grams.first_head, grams.starts, *high_and_low(grams.payload), self._layout.bits, ids)
        self._add(ids, grams.counts.astype(np.uint64), is_last=False)

    def close(self) -> None:
        self._add(np.empty((self._layout.n, 0), self._ids), np.empty(0, np.uint64), is_last=True)

    def _add(self, ids: NDArray[Any], counts: NDArray[np.uint64], is_last: bool) -> None:
        for k in range(self._layout.n, min(self._tables, default=2) - 1, -1):
            room = len(counts) + 1
            shorter_ids, shorter_counts = np.empty((k - 1, room), self._ids), np.empty(room, np.uint64)
            prefixes = np.empty((k, room), self._ids), np.empty((3, room), np.uint64), np.empty(room, np.float32)
            n_grams, n_shorter, n_prefixes = group(
                ids, counts, self._layout.end_id, is_last, *self._open[k], shorter_ids, shorter_counts, *prefixes
            )
            if k in self._tables:
                table, prefix_table = self._tables[k]
                table.write(_columns(ids[:, :n_grams]) | {"count": counts[:n_grams]})
                prefix_table.write(_prefix_rows(*prefixes, n_prefixes))
            ids, counts = shorter_ids[:, :n_shorter], shorter_counts[:n_shorter]


def _columns(ids: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return dict(zip(id_columns(len(ids)), ids, strict=True))


def _prefix_rows(
    ids: NDArray[Any], numbers: NDArray[np.uint64], entropies: NDArray[np.float32], n: int
) -> dict[str, NDArray[Any]]:
    sums, largest, completions = numbers[:, :n]
    return _columns(ids[:, :n]) | {
        "sum_count": sums,
        "max_count": largest,
        "frac_max": largest / sums,
        "completions": completions,
        "entropy": entropies[:n],
    }


def _cells(job: TableJob) -> Iterator[list[Grams]]:
    """The runs' grams in order, in groups of about ``rows_at_once`` rows."""
    for first in range(job.first_id, job.stop_id, job.heads_at_once):
        yield from _cells_of_heads(job, first, min(first + job.heads_at_once, job.stop_id))


def _cells_of_heads(job: TableJob, first: int, end: int) -> Iterator[list[Grams]]:
    starts = [run.starts(first, end) for run in job.runs]
    rows_up_to = np.zeros(end - first + 1, np.int64)
    for own in starts:
        rows_up_to += own
        rows_up_to -= own[0]
    at = 0
    while at < end - first:
        goal = rows_up_to[at] + job.rows_at_once
        stop = min(max(int(np.searchsorted(rows_up_to, goal, side="right")) - 1, at + 1), end - first)
        bounds = [own[at : stop + 1] for own in starts]
        if stop == at + 1 and rows_up_to[stop] - rows_up_to[at] > job.rows_at_once:
            yield from _split_head(job, first + at, bounds)
        else:
            yield [_grams(run, first + at, own) for run, own in zip(job.runs, bounds, strict=True)]
        at = stop


def _grams(run: Run, first_head: int, starts: NDArray[np.int64]) -> Grams:
    return Grams(run.layout, first_head, starts - starts[0], *run.rows(int(starts[0]), int(starts[-1])))


def _split_head(job: TableJob, head: int, bounds: list[NDArray[np.int64]]) -> Iterator[list[Grams]]:
    """The grams of one head that are too many for one cell, cut where the largest run has equally many."""
    payloads = [run.payload(int(own[0]), int(own[1])) for run, own in zip(job.runs, bounds, strict=True)]
    largest = max(payloads, key=len)
    n_cells = -(-sum(map(len, payloads)) // job.rows_at_once)
    cuts = np.unique(largest[np.arange(1, n_cells) * len(largest) // n_cells])
    inner = [[0, *np.searchsorted(own, cuts).tolist(), len(own)] for own in payloads]
    for i in range(len(cuts) + 1):
        yield [
            _grams(run, head, own[0] + np.array(cut[i : i + 2], np.int64))
            for run, own, cut in zip(job.runs, bounds, inner, strict=True)
        ]
