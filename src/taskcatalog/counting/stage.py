"""Token store to n-gram, prefix and top tables."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.counting.count import Stretch, count_stretch, cut_store, least_memory, tokens_that_fit
from taskcatalog.counting.keys import KeyLayout
from taskcatalog.counting.runs import Run, StoredRun
from taskcatalog.counting.tables import table_parts, write_tables, write_unigrams
from taskcatalog.counting.top import write_top_table
from taskcatalog.runs.destination import check_apart
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.local import PartResult, Work, run_parts
from taskcatalog.runs.progress import progress_bar
from taskcatalog.runs.stage import Stage, defaults_of
from taskcatalog.settings import COUNT, SHARE, Between, Settings, given_or_default
from taskcatalog.sizes import check_memory, memory_budget, worker_count
from taskcatalog.storage import AnyPath, locate_here
from taskcatalog.stores.open_store import StoreOptions, open_store
from taskcatalog.stores.store import Store, unchanged
from taskcatalog.tables import registry
from taskcatalog.tables.names import MAX_N, above_count, ngram_table, prefix_table, top_table


@dataclass(frozen=True, kw_only=True)
class NgramSettings(Settings):
    """What decides the bytes of the tables, besides the store."""

    n: Annotated[tuple[int, ...], Between(1, MAX_N)] = (2, 3)
    """Lengths to count, each from 1 to 5; unigrams are always there."""
    min_prefix_count: Annotated[int, COUNT] = 1_000
    """Top tables of trigrams and longer take prefixes that occur more often than this."""
    min_share: Annotated[float, SHARE] = 0.5
    """Top tables take prefixes whose most frequent completion has a share above this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "n", tuple(sorted(set(self.n))))


STAGE = Stage("ngrams", registry.files_of("ngrams"), defaults_of(NgramSettings))


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
    """Counts a store's n-grams into the catalog at ``out``; returns the number of rows of each table.

    ``store`` is a token store, an MDS folder or a flat ``.bin`` (``options`` say what the latter do not);
    ``memory`` bounds the working memory ("8GB"), beside that of the libraries (see docs/memory.md). The same call
    again goes on where it was stopped, or does nothing.

    Raises InputError for a store that cannot be read, ConflictError where ``out`` holds something else
    (``force`` replaces the tables of other settings), SettingsError for less ``memory`` than the vocabulary needs.
    """
    settings = given_or_default(settings, NgramSettings)
    budget, workers = memory_budget(memory), worker_count(workers)
    source = open_store(store, options)
    layout = _layout(source, settings)
    counting = f"counting {layout.n}-grams of a vocabulary of {layout.vocabulary_size:,} ids"
    check_memory(budget, least_memory(source, layout), counting)
    folder = CatalogFolder(locate_here(out))
    check_apart(out, [source.path])
    folder.check_identity(source.identity)
    inputs = {"store": source.identity.fingerprint}
    with Ledger.begin(folder.ngrams, STAGE, inputs, asdict(settings), stamp=source.stamp, force=force) as ledger:
        if not ledger.complete:
            with unchanged(source):
                _fill(ledger, source, settings, budget, workers)
            folder.prepare(source.identity, source.vocabulary)
            ledger.finish(_facts(ledger, settings))
        folder.remember_store(source.path, options)
    return {name: rows for name, rows in ledger.facts.items() if name != "tokens"}


def _fill(ledger: Ledger, store: Store, settings: NgramSettings, memory: int, workers: int) -> None:
    if ngram_table(1) not in ledger.parts:
        _write_ngrams(ledger, store, settings, memory, workers)
    for n in settings.n:
        if n > 1 and (name := top_table(n)) not in ledger.parts:
            out = ledger.folder / f"{name}.parquet"
            prefixes = [path for path in ledger.files() if path.parent.name == prefix_table(n)]
            above = above_count(n, settings.min_prefix_count)
            vocabulary_size, spill = store.identity.vocabulary_size, ledger.work / f"{name}.sort"
            rows = write_top_table(
                prefixes, n, vocabulary_size, store.vocabulary, settings.min_share, above, memory, out, spill
            )
            ledger.finish_part(name, [out], {name: rows})


