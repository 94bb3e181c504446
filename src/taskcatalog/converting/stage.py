"""One kind of store to another: to MDS, or to a flat file of ids.

Sequences are converted in ranges whose bounds follow from the store alone, so the bytes are the same for any
number of workers. MDS takes whole sequences only: the last one of a store that is a stream of ids is left out
where it is shorter, and the facts say how many tokens that were. A flat file takes every token.

Left out: making sequences of another length from an MDS set, whose samples are its sequences.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from taskcatalog.converting.flat_writer import write_flat
from taskcatalog.converting.mds_writer import (
    DEFAULT_SIZE_LIMIT,
    INDEX,
    LARGEST_SIZE_LIMIT,
    MdsLayout,
    check_compression,
    moved_up,
    read_index,
    shard_file,
    write_index,
    write_shards,
)
from taskcatalog.converting.ranges import named_ranges, tokens_left_over
from taskcatalog.errors import SettingsError
from taskcatalog.runs.destination import Destination, check_apart, destination
from taskcatalog.runs.driver import Work, run_jobs
from taskcatalog.runs.jobs import OnePart, Pool
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.runs.pools import Threads
from taskcatalog.runs.stage import NUMBER, Stage
from taskcatalog.settings import Between, Settings
from taskcatalog.sizes import worker_count
from taskcatalog.storage import AnyPath, locate
from taskcatalog.stores.format import IdType
from taskcatalog.stores.open_store import AnyStore, StoreOptions, open_store
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange, typical_length
from taskcatalog.stores.store import OpenedStore, Sequences, Store, unchanged

_SHARD = f"{NUMBER}/shard.{NUMBER}.mds"
STAGE = Stage("convert", (INDEX, f"{NUMBER}/{INDEX}", _SHARD, f"{_SHARD}.*"))
_FOLDERS = 64
_SHARDS_IN_FOLDER = 16
"""At most; small sets have fewer, so that there is work for many workers."""


@dataclass(frozen=True, kw_only=True)
class ConvertSettings(Settings):
    """What decides the bytes of the output, besides the store. All but ``format`` are for MDS only."""

    format: Literal["mds", "flat"]
    """A folder of MDS shards, or one file of ids."""
    compression: str | None = None
    """zstd, gz, br, bz2 or snappy, with a level if wanted (zstd:16), or none. zstd (that is zstd:3) if not given."""
    hashes: Literal["xxh64", "sha1", "none"] | None = None
    """Which digest of each shard the index holds; xxh64 if not given."""
    size_limit: Annotated[int | None, Between(1, LARGEST_SIZE_LIMIT)] = None
    """Bytes that a shard may have before it is compressed; 64 MiB if not given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.format != "mds":
            for name in ("compression", "hashes", "size_limit"):
                if getattr(self, name) is not None:
                    raise SettingsError(f"--{name.replace('_', '-')} is for --format mds: leave it out")
        if self.compression not in (None, "none"):
            check_compression(str(self.compression))


@dataclass(frozen=True, kw_only=True)
class ConvertResult:
    """What was written."""

    path: AnyPath
    options: StoreOptions
    """With which the written store is opened. It does not know its tokenizer."""
    tokens: int
    sequences: int
    dropped_tokens: int
    """Of a last, partial sequence, which MDS does not take."""
    seconds: float = field(compare=False)
    """That the call took."""

    @cached_property
    def store(self) -> OpenedStore:
        """The written store, opened when it is first asked for."""
        return open_store(self.path, self.options)


_ID_TYPES: dict[str, IdType] = {"uint16": "uint16", "uint32": "uint32"}


@dataclass(frozen=True, kw_only=True)
class _Sharded(Facts):
    """Of a sub-directory of shards."""

    sequences: int


@dataclass(frozen=True, kw_only=True)
class _Folder(OnePart):
    """A job: one sub-directory of shards."""

    name: str
    reference: StoreReference
    range: SequenceRange
    layout: MdsLayout
    to: Destination

    @property
    def folder(self) -> Path:
        return self.to.folder / self.name

    @property
    def waiting_index(self) -> Path:
        """Its index, until all is done: sub-directories with one would be taken for a whole set."""
        return self.to.folder / f"work/{self.name}.json"

    def make(self) -> Part:
        n_tokens = n_sequences = 0

        def counted() -> Iterator[Sequences]:
            nonlocal n_tokens, n_sequences
            for sequences in self.range.read_in_turn(self.reference.store):
                n_tokens += len(sequences.tokens)
                n_sequences += len(sequences.ends)
                yield sequences

        entries = write_shards(self.folder, counted(), self.layout)
        write_index(self.waiting_index, entries)
        shards = [self.folder / shard_file(entry) for entry in entries]
        return self.to.finished(shards, _Sharded(amount=n_tokens, sequences=n_sequences), keep=[self.waiting_index])


