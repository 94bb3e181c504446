"""The job of tokenizing: a stream of chunks of sources into parts of a token store."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from pathlib import Path
from queue import Full, Queue
from threading import Event, Thread
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskcatalog.documents.batch import BATCH_DOCUMENTS, Batch, Problems, Reading
from taskcatalog.documents.formats import format_of_file, read_chunk
from taskcatalog.documents.names import name_in_index
from taskcatalog.documents.source import Chunk
from taskcatalog.runs.destination import Destination
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.parts import Facts, Part
from taskcatalog.tables.corpus import documents
from taskcatalog.tables.names import id_dtype
from taskcatalog.tables.parquet import TableWriter, table_writer, text_array
from taskcatalog.tokenizing.encoders import Encoded, Encoder, Engine, cut_before, make_encoder
from taskcatalog.vocabulary import Vocabulary

GROUP_CHARACTERS = 4 << 20
"""About as much text is encoded at once."""
_PART_CHARACTERS = 256 << 20
"""A part that has more ends: a killed run does no more than that again in each stream."""
_COMPRESSION = 3
"""Characters to a byte of a compressed source, to say how far a part of it has come."""
_READ_AHEAD = 2
_SAMPLED_STREAMS = 4
_SAMPLED_DOCUMENTS = 16
_SAMPLED_CHARACTERS = 4_000


@dataclass(frozen=True, kw_only=True)
class Tokenized(Facts):
    """Of two files, ids and the index of their documents."""

    tokens: int
    documents: int
    skipped: int
    """Documents that could not be read and were left out."""
    problems: list[str]
    """What was wrong with the first of them."""
    without_meta: int
    """Documents that lack the field that ``--meta`` names."""
    json_texts: int
    """Documents that are whole files named ``.json``."""


@dataclass(frozen=True, kw_only=True)
class Stream:
    """Chunks of sources that are tokenized one after the other."""

    name: str
    chunks: list[Chunk]
    tokenizer: Path
    engine: Engine
    threads: int
    field: str
    meta: str | None
    on_error: Literal["stop", "skip"]
    max_document: int
    before: int | None
    """The id in front of each document, if any."""
    after: int | None
    """The id behind each document, if any."""
    to: Destination

    @property
    def n_bytes(self) -> int:
        return sum(chunk.n_bytes for chunk in self.chunks)

    def run(self, first: int) -> Iterator[Part]:
        """Raises InputError for a document that cannot be read, EngineDiffersError where the engine is no good."""
        encoder = _encoder(self.tokenizer, self.engine, self.threads)
        problems = Problems(self.on_error)
        batches = _batches(self, encoder, problems)
        groups = _groups(_read_ahead(batches) if self.threads > 1 else batches)
        number, left, reported, group = 0, self.n_bytes, 0, next(groups, [])
        while True:
            part = _PartWriter(self, encoder, number) if number >= first else None
            characters = 0
            with part or ExitStack():
                while group:
                    if part:
                        part.write(group)
                    characters += sum(map(len, chain.from_iterable(batch.texts for batch in group)))
                    unfinished = group[-1].unfinished
                    group = next(groups, [])  # known before the part ends: is it the last?
                    if characters >= _PART_CHARACTERS and not unfinished:
                        break
            amount = min(left, characters // _COMPRESSION) if group else left
            left -= amount
            if part:
                skipped = problems.skipped - reported
                yield part.finished(max(1, amount), skipped, problems.messages, is_last=not group)
            number, reported, problems.messages = number + 1, problems.skipped, []
            if not group:
                return


def sample_texts(streams: list[Stream]) -> list[str]:
    """Excerpts of documents here and there in a corpus."""
    step = -(-len(streams) // _SAMPLED_STREAMS)
    excerpts: list[str] = []
    for stream in streams[::step]:
        reading = Reading(stream.field, stream.meta, _cut_anywhere, Problems("skip"), stream.max_document)
        batch = next(read_chunk(stream.chunks[0], reading), None)
        texts = batch.texts if batch else []
        excerpts += [text[:_SAMPLED_CHARACTERS] for text in texts[:: len(texts) // _SAMPLED_DOCUMENTS + 1]]
    return excerpts


@dataclass
class _PartWriter:
    """The two files of a part while they are written: ids, and the index of documents."""

    stream: Stream
    encoder: Encoder
    number: int
    n_tokens: int = 0
    n_documents: int = 0
    without_meta: int = 0
    json_texts: int = 0
    _open_start: int | None = None
    """Where the document began of which only pieces have been seen."""
    _stack: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> "_PartWriter":
        name = f"{self.stream.name}-{self.number:05d}"
        folder = self.stream.to.folder
        self.files = [folder / f"tokens/{name}.bin", folder / f"documents/{name}.parquet"]
        self._dtype = id_dtype(len(_vocabulary(self.stream.tokenizer))).newbyteorder("<")
        with ExitStack() as stack:
            path = stack.enter_context(written_atomically(self.files[0]))
            self._tokens: IO[bytes] = stack.enter_context(path.open("wb"))
            self._index: TableWriter = stack.enter_context(table_writer(self.files[1], documents().schema()))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *error: Any) -> bool | None:
        return self._stack.__exit__(*error)

    def write(self, group: list[Batch]) -> None:
        """Encodes and appends the texts of some batches."""
        encoded = self.encoder.encode(list(chain.from_iterable(batch.texts for batch in group)))
        ends_document = np.ones(len(encoded.ends), bool)
        ends_document[-1:] = not group[-1].unfinished
        starts_document = np.concatenate(([self._open_start is None], ends_document[:-1]))[: len(ends_document)]
        ids, starts, ends = _separated(encoded, starts_document, ends_document, self.stream)
        self._tokens.write(np.ascontiguousarray(ids, self._dtype).data)
        starts, ends = starts[starts_document] + self.n_tokens, ends[ends_document] + self.n_tokens
        self._write_index(group, starts, ends)
        self.n_tokens += len(ids)

    def _write_index(self, group: list[Batch], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> None:
        if self._open_start is not None:
            starts = np.concatenate(([self._open_start], starts))
        n = len(ends)
        self._open_start = int(starts[n]) if len(starts) > n else None
        sources = ([name_in_index(batch.source)] * len(batch.texts) for batch in group)
        metas = list(chain.from_iterable(batch.metas for batch in group))[:n]
        self._index.write(
            {
                "start": starts[:n],
                "n_tokens": ends - starts[:n],
                "source": text_array(list(chain.from_iterable(sources))[:n]),
                "place": np.fromiter(chain.from_iterable(batch.places for batch in group), np.uint64)[:n],
                "meta": text_array(metas),
            }
        )
        self.n_documents += n
        self.without_meta += metas.count(None) if self.stream.meta is not None else 0
        self.json_texts += sum(_is_json_text(batch) for batch in group)

    def finished(self, amount: int, skipped: int, problems: list[str], is_last: bool) -> Part:
        facts = Tokenized(
            amount=amount,
            is_last=is_last,
            tokens=self.n_tokens,
            documents=self.n_documents,
            skipped=skipped,
            problems=problems,
            without_meta=self.without_meta,
            json_texts=self.json_texts,
        )
        return self.stream.to.finished(self.files, facts)


def _separated(
    encoded: Encoded, starts_document: NDArray[np.bool_], ends_document: NDArray[np.bool_], stream: Stream
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """The ids with separators between documents, and where each text with its separators starts and ends."""
    lengths = np.diff(encoded.ends, prepend=0)
    lengths += starts_document if stream.before is not None else 0
    lengths += ends_document if stream.after is not None else 0
    ends = np.cumsum(lengths)
    starts = ends - lengths
    ids = np.empty(int(lengths.sum()), np.uint32)
    is_text = np.ones(len(ids), bool)
    for id_, where in ((stream.before, starts[starts_document]), (stream.after, ends[ends_document] - 1)):
        if id_ is not None:
            ids[where] = id_
            is_text[where] = False
    ids[is_text] = encoded.ids
    return ids, starts, ends


def _batches(stream: Stream, encoder: Encoder, problems: Problems) -> Iterator[Batch]:
    def cut(text: str) -> int | None:
        return cut_before(text, encoder.encode)

    reading = Reading(stream.field, stream.meta, cut, problems, stream.max_document)
    for chunk in stream.chunks:
        yield from read_chunk(chunk, reading)


def _is_json_text(batch: Batch) -> bool:
    return not batch.unfinished and batch.places[:1] == [0] and format_of_file(batch.source).name == "json"


def _cut_anywhere(text: str) -> int:
    """For a sample, which wants no long text whole."""
    return len(text) // 2


def _groups(batches: Iterator[Batch]) -> Iterator[list[Batch]]:
    """Batches together of about as much text as is encoded at once; a piece of a long document ends its group."""
    group: list[Batch] = []
    characters = documents = 0
    for batch in batches:
        if not batch.texts:
            continue
        group.append(batch)
        characters += sum(map(len, batch.texts))
        documents += len(batch.texts)
        if characters >= GROUP_CHARACTERS or documents >= BATCH_DOCUMENTS or batch.unfinished:
            yield group
            group, characters, documents = [], 0, 0
    if group:
        yield group


def _read_ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """The batches, read in a thread while what came before is encoded."""
    queue: Queue[Batch | Exception | None] = Queue(_READ_AHEAD)
    stopped = Event()

    def put(item: Batch | Exception | None) -> None:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=1)
                return
            except Full:
                continue

    def read() -> None:
        try:
            for batch in batches:
                put(batch)
                if stopped.is_set():
                    return
            put(None)
        except Exception as error:
            put(error)

    thread = Thread(target=read, daemon=True)
    thread.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, Exception):
                raise item
            yield item
    finally:
        stopped.set()
        thread.join()


@lru_cache(maxsize=1)
def _vocabulary(path: Path) -> Vocabulary:
    """The tokenizer of this process, read once."""
    return Vocabulary.read(path)


@lru_cache(maxsize=1)
def _encoder(tokenizer: Path, engine: Engine, threads: int) -> Encoder:
    """The encoder of this process: it grows faster with what it has seen."""
    return make_encoder(_vocabulary(tokenizer), engine, threads)