def _write_ngrams(ledger: Ledger, store: Store, settings: NgramSettings, memory: int, workers: int) -> None:
    """All tables but the top ones; unigrams are the last."""
    layout = _layout(store, settings)
    stretches = _stretches(ledger, store, layout, memory, workers)
    runs, id_counts = _count(ledger, stretches, store.n_tokens, memory, workers)
    longer = [n for n in settings.n if n > 1]
    parts = table_parts(id_counts, layout, longer, runs, ledger.folder, memory // 4 // workers)
    work = Work(description="tables", unit="tokens", total=int(id_counts.sum()))
    run_parts(ledger, parts, write_tables, work, workers)
    unigrams = ledger.folder / f"{ngram_table(1)}.parquet"
    rows = write_unigrams(id_counts, unigrams)
    ledger.finish_part(ngram_table(1), [unigrams], {ngram_table(1): rows})


def _layout(store: Store, settings: NgramSettings) -> KeyLayout:
    return KeyLayout(max(2, *settings.n), store.identity.vocabulary_size)


def _stretches(ledger: Ledger, store: Store, layout: KeyLayout, memory: int, workers: int) -> dict[str, Stretch]:
    """The store in stretches that the memory holds, or in a stopped run's if those are shorter."""
    at_once = tokens_that_fit(store, layout, memory, workers)
    if (plan := ledger.parts.get("plan")) is not None:
        planned = plan.facts.get("tokens_at_once")
        if planned is not None and planned <= at_once:
            at_once = int(planned)
        else:
            ledger.forget(name for name in ledger.parts if name.startswith("count-") or name == "plan")
    if "plan" not in ledger.parts:
        ledger.finish_part("plan", [], {"tokens_at_once": at_once})
    return {
        f"count-{stretch.first:010d}-{stretch.last:010d}-{stretch.begin:012d}": stretch
        for stretch in cut_store(store, layout, at_once, ledger.work)
    }


def _count(
    ledger: Ledger, stretches: dict[str, Stretch], n_tokens: int, memory: int, workers: int
) -> tuple[list[Run], NDArray[np.int64]]:
    """The run of each stretch, and how often each id occurs: in memory if there is one stretch, else on disk."""
    work = Work(description="count", unit="tokens", total=n_tokens)
    if len(stretches) == 1:
        [stretch] = stretches.values()
        with progress_bar(work.description, work.total, work.unit) as bar:
            run, id_counts = count_stretch(stretch, memory, workers)
            bar.update(int(id_counts.sum()))
        return [run], id_counts

    def count_to_disk(stretch: Stretch) -> PartResult:
        run, id_counts = count_stretch(stretch, memory, workers)
        id_counts_file = stretch.folder / "ids"
        with written_atomically(id_counts_file) as temporary, temporary.open("wb") as file:
            file.write(id_counts.data)
        return PartResult(files=[*run.write(stretch.folder), id_counts_file], amount=int(id_counts.sum()))

    run_parts(ledger, stretches, count_to_disk, work)
    layout = next(iter(stretches.values())).layout
    id_counts = np.zeros(layout.vocabulary_size, np.int64)
    for stretch in stretches.values():
        id_counts += np.fromfile(stretch.folder / "ids", np.int64)
    return [StoredRun(layout, stretch.folder) for stretch in stretches.values()], id_counts


def _facts(ledger: Ledger, settings: NgramSettings) -> dict[str, int]:
    """Rows of each table, and the tokens that were counted."""
    names = [table(n) for n in settings.n if n > 1 for table in (ngram_table, prefix_table, top_table)]
    facts = {name: sum(part.facts.get(name, 0) for part in ledger.parts.values()) for name in [ngram_table(1), *names]}
    counted = (part.facts["amount"] for name, part in ledger.parts.items() if name.startswith("tables-"))
    return facts | {"tokens": sum(counted)}
