"""Token store to n-gram, prefix and top tables."""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from taskcatalog.catalog.folder import CatalogueFolder
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.schemas import MAX_N, ngram_table, prefix_table, top_table
from taskcatalog.cluster.local import Work, run_parts
from taskcatalog.corpus.stores.open_store import StoreOptions, open_store
from taskcatalog.corpus.stores.store import Store
from taskcatalog.counting.count import count_part, count_parts, sequences_that_fit
from taskcatalog.counting.merge import merge_part, merge_parts
from taskcatalog.counting.top import write_top_table
from taskcatalog.errors import SettingsError
from taskcatalog.sizes import memory_budget, worker_count
from taskcatalog.storage import AnyPath

STAGE = "ngrams"


@dataclass(frozen=True, kw_only=True)
class NgramSettings:
    """What decides the bytes of the tables, besides the store."""

    n: tuple[int, ...] = (2, 3)
    """Lengths to count, each from 2 to 5."""
    min_prefix_count: int = 1_000
    """Top tables of trigrams and longer take prefixes that occur more often than this."""
    min_share: float = 0.5
    """Top tables take prefixes whose most frequent completion has a share above this."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", tuple(sorted(set(self.n))))
        if not self.n or self.n[0] < 2 or self.n[-1] > MAX_N:
            raise SettingsError(f"n is {', '.join(map(str, self.n)) or 'empty'}: each must be from 2 to {MAX_N}")
        if self.min_prefix_count < 0:
            raise SettingsError(f"min prefix count is {self.min_prefix_count}: it must be 0 or more")
        if not 0 <= self.min_share < 1:
            raise SettingsError(f"min share is {self.min_share}: it must be from 0 to below 1")


def ngrams(
    store: str | AnyPath,
    out: str | Path,
    settings: NgramSettings | None = None,
    *,
    options: StoreOptions | None = None,
    memory: str | None = None,
    workers: int | None = None,
    force: bool = False,
) -> dict[str, int]:
    """Counts a store's n-grams into the catalogue at ``out``; returns the number of rows of each table.

    ``store`` is a token store, an MDS folder or a flat ``.bin`` (``options`` say what the latter do not);
    ``memory`` bounds the working memory ("8GB"). The same call again goes on where it was stopped, or does
    nothing.

    Raises InputError for a store that cannot be read, ConflictError where ``out`` holds something else
    (``force`` replaces the tables of other settings).
    """
    settings = settings or NgramSettings()
    budget, workers = memory_budget(memory), worker_count(workers)
    source = open_store(store, options)
    folder = CatalogueFolder(Path(out))
    folder.check_corpus(source.corpus)
    with Ledger.begin(folder.ngrams, STAGE, {"store": source.corpus.fingerprint}, asdict(settings), force) as ledger:
        if not ledger.complete:
            _fill(ledger, source, settings, budget, workers)
            folder.prepare(source.corpus, source.vocabulary)
            ledger.finish(_facts(ledger, settings))
    return {name: rows for name, rows in ledger.facts.items() if name != "tokens"}


def _fill(ledger: Ledger, store: Store, settings: NgramSettings, memory: int, workers: int) -> None:
    counting = count_parts(store, settings.n, ledger.work, _sequences_at_once(ledger, store, memory, workers))
    run_parts(ledger, counting, count_part, Work(description="count", unit="tokens", total=store.n_tokens), workers)
    id_counts = np.sum([np.load(part.id_counts) for part in counting.values()], axis=0)
    runs = [part.folder for part in counting.values()]
    merging = merge_parts(id_counts, settings.n, runs, ledger.folder, memory, workers)
    total = int(id_counts.sum()) * len(settings.n)
    run_parts(ledger, merging, merge_part, Work(description="merge", unit="n-grams", total=total), workers)
    for n in settings.n:
        if (name := top_table(n)) not in ledger.parts:
            out = ledger.folder / f"{name}.parquet"
            prefixes = [path for path in ledger.files() if path.parent.name == prefix_table(n)]
            # Bigrams have so few prefixes that their top table takes rare ones too.
            above = 0 if n == 2 else settings.min_prefix_count
            vocabulary_size = store.corpus.vocabulary_size
            rows = write_top_table(
                prefixes, n, vocabulary_size, store.vocabulary, settings.min_share, above, memory, out
            )
            ledger.finish_part(name, [out], {name: rows})


def _sequences_at_once(ledger: Ledger, store: Store, memory: int, workers: int) -> int:
    """Sequences in a stretch: as many as the memory holds, or fewer if the run was begun with fewer."""
    at_once = sequences_that_fit(store, memory, workers)
    if (plan := ledger.parts.get("plan")) is not None:
        if plan.facts["sequences_at_once"] <= at_once or any(name.startswith("merge-") for name in ledger.parts):
            return int(plan.facts["sequences_at_once"])
        ledger.forget(name for name in ledger.parts if name.startswith("count-") or name == "plan")
    ledger.finish_part("plan", [], {"sequences_at_once": at_once})
    return at_once


def _facts(ledger: Ledger, settings: NgramSettings) -> dict[str, int]:
    """Rows of each table, and the tokens that were counted."""
    names = [table(n) for n in settings.n for table in (ngram_table, prefix_table, top_table)]
    facts = {name: sum(part.facts.get(name, 0) for part in ledger.parts.values()) for name in names}
    counted = (part.facts["amount"] for name, part in ledger.parts.items() if name.startswith("count-"))
    return facts | {"tokens": sum(counted)}
