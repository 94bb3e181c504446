"""What a run will take before it starts: time, memory and disk of each stage, from short measurements.

A sample from all over the store is counted here, in full and in halves: that gives the seconds and bytes of a token and
of a table's row, and how distinct n-grams grow with the corpus. Growth between sizes N and 2N is a power of N that
falls slowly; it is carried on from the last measured doublings. Tokenizing is measured on the sample's own text,
models on a few thousand of its tokens.
"""

import math
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow.parquet as pq

from taskcatalog.counting.count import count_range, least_memory, tokens_that_fit
from taskcatalog.counting.runs import Grams, MemoryRun, merge
from taskcatalog.counting.stage import NgramSettings
from taskcatalog.counting.tables import table_jobs
from taskcatalog.errors import SettingsError
from taskcatalog.ids import GramLayout
from taskcatalog.settings import POSITIVE, Between, Settings, checked, given_or_default
from taskcatalog.sizes import (
    MOST_WORKERS,
    Size,
    check_memory,
    memory_budget,
    peak_memory,
    sufficient_budget,
    worker_count,
)
from taskcatalog.storage import AnyPath
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.open_store import AnyStore, StoreOptions, open_store
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Sequences, Store
from taskcatalog.tables.names import above_count, ngram_table, prefix_table
from taskcatalog.tables.tabulated import Tabulated
from taskcatalog.tokenizing.encoders import choose_engine, make_encoder
from taskcatalog.vocabulary import Vocabulary

