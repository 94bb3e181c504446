"""Token store to n-gram, prefix and top tables."""

import time
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.made import Made
from taskcatalog.compiled import is_kept
from taskcatalog.counting.count import count_range, cut_store, least_memory, tokens_that_fit
from taskcatalog.counting.kernels import sort_and_count
from taskcatalog.counting.runs import Run, StoredRun
from taskcatalog.counting.tables import table_jobs, write_unigrams
from taskcatalog.counting.top import write_top_table
from taskcatalog.ids import GramLayout
from taskcatalog.runs.destination import check_apart
from taskcatalog.runs.driver import Work, run_jobs
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.jobs import OnePart, Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.runs.pools import Inline, Threads
from taskcatalog.runs.progress import note, progress_bar
from taskcatalog.runs.stage import Stage, defaults_of
from taskcatalog.settings import COUNT, POSITIVE, SHARE, Between, Settings, given_or_default
from taskcatalog.sizes import Size, check_memory, memory_budget, worker_count
from taskcatalog.storage import locate_here
from taskcatalog.stores.chosen import advise_on_tokens, chosen_sequences
from taskcatalog.stores.open_store import AnyStore, StoreOptions, open_store
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Store, unchanged
from taskcatalog.tables import registry
from taskcatalog.tables.names import MAX_N, above_count, ngram_table, prefix_table, top_table
from taskcatalog.tables.tabulated import Tabulated


@dataclass(frozen=True, kw_only=True)
class NgramSettings(Settings):
    """What decides the bytes of the tables, besides the store."""

    n: Annotated[tuple[int, ...], Between(1, MAX_N)] = (2, 3)
    """Lengths to count, each from 1 to 5; unigrams are always there."""
    min_prefix_count: Annotated[int, COUNT] = 1_000
    """Top tables of trigrams and longer take prefixes that occur more often than this."""
    min_share: Annotated[float, SHARE] = 0.5
    """Top tables take prefixes whose most frequent completion has a share above this."""
    start: Annotated[int, COUNT] = 0
    """Count from the sequence on that this token of the store is in."""
    max_tokens: Annotated[int | None, POSITIVE] = None
    """Count so many sequences as fit in this number of tokens; all by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "n", tuple(sorted(set(self.n))))


@dataclass(frozen=True, kw_only=True)
class NgramsResult(Made):
    """What was counted."""

    tokens: int
    """Of the store."""


STAGE = Stage("ngrams", registry.files_of("ngrams"), defaults_of(NgramSettings))


@dataclass(frozen=True, kw_only=True)
class _Planned(Facts):
    tokens_at_once: int


@dataclass(frozen=True, kw_only=True)
class _Counted(Facts):
    """Of a run on disk."""


@dataclass(frozen=True, kw_only=True)
class _CountJob(OnePart):
    """One range of the store to a run on disk, by as many threads as there are workers together."""

    name: str
    reference: StoreReference
    range: SequenceRange
    layout: GramLayout
    folder: Path
    memory: int
    workers: int

    @property
    def run_folder(self) -> Path:
        return self.folder / "work" / f"run-{self.range.start:010d}-{self.range.begin:012d}"

    @property
    def id_counts_file(self) -> Path:
        return self.run_folder / "ids"

    def make(self) -> Part:
        run, id_counts = count_range(self.reference.store, self.range, self.layout, self.memory, self.workers)
        with written_atomically(self.id_counts_file) as temporary, temporary.open("wb") as file:
            file.write(id_counts.data)
        files = [*run.write(self.run_folder), self.id_counts_file]
        return finished(self.folder, files, _Counted(amount=int(id_counts.sum())))


@dataclass(frozen=True, kw_only=True)
class _Counting:
    """What all steps of one run need."""

    ledger: Ledger
    reference: StoreReference
    settings: NgramSettings
    layout: GramLayout
    memory: int
    workers: int
    pool: Pool | None
    chosen: SequenceRange
    """What is counted."""


def ngrams(
    store: AnyStore,
    out: str | PathLike[str],
    settings: NgramSettings | None = None,
    *,
    options: StoreOptions | None = None,
    memory: Size | None = None,
    workers: int | None = None,
    pool: Pool | None = None,
    force: bool = False,
) -> NgramsResult:
    """Counts a store's n-grams into the catalog at ``out``.

    >>> made = ngrams("store", "catalog", NgramSettings(n=(2, 3), min_prefix_count=10))
    >>> made.rows["bigrams"]
    12
    >>> made.catalog.count("import os").tolist()
    [100]

    ``store`` is a token store, an MDS folder or a flat ``.bin`` (``options`` say what the latter do not), or one that
    is open; ``memory`` bounds the working memory ("8GB", or a number of bytes), beside that of the libraries (see
    docs/memory.md). The same call again goes on where it was stopped, or does nothing. ``pool`` does the work in place
    of ``workers`` threads; runs then go to disk.

    Raises InputError for a store that cannot be read, ConflictError where ``out`` holds something else
    (``force`` replaces the tables of other settings), SettingsError for less ``memory`` than the vocabulary needs.
    """
    started = time.perf_counter()
    settings = given_or_default(settings, NgramSettings)
    budget, workers = memory_budget(memory), worker_count(workers)
    source = open_store(store, options)
    layout = _layout(source, settings)
    chosen = chosen_sequences(source, settings.start, settings.max_tokens)
    doing = f"counting {layout.n}-grams of a vocabulary of {layout.vocabulary_size:,} ids"
    folder = CatalogFolder(locate_here(out))
    check_apart(folder.path, [source.path])
    folder.check_identity(source.identity)
    inputs = {"store": source.identity.fingerprint}
    if not Ledger.is_done(folder.ngrams, STAGE, inputs, asdict(settings)):
        check_memory(budget, least_memory(source, layout), doing)
    with Ledger.begin(folder.ngrams, STAGE, inputs, asdict(settings), stamp=source.stamp, force=force) as ledger:
        if not ledger.complete:
            reference = StoreReference.of(source, store, options)
            counting = _Counting(
                ledger=ledger, reference=reference, settings=settings, layout=layout, memory=budget,
                workers=workers, pool=pool, chosen=chosen,
            )  # fmt: skip
            advise_on_tokens(source, settings.max_tokens)
            if not is_kept(sort_and_count):
                note(
                    "the loops that count are compiled first, which takes some seconds; they are kept for the next time"
                )
            with unchanged(source):
                _fill(counting)
            folder.prepare(source.identity, source.vocabulary)
            ledger.finish(_facts(ledger, settings, source, chosen))
        folder.remember_store(source.path, source.options)
    rows = {name: rows for name, rows in ledger.facts.items() if name not in ("tokens", "store_tokens")}
    seconds = time.perf_counter() - started
    return NgramsResult(folder=folder.path, rows=rows, seconds=seconds, tokens=ledger.facts["tokens"])


def _fill(run: _Counting) -> None:
    ledger, store, settings = run.ledger, run.reference.store, run.settings
    if ngram_table(1) not in ledger.parts:
        _write_ngrams(run)
    for n in settings.n:
        if n > 1 and (name := top_table(n)) not in ledger.parts:
            out = ledger.folder / f"{name}.parquet"
            prefixes = [path for path in ledger.files() if path.parent.name == prefix_table(n)]
            above = above_count(n, settings.min_prefix_count)
            vocabulary_size, spill = store.identity.vocabulary_size, ledger.work / f"{name}.sort"
            rows = write_top_table(
                prefixes, n, vocabulary_size, store.vocabulary, settings.min_share, above, run.memory, out, spill
            )
            ledger.finish_part(name, finished(ledger.folder, [out], Tabulated(rows={name: rows})))


def _write_ngrams(run: _Counting) -> None:
    """All tables but the top ones; unigrams are the last."""
    ledger = run.ledger
    runs, id_counts = _count(run, _ranges(run))
    longer = [n for n in run.settings.n if n > 1]
    jobs = table_jobs(id_counts, run.layout, longer, runs, ledger.folder, run.memory // 4 // run.workers)
    work = Work(description="tables", unit="tokens", total=int(id_counts.sum()))
    run_jobs(ledger, jobs, run.pool or Threads(run.workers), work)
    unigrams = ledger.folder / f"{ngram_table(1)}.parquet"
    rows = {ngram_table(1): write_unigrams(id_counts, unigrams)}
    ledger.finish_part(ngram_table(1), finished(ledger.folder, [unigrams], Tabulated(rows=rows)))


def _layout(store: Store, settings: NgramSettings) -> GramLayout:
    return GramLayout(max(2, *settings.n), store.identity.vocabulary_size)


def _ranges(run: _Counting) -> list[SequenceRange]:
    """The store in ranges that the memory holds, or in a stopped run's if those are shorter."""
    ledger = run.ledger
    at_once = tokens_that_fit(run.reference.store, run.layout, run.memory, run.workers)
    for name, planned in ledger.facts_of(_Planned).items():
        if planned.tokens_at_once <= at_once:
            at_once = planned.tokens_at_once
        else:
            ledger.forget([name, *ledger.facts_of(_Counted)])
    if not ledger.facts_of(_Planned):
        ledger.finish_part("plan", Part.of({}, _Planned(tokens_at_once=at_once)))
    return cut_store(run.reference.store, at_once, run.chosen)