def convert(
    store: AnyStore,
    out: str | AnyPath,
    settings: ConvertSettings,
    *,
    options: StoreOptions | None = None,
    staging: str | Path | None = None,
    workers: int | None = None,
    pool: Pool | None = None,
    force: bool = False,
) -> ConvertResult:
    """Writes a store to ``out`` in another format.

    >>> convert("store", "ids.bin", ConvertSettings(format="flat")).tokens == open_store("store").n_tokens
    True

    ``out`` may be a URL for
    ``mds``; then ``staging`` is a folder for what is not uploaded yet, by default in the user's
    cache. The same call again goes on where it was stopped, or does nothing. ``pool`` does the work in place of
    ``workers`` threads.

    Raises InputError for a store that cannot be read, or whose sequences have unequal lengths where the format
    cannot say so; ConflictError where ``out`` holds something else (``force`` replaces another run's output).
    """
    started = time.perf_counter()
    if not isinstance(settings, ConvertSettings):
        raise SettingsError("settings are not ConvertSettings: give ConvertSettings(format=…)")
    pool = pool or Threads(worker_count(workers))
    source = open_store(store, options)
    reference = StoreReference.of(source, store, options)
    check_apart(out, [source.path])
    if settings.format == "flat":
        facts = write_flat(reference, out, _inputs(source), pool, force)
    else:
        facts = _write_mds(reference, destination(out, staging), _layout(source, settings), pool, force)
    opening = StoreOptions(
        id_dtype=_ID_TYPES[source.identity.id_dtype.name],
        sequence_length=source.identity.sequence_length if settings.format == "flat" else None,
    )
    return ConvertResult(path=locate(out), options=opening, seconds=time.perf_counter() - started, **facts)


def _inputs(store: Store) -> dict[str, Any]:
    """What decides the ids of the output; a store's fingerprint does not say how it is opened."""
    identity = store.identity
    return {"store": identity.fingerprint, "sequence_length": identity.sequence_length, "ids": identity.id_dtype.name}


def _layout(store: Store, settings: ConvertSettings) -> MdsLayout:
    compression, hash_ = settings.compression or "zstd", settings.hashes or "xxh64"
    return MdsLayout(
        ids=store.identity.id_dtype,
        compression=None if compression == "none" else compression,
        hashes=() if hash_ == "none" else (hash_,),
        size_limit=settings.size_limit or DEFAULT_SIZE_LIMIT,
    )


def _write_mds(
    reference: StoreReference, to: Destination, layout: MdsLayout, pool: Pool, force: bool
) -> dict[str, int]:
    store = reference.store
    settings = {"compression": layout.compression, "hashes": layout.hashes, "size_limit": layout.size_limit}
    settings = {"format": "mds", **settings}
    with to.begin(STAGE, _inputs(store), settings, stamp=store.stamp, force=force) as ledger:
        if not ledger.complete:
            dropped = tokens_left_over(store)
            folders = _folders(reference, store.n_sequences - (dropped > 0), to, layout)
            work = Work(description="convert", unit="tokens", total=store.n_tokens - dropped)
            with unchanged(store):
                run_jobs(ledger, folders, pool, work)
            written = ledger.facts_of(_Sharded).values()
            facts = {
                "tokens": sum(one.amount for one in written),
                "sequences": sum(one.sequences for one in written),
                "dropped_tokens": dropped,
            }
            ledger.finish_part("index", finished(to.folder, _write_indexes(folders, to.folder), Facts()))
            ledger.finish(facts)
        to.publish(ledger)
    return dict(ledger.facts)


def _folders(reference: StoreReference, n_sequences: int, to: Destination, layout: MdsLayout) -> list[_Folder]:
    """The sequences in groups that fill whole shards, where they have one length."""
    in_shard = layout.samples_in_shard(typical_length(reference.store))
    n_shards = min(max(1, n_sequences // (in_shard * _FOLDERS)), _SHARDS_IN_FOLDER)
    ranges = named_ranges(n_sequences, n_shards * in_shard)
    return [
        _Folder(name=name, reference=reference, range=range_, layout=layout, to=to) for name, range_ in ranges.items()
    ]


def _write_indexes(folders: Sequence[_Folder], out: Path) -> list[Path]:
    """The index of all shards first: whoever finds one of a sub-directory finds that one too."""
    indexes = [(folder, read_index(folder.waiting_index)) for folder in folders]
    write_index(out / INDEX, [entry for folder, entries in indexes for entry in moved_up(entries, folder.name)])
    for folder, entries in indexes:
        write_index(folder.folder / INDEX, entries)
    return [out / INDEX, *(folder.folder / INDEX for folder in folders)]