_SAMPLE_TOKENS = 1 << 23
_BLOCKS = 64
MOST_TIMES_SAMPLE = 100
"""Beyond, how tables grow is not known from the sample any more."""
_HALVINGS = 3
_PROCESS_BYTES = 400 << 20
"""Of memory that any run takes: interpreter, libraries, compiled code."""
_OVERHEAD_SECONDS = 1.5
_TEXT_BYTES = 4 << 20
_TOKENIZER_BYTES = 200 << 20
"""Of memory that a tokenizing worker takes."""
_SCANNED = (4_096, 16_384)
_PREDICTION_BYTES = 28
_PROMPT_BYTES = 20
"""Of disk for each token, while its prompts are collected."""
_SORTED_BYTES = 3
"""Of memory for each byte on disk of what DuckDB sorts."""
_DAMPING = 0.7


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What one stage will take."""

    stage: str
    seconds: float
    memory: int
    """Bytes, at most."""
    temporary: int
    """Bytes of disk while it runs."""
    final: int
    """Bytes of disk in the end."""
    tokens: int = 0
    """What it is planned for."""
    sample_tokens: int = 0
    """What was counted here to tell."""

    @property
    def is_uncertain(self) -> bool:
        """It is planned for so much more than the sample that growth is a guess."""
        return self.tokens > MOST_TIMES_SAMPLE * self.sample_tokens


@dataclass(frozen=True, kw_only=True)
class Machine(Settings):
    """Where the run is to be. What is None is as here."""

    cores: Annotated[int | None, Between(1, MOST_WORKERS)] = None
    memory: Size | None = None
    disk_rate: Annotated[int | None, POSITIVE] = None
    """Bytes a second, both ways; not a limit if None."""

    def __post_init__(self) -> None:
        super().__post_init__()
        memory_budget(self.memory)


def plan(
    store: AnyStore,
    settings: NgramSettings | None = None,
    *,
    options: StoreOptions | None = None,
    tokens: int | None = None,
    machine: Machine | None = None,
    model: str | None = None,
) -> list[StagePlan]:
    """Plans counting and, with a tokenizer, tokenizing; with a ``model``, scanning; of ``tokens`` tokens like the
    store's, all of them if not given. Takes seconds to a minute, and leaves nothing behind.

    Raises InputError for a store that cannot be read, SettingsError for an empty one.
    """
    settings, machine = given_or_default(settings, NgramSettings), given_or_default(machine, Machine)
    tokens = checked("tokens", tokens, Annotated[int | None, POSITIVE])
    memory_budget(machine.memory)
    opened = open_store(store, options)
    if not opened.n_tokens:
        raise SettingsError(f"{opened.path}: has no tokens to measure on")
    sample = _Sample.of(opened)
    n_tokens = tokens or opened.n_tokens
    plans = []
    if opened.vocabulary is not None:
        plans.append(_plan_tokenizing(sample, opened.vocabulary, n_tokens, machine))
    with tempfile.TemporaryDirectory() as name:
        plans.append(_plan_counting(sample, settings, n_tokens, machine, Path(name)))
        n_top = sum(_top_rows(sample, n, settings, n_tokens, Path(name)) for n in settings.n if n > 1)
    if model is not None:
        plans += _plan_model(store, options, model, n_tokens, n_top, settings, machine)
    return [replace(one, tokens=n_tokens, sample_tokens=sample.n_tokens) for one in plans]


@dataclass
class _Sample:
    """Sequences from all over a store, in memory, themselves a store."""

    path: AnyPath
    vocabulary: Vocabulary | None
    identity: StoreIdentity
    sequences: Sequences
    stamp: str = ""

    def stamp_now(self) -> str:
        return self.stamp

    @classmethod
    def of(cls, store: Store) -> "_Sample":
        mean = max(1, store.n_tokens // store.n_sequences)
        wanted = max(1, min(store.n_sequences, _SAMPLE_TOKENS // mean))
        n_blocks = min(_BLOCKS, wanted)
        size = wanted // n_blocks
        starts = np.linspace(0, store.n_sequences - size, n_blocks).astype(np.int64).tolist()
        # In another order, so that half of the sample is as spread as the whole.
        starts = np.random.default_rng(0).permutation(starts).tolist()
        blocks = [store.read(start, start + size) for start in starts]
        tokens = np.concatenate([block.tokens for block in blocks])
        shifts = np.cumsum([0, *(len(block.tokens) for block in blocks)])
        ends = np.concatenate([block.ends + shift for block, shift in zip(blocks, shifts, strict=False)])
        return cls(store.path, store.vocabulary, store.identity, Sequences(tokens, ends, None))

    @property
    def n_sequences(self) -> int:
        return len(self.sequences.ends)

    @property
    def n_tokens(self) -> int:
        return len(self.sequences.tokens)

    def read(self, start: int, stop: int) -> Sequences:
        ends = self.sequences.ends
        begin = int(ends[start - 1]) if start else 0
        end = int(ends[stop - 1]) if stop else 0
        return Sequences(self.sequences.tokens[begin:end], ends[start:stop] - begin, None)


def _plan_tokenizing(sample: _Sample, vocabulary: Vocabulary, n_tokens: int, machine: Machine) -> StagePlan:
    ids = sample.sequences.tokens[: _TEXT_BYTES // 2]
    texts = [vocabulary.text(ids[i : i + 2_048].tolist()) for i in range(0, len(ids), 2_048)]
    n_bytes = sum(len(text.encode()) for text in texts)
    engine, _ = choose_engine(vocabulary, "auto", texts[:16])
    encoder = make_encoder(vocabulary, engine, 1)
    encoder.encode(texts[: len(texts) // 4])
    started = time.perf_counter()
    encoder.encode(texts)
    seconds_per_token = (time.perf_counter() - started) / len(ids)
    cores = machine.cores or worker_count(None)
    written = n_tokens * sample.identity.id_dtype.itemsize
    read = n_tokens * n_bytes // len(ids)
    return StagePlan(
        stage="tokenize",
        seconds=_OVERHEAD_SECONDS + max(n_tokens * seconds_per_token / cores, _disk_seconds(read + written, machine)),
        memory=_PROCESS_BYTES + cores * _TOKENIZER_BYTES,
        temporary=0,
        final=written,
    )


def _disk_seconds(n_bytes: float, machine: Machine) -> float:
    return n_bytes / machine.disk_rate if machine.disk_rate else 0.0


@dataclass(frozen=True)
class _Counted:
    """What counting some of the sample gave."""

    run: MemoryRun
    seconds: float
    """Of sorting."""
    table_seconds: float
    rows: dict[str, int]
    bytes: dict[str, int]


def _count(sample: _Sample, n_sequences: int, settings: NgramSettings, layout: GramLayout, folder: Path) -> _Counted:
    workers = worker_count(None)
    started = time.perf_counter()
    run, id_counts = count_range(sample, SequenceRange(0, n_sequences), layout, memory_budget(None), workers)
    counted = time.perf_counter()
    ns = [n for n in settings.n if n > 1]
    rows: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for job in table_jobs(id_counts, layout, ns, [run], folder, 1 << 30):
        part = job.make()
        rows.update(part.facts_as(Tabulated).rows)
        for name, described in part.files.items():
            sizes[name.partition("/")[0]] += described["bytes"]
    return _Counted(run, counted - started, time.perf_counter() - counted, dict(rows), dict(sizes))


def _plan_counting(
    sample: _Sample, settings: NgramSettings, n_tokens: int, machine: Machine, folder: Path
) -> StagePlan:
    """Leaves the sample's tables in ``folder``."""
    layout = GramLayout(max(2, *settings.n), sample.identity.vocabulary_size)
    counting = f"counting {layout.n}-grams of a vocabulary of {layout.vocabulary_size:,} ids"
    check_memory(memory_budget(machine.memory), least_memory(sample, layout), counting)
    _count(sample, min(sample.n_sequences, 2), settings, layout, folder)  # compiles
    sizes = sorted({max(1, sample.n_sequences >> halving) for halving in range(_HALVINGS + 1)})
    counted = [_count(sample, size, settings, layout, folder) for size in sizes]
    whole = counted[-1]
    write_seconds, merge_seconds = _run_seconds(whole.run, folder)

    def rows_of(table: str, tokens: float) -> float:
        measured = [(sample.n_tokens * size / sizes[-1], c.rows[table]) for size, c in zip(sizes, counted, strict=True)]
        return grown(measured, tokens)

    cores, here = machine.cores or worker_count(None), worker_count(None)
    memory = memory_budget(machine.memory)
    n_runs = max(1, math.ceil(n_tokens / tokens_that_fit(sample, layout, memory, cores)))
    rows = {table: rows_of(table, n_tokens) for table in whole.rows}
    final = sum(whole.bytes[table] / max(1, whole.rows[table]) * number for table, number in rows.items())
    # Tables are written by one worker here, and by all of them in a run.
    table_seconds = whole.table_seconds / max(1, sum(whole.rows.values())) * sum(rows.values()) / cores
    seconds = _OVERHEAD_SECONDS + n_tokens * whole.seconds / sample.n_tokens * here / cores
    longest = ngram_table(layout.n) if layout.n in settings.n else max(rows, key=lambda table: rows[table], default="")
    run_rows = n_runs * rows_of(longest, n_tokens / n_runs) if n_runs > 1 and longest else 0.0
    row_bytes = layout.payload_dtype.itemsize + 4
    temporary = run_rows * row_bytes + (n_runs * layout.vocabulary_size * 8 if n_runs > 1 else 0)
    read = n_tokens * sample.identity.id_dtype.itemsize + temporary
    seconds += max(table_seconds, _disk_seconds(final, machine)) + _disk_seconds(read + temporary, machine)
    seconds += 0.0 if machine.disk_rate else run_rows * write_seconds  # at the rate of this machine's disk
    seconds += run_rows * merge_seconds * math.log2(max(n_runs, 2)) / cores
    used = n_tokens * (sample.identity.id_dtype.itemsize + row_bytes) if n_runs == 1 else memory
    return StagePlan(
        stage="ngrams",
        seconds=seconds,
        memory=_PROCESS_BYTES + min(int(used), memory),
        temporary=int(temporary),
        final=int(final),
    )