def _count(run: _Counting, ranges: list[SequenceRange]) -> tuple[list[Run], NDArray[np.int64]]:
    """The run of each range, and how often each id occurs: in memory if there is one, which threads of this
    process then tabulate; else on disk."""
    store = run.reference.store
    n_chosen = (run.chosen.stop - run.chosen.start) * store.identity.sequence_length
    work = Work(description="count", unit="tokens", total=min(n_chosen, store.n_tokens))
    if len(ranges) == 1 and run.pool is None:
        with progress_bar(work.description, work.total, work.unit) as bar:
            counted, id_counts = count_range(store, ranges[0], run.layout, run.memory, run.workers)
            bar.update(int(id_counts.sum()))
        return [counted], id_counts
    jobs = [
        _CountJob(
            name=f"count-{range_}",
            reference=run.reference,
            range=range_,
            layout=run.layout,
            folder=run.ledger.folder,
            memory=run.memory,
            workers=run.workers,
        )
        for range_ in ranges
    ]
    run_jobs(run.ledger, jobs, run.pool or Inline(), work)
    id_counts = np.zeros(run.layout.vocabulary_size, np.int64)
    for job in jobs:
        id_counts += np.fromfile(job.id_counts_file, np.int64)
    return [StoredRun(run.layout, job.run_folder) for job in jobs], id_counts


def _facts(ledger: Ledger, settings: NgramSettings, store: Store, chosen: SequenceRange) -> dict[str, int]:
    """Rows of each table, and the tokens that were counted; those of the store, where that is more."""
    names = [table(n) for n in settings.n if n > 1 for table in (ngram_table, prefix_table, top_table)]
    tabulated = ledger.facts_of(Tabulated).values()
    facts = {name: sum(one.rows.get(name, 0) for one in tabulated) for name in [ngram_table(1), *names]}
    facts["tokens"] = sum(one.amount for one in tabulated)
    return facts if chosen == SequenceRange(0, store.n_sequences) else facts | {"store_tokens": store.n_tokens}
