"""First-token deletion: the short prompts of a corpus whose meaning changes with one more token in front."""

import time
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Annotated

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.catalog.made import Made
from taskcatalog.errors import InputError
from taskcatalog.ids import bits_of
from taskcatalog.lm.bos import Bos, bos_id_of
from taskcatalog.lm.load import Dtype, FoundModel, find_model
from taskcatalog.lm.model import LanguageModel, ModelName
from taskcatalog.lm.needs import Needs, needs
from taskcatalog.runs.destination import check_apart
from taskcatalog.runs.driver import Work, part_name, run_jobs
from taskcatalog.runs.jobs import Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, finished
from taskcatalog.runs.pools import Inline
from taskcatalog.runs.progress import note
from taskcatalog.runs.stage import Stage, defaults_of
from taskcatalog.settings import COUNT, POSITIVE, SHARE, Between, Settings, given_or_default
from taskcatalog.sizes import Size, memory_budget, sufficient_budget
from taskcatalog.storage import locate_here
from taskcatalog.stores.chosen import advise_on_tokens, chosen_sequences
from taskcatalog.stores.open_store import AnyStore, StoreOptions, open_store
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Store, ranges, unchanged
from taskcatalog.tables import registry
from taskcatalog.tables.measures import Divergence
from taskcatalog.tables.names import MAX_PROMPT_LENGTH, MEASURES
from taskcatalog.tasks.checks import check_ids_known, check_label, check_length, check_tokenizer
from taskcatalog.tasks.collect import Collected, collect_jobs, merge_collected, prompts_schema
from taskcatalog.tasks.describe import write_tasks
from taskcatalog.tasks.on_devices import run_on_devices
from taskcatalog.tasks.prompts import PROMPTS_PER_PART, n_parts
from taskcatalog.tasks.score import Scored, ScoreJob, Scorer, Thresholds

_TOKENS_CHECKED_AT_ONCE = 1 << 21


@dataclass(frozen=True, kw_only=True)
class ScanSettings(Settings):
    """What decides the rows of the table, besides the store and the model."""

    prompt_length: Annotated[int, Between(1, MAX_PROMPT_LENGTH)] = 4
    """Tokens of a short prompt; the long one has one more in front."""
    min_probability: Annotated[float, SHARE] = 0.5
    """A task's ``p_long`` is above this."""
    min_divergence: float = 0.5
    """A task's divergence between the two distributions is above this, in nats."""
    divergence: Divergence = "jeffreys"
    """Which one: half the Jeffreys divergence, the column ``JS``, or the Jensen-Shannon divergence, ``jsd``."""
    start: Annotated[int, COUNT] = 0
    """Scan from the sequence on that this token of the store is in."""
    max_tokens: Annotated[int | None, POSITIVE] = None
    """Scan so many sequences as fit in this number of tokens; all by default."""
    all_measures: bool = False
    """Keep the measures of every distinct prompt, accepted or not, in the table ``measures_<prompt length>``."""
    bos: Bos = False
    """Put the model's beginning-of-sequence token in front of every prompt; ``auto`` where ``lm.bos`` finds that it was
    trained so. A scan's ledger says what came of it."""


@dataclass(frozen=True, kw_only=True)
class ScanResult(Made):
    """What was found."""

    tokens: int
    """That were scanned."""
    windows: int
    """Occurrences of long prompts in these."""
    prompts: int
    """Distinct ones."""
    tasks: int
    """Those that were accepted."""
    not_finite: int
    """Prompts that were left out, as a measure was not a finite number."""
    positions: int
    """Tokens that the model was run on."""


STAGE = Stage("scan", registry.files_of("scan"), defaults_of(ScanSettings))


@dataclass(frozen=True, kw_only=True)
class _Merged(Facts):
    """Of all distinct prompts."""

    prompts: int


@dataclass(frozen=True, kw_only=True)
class _Described(Facts):
    """Of the finished table."""

    tasks: int