def _run_seconds(run: MemoryRun, folder: Path) -> tuple[float, float]:
    """Seconds a row that writing a run, and merging two, takes one worker."""
    rows = max(1, len(run))
    started = time.perf_counter()
    run.write(folder / "run")
    written = time.perf_counter()
    grams = Grams(run.layout, 0, run.all_starts, *run.rows(0, len(run)))
    merge([grams, grams])
    return (written - started) / rows, (time.perf_counter() - written) / (2 * rows)


def grown(measured: Sequence[tuple[float, int]], size: float) -> float:
    """How many rows there are at ``size``, from (size, rows) at ascending sizes.

    Rows grow as a power of the size, whose exponent between the last sizes goes on to change as it did, ever less.
    """
    (last_size, last_rows) = measured[-1]
    exponents = [
        math.log(b_rows / a_rows) / math.log(b_size / a_size)
        for (a_size, a_rows), (b_size, b_rows) in pairwise(measured)
        if a_rows and a_size < b_size
    ]
    if not exponents or size <= last_size:
        return float(last_rows * min(1.0, size / last_size) ** (exponents[-1] if exponents else 1.0))
    change = (exponents[-1] - exponents[0]) / max(1, len(exponents) - 1)
    doublings = math.log2(size / last_size)
    exponent, rows = exponents[-1], float(last_rows)
    while doublings > 0:
        change *= _DAMPING
        exponent = min(1.0, max(0.0, exponent + change))
        rows *= 2 ** (exponent * min(1.0, doublings))
        doublings -= 1
    return rows


