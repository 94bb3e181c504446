"""First half of the stage: stretches of the store to sorted runs on disk.

A stretch is as many sequences as the memory holds. Its runs, one for each n, go to ``work/`` with the number
of times that each id occurs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from taskcatalog.catalog.files import written_atomically
from taskcatalog.cluster.local import PartResult
from taskcatalog.corpus.stores.store import Store, check_ids, stretches
from taskcatalog.counting.kernels import count_each_id
from taskcatalog.counting.keys import KeyLayout
from taskcatalog.counting.runs import count_grams, run_files, shorten, write_run

_BYTES_PER_TOKEN = 48
"""Of working memory while a stretch is counted: its ids, payloads, counts and the run of the next shorter n."""
_LEAST_TOKENS = 1 << 16


@dataclass(frozen=True, kw_only=True)
class CountPart:
    """One stretch of sequences, and where its runs go."""

    store: Store
    first: int
    last: int
    ns: Sequence[int]
    folder: Path

    def run_stem(self, n: int) -> Path:
        return self.folder / str(n)

    @property
    def id_counts(self) -> Path:
        return self.folder / "ids.npy"


def sequences_that_fit(store: Store, memory: int, workers: int) -> int:
    """How many sequences each of ``workers`` threads can count at once within ``memory`` bytes."""
    tokens = max(_LEAST_TOKENS, memory // workers // _BYTES_PER_TOKEN)
    share = -(-store.n_sequences // workers)
    return max(1, min(tokens // store.corpus.sequence_length, share))


def count_parts(store: Store, ns: Sequence[int], work: Path, sequences_at_once: int) -> dict[str, CountPart]:
    return {
        f"count-{first:010d}-{last:010d}": CountPart(
            store=store, first=first, last=last, ns=ns, folder=work / f"runs-{first:010d}"
        )
        # An empty store is one empty stretch: its tables are there, and empty.
        for first, last in list(stretches(store.n_sequences, sequences_at_once)) or [(0, 0)]
    }


def count_part(part: CountPart) -> PartResult:
    """Counts one stretch: the longest grams from the tokens, each shorter n from the one above it."""
    sequences = part.store.read(part.first, part.last)
    check_ids(part.store, sequences, part.first)
    vocabulary_size = part.store.corpus.vocabulary_size
    with written_atomically(part.id_counts) as temporary, temporary.open("wb") as file:
        np.save(file, count_each_id(sequences.tokens, vocabulary_size))
    files = [part.id_counts]
    run = count_grams(sequences, KeyLayout(max(part.ns), vocabulary_size))
    for n in range(max(part.ns), min(part.ns) - 1, -1):
        if n < run.layout.n:
            run = shorten(run, sequences)
        if n in part.ns:
            write_run(run, part.run_stem(n))
            files += run_files(part.run_stem(n))
    return PartResult(files=files, amount=len(sequences.tokens))