def scan(
    store: AnyStore,
    model: str,
    out: str | PathLike[str],
    settings: ScanSettings | None = None,
    *,
    options: StoreOptions | None = None,
    revision: str | None = None,
    label: str | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    memory: Size | None = None,
    pool: Pool | None = None,
    force: bool = False,
) -> ScanResult:
    """Scans a store with a model into the table ``scan_<prompt length>`` of the catalog at ``out``.

    The same call again goes on where it was stopped, or does nothing. ``pool``
    does the work in place of a process for each device.

    Raises InputError for a store or model that cannot be used, ConflictError where ``out`` holds a scan of
    the same model and prompt length made differently (``force`` replaces it).
    """
    started = time.perf_counter()
    settings = given_or_default(settings, ScanSettings)
    memory_budget(memory)  # whatever else is wrong, its form is said first
    source = open_store(store, options)
    found = find_model(model, revision=revision, device=device, dtype=dtype, label=label)
    bos_id = bos_id_of(found, settings.bos, source.vocabulary)
    if settings.bos is False:
        _advise_on_bos(source, found)
    if not source.n_sequences:
        raise InputError(f"{source.path}: holds no tokens")
    sequences = chosen_sequences(source, settings.start, settings.max_tokens)
    check_tokenizer(source.vocabulary, found, source.path)
    folder = CatalogFolder(locate_here(out))
    check_apart(folder.path, [source.path])
    folder.check_identity(source.identity)
    check_label(found.name.label, folder)
    inputs = {"store": source.identity.fingerprint}
    name = found.name
    decided = asdict(settings) | {"label": name.label, "revision": name.revision, "dtype": name.dtype}
    decided["bos"] = bos_id is not None
    scan_folder = folder.scan(settings.prompt_length, found.name.label)
    needed = scan_needs(found, settings)
    least = 0 if Ledger.is_done(scan_folder, STAGE, inputs, decided) else needed.least
    budget = sufficient_budget(memory, least, f"scanning with model {found.name.label}")
    with Ledger.begin(scan_folder, STAGE, inputs, decided, stamp=source.stamp, force=force) as ledger:
        if not ledger.complete:
            scorer = _scorer(source, settings, found, bos_id)
            reference = StoreReference.of(source, store, options)
            _fill(ledger, reference, sequences, scorer, settings, budget - needed.held, pool)
            folder.prepare(source.identity, source.vocabulary)
            ledger.finish(_facts(ledger))
        folder.remember_store(source.path, source.options)
    facts, seconds = ledger.facts, time.perf_counter() - started
    return ScanResult(folder=folder.path, rows={ledger.folder.parent.name: facts["tasks"]}, seconds=seconds, **facts)


def _fill(
    ledger: Ledger,
    reference: StoreReference,
    sequences: SequenceRange,
    scorer: Scorer,
    settings: ScanSettings,
    memory: int,
    pool: Pool | None,
) -> None:
    store, model = reference.store, scorer.prompt_model.model
    advise_on_tokens(store, settings.max_tokens)
    check_length(settings.prompt_length + 1 + (scorer.bos_id is not None), model)
    with unchanged(store):
        _check_store(store, sequences, model)
        _collect(ledger, reference, sequences, settings, memory, pool or Inline())
        _score(ledger, scorer, settings, pool)
        _describe(ledger, store, scorer.found.name, memory)


def scan_needs(found: FoundModel, settings: ScanSettings) -> Needs:
    """The system's memory that a scan takes, besides what DuckDB may use of more."""
    dtypes, lengths = {found.name.dtype, "float32"}, (settings.prompt_length, settings.prompt_length + 1)
    return needs(found.config, found.devices, dtypes, lengths, n_states=2 * PROMPTS_PER_PART)


def _scorer(store: Store, settings: ScanSettings, found: FoundModel, bos_id: int | None) -> Scorer:
    thresholds = Thresholds(
        min_probability=settings.min_probability,
        min_divergence=settings.min_divergence,
        divergence=settings.divergence,
    )
    return Scorer(found, settings.prompt_length, bos_id, bits_of(store.identity.vocabulary_size), thresholds)