def _top_rows(sample: _Sample, n: int, settings: NgramSettings, n_tokens: int, folder: Path) -> int:
    """About how many rows the top table will have: those of the sample above a threshold lower in proportion."""
    above = above_count(n, settings.min_prefix_count) * min(1.0, sample.n_tokens / n_tokens)
    numbers = pq.read_table(folder / prefix_table(n), columns=["sum_count", "frac_max"])
    chosen = (numbers["sum_count"].to_numpy() > above) & (numbers["frac_max"].to_numpy() > settings.min_share)
    return int(np.count_nonzero(chosen))


def _plan_model(
    store: AnyStore,
    options: StoreOptions | None,
    model: str,
    n_tokens: int,
    n_top: int,
    settings: NgramSettings,
    machine: Machine,
) -> list[StagePlan]:
    """Scanning at the rate between two short scans: a longer one is no slower, for more of its prompts repeat.
    Predicting at the same rate for each completion: its prompts are shorter, and it does not compare. Memory is what
    both say that they need, and more where DuckDB sorts much."""
    from taskcatalog.lm.load import find_model
    from taskcatalog.tasks.predict import predict_needs
    from taskcatalog.tasks.scan import ScanSettings, scan, scan_needs

    found = find_model(model)
    needed = {
        "predict": predict_needs(found, [n for n in settings.n if n > 1]),
        "scan": scan_needs(found, ScanSettings()),
    }
    budget = 0
    for doing, stage in (("predicting", "predict"), ("scanning", "scan")):
        budget = sufficient_budget(machine.memory, needed[stage].least, f"{doing} with model {found.name.label}")
    seconds: list[float] = []
    sizes: list[int] = []
    with tempfile.TemporaryDirectory() as name:
        for tokens in (_SCANNED[0], *_SCANNED):  # the first loads what is loaded once
            out = Path(name) / f"{len(seconds)}"
            started = time.perf_counter()
            scan(store, model, out, ScanSettings(max_tokens=tokens), options=options, memory=machine.memory)
            seconds.append(time.perf_counter() - started)
            sizes.append(sum(path.stat().st_size for path in out.glob("scan_*/*/*.parquet")))
    # Of what lies on a GPU nothing is known beforehand: the short scans show what is not there.
    least = {stage: its.least or peak_memory() for stage, its in needed.items()}
    rate = max(0.0, seconds[2] - seconds[1]) / (_SCANNED[1] - _SCANNED[0])
    scan_size = int(sizes[2] / _SCANNED[1] * n_tokens)
    plans = (("predict", n_top, 0, n_top * _PREDICTION_BYTES), ("scan", n_tokens, _PROMPT_BYTES * n_tokens, scan_size))
    return [
        StagePlan(
            stage=stage,
            seconds=seconds[0] + n * rate,
            memory=max(least[stage], min(budget, needed[stage].held + temporary * _SORTED_BYTES)),
            temporary=temporary,
            final=final,
        )
        for stage, n, temporary, final in plans
    ]