def _check_store(store: Store, sequences: SequenceRange, model: LanguageModel) -> None:
    """Looks at all tokens before the first is run: a wrong model must not be found out after hours."""
    at_once = max(1, _TOKENS_CHECKED_AT_ONCE // store.identity.sequence_length)
    for start, stop in ranges(sequences.stop - sequences.start, at_once):
        tokens = store.read(sequences.start + start, sequences.start + stop).tokens
        check_ids_known(int(tokens.max(initial=0)), model, store.path)


def _advise_on_bos(store: Store, found: FoundModel) -> None:
    bos_id = found.config.get_text_config().bos_token_id
    if store.vocabulary is not None and bos_id is not None and store.vocabulary.id_in_front == bos_id:
        note(f"the tokenizer puts id {bos_id} in front of every text: --bos yes asks the model as it was trained")


def _collect(
    ledger: Ledger,
    reference: StoreReference,
    sequences: SequenceRange,
    settings: ScanSettings,
    memory: int,
    pool: Pool,
) -> None:
    store, length = reference.store, settings.prompt_length + 1
    jobs = collect_jobs(reference, sequences, length, ledger.folder)
    # Of ranges of other sizes, as another version cut them.
    others = ledger.facts_of(Collected).keys() - {part_name(job.name, 0) for job in jobs}
    if others and "prompts" not in ledger.parts:
        ledger.forget(others)
    n_tokens = min((sequences.stop - sequences.start) * store.identity.sequence_length, store.n_tokens)
    run_jobs(ledger, jobs, pool, Work(description="collect", unit="tokens", total=n_tokens))
    if "prompts" not in ledger.parts:
        out, schema = _prompts_file(ledger), prompts_schema(length, store.identity.id_dtype)
        n_prompts = merge_collected([job.out for job in jobs], schema, out, memory)
        ledger.finish_part("prompts", finished(ledger.folder, [out], _Merged(prompts=n_prompts)))


def _score(ledger: Ledger, scorer: Scorer, settings: ScanSettings, pool: Pool | None) -> None:
    prompts = _prompts_file(ledger)
    jobs = [
        ScoreJob(
            name=f"score-{i:06d}",
            model=scorer,
            folder=ledger.folder,
            prompts=prompts,
            row_group=i,
            out=ledger.work / f"accepted-{i:06d}.parquet",
            measures=ledger.folder / MEASURES / f"{i:06d}.parquet" if settings.all_measures else None,
        )
        for i in range(n_parts(prompts))
    ]
    n_prompts = ledger.parts["prompts"].facts_as(_Merged).prompts
    n_windows = sum(part.windows for part in ledger.facts_of(Collected).values())
    work = Work(description="scan", unit="prompts", total=n_prompts, also=("windows", n_windows))
    run_on_devices(ledger, jobs, scorer, pool, work)


def _describe(ledger: Ledger, store: Store, model: ModelName, memory: int) -> None:
    if "tasks" not in ledger.parts:
        accepted = [path for path in ledger.files() if path.name.startswith("accepted-")]
        out = ledger.folder / "tasks.parquet"
        n_scanned = sum(part.amount for part in ledger.facts_of(Collected).values())
        length = ledger.settings["prompt_length"]
        n_tasks = write_tasks(accepted, store, model, length, n_scanned, memory, out, ledger.work)
        ledger.finish_part("tasks", finished(ledger.folder, [out], _Described(tasks=n_tasks)))


def _prompts_file(ledger: Ledger) -> Path:
    return ledger.work / "prompts.parquet"


def _facts(ledger: Ledger) -> dict[str, int]:
    collected, scored = ledger.facts_of(Collected).values(), ledger.facts_of(Scored).values()
    return {
        "tokens": sum(part.amount for part in collected),
        "windows": sum(part.windows for part in collected),
        "prompts": ledger.parts["prompts"].facts_as(_Merged).prompts,
        "tasks": ledger.parts["tasks"].facts_as(_Described).tasks,
        "not_finite": sum(part.not_finite for part in scored),
        "positions": sum(part.positions for part in scored),
    }
