"""Documents to tokens: makes a token store (see ``token_store``) from sources of documents (see ``documents``).

Sources are cut into chunks, and these grouped into streams of about equal size; how depends on the sources
alone. A stream is tokenized by one worker, into one part or, where it is long, into several: each a file of
ids and a file of documents.
"""

import hashlib
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from taskcatalog.converting.stage import ConvertSettings, convert
from taskcatalog.documents.batch import MAX_DOCUMENT
from taskcatalog.documents.find import find_sources
from taskcatalog.documents.formats import cut_source, format_of
from taskcatalog.documents.source import Chunk, DatasetChoice, Source
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.find_tokenizer import find_tokenizer
from taskcatalog.runs.destination import Destination, check_apart, destination
from taskcatalog.runs.driver import Work, run_jobs
from taskcatalog.runs.files import digest_of
from taskcatalog.runs.jobs import Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part
from taskcatalog.runs.pools import Processes
from taskcatalog.runs.progress import note
from taskcatalog.runs.stage import defaults_of
from taskcatalog.settings import Settings, checked, given_or_default
from taskcatalog.sizes import Size, parse_size, worker_count
from taskcatalog.storage import AnyPath, locate, names_of
from taskcatalog.stores.open_store import DEFAULT_SEQUENCE_LENGTH, LENGTH
from taskcatalog.stores.token_store import STAGE, TokenStore, fingerprint_of, keep_tokenizer
from taskcatalog.tokenizing.encoders import Engine, EngineDiffersError, choose_engine
from taskcatalog.tokenizing.stream import Stream, Tokenized, sample_texts
from taskcatalog.vocabulary import END_OF_TEXT_TOKENS, Vocabulary

_FEW_BYTES = 1 << 18
"""Of a corpus that the reference has tokenized before the fast engine is imported."""
EngineChoice = Literal["auto", "gigatoken", "tokenizers"]
_ENGINE_PART = "engine"
_PARTS = 64
_SMALLEST_PART = 1 << 20
_LARGEST_PART = 256 << 20


@dataclass(frozen=True, kw_only=True)
class _Chosen(Facts):
    engine: Engine


@dataclass(frozen=True, kw_only=True)
class TokenizeSettings(Settings):
    """What decides the bytes of a token store, besides the sources and the tokenizer."""

    sequence_length: Annotated[int, LENGTH] = DEFAULT_SEQUENCE_LENGTH
    """Tokens that a model sees together."""
    separator: Literal["end", "both", "none"] = "end"
    """Where the end-of-text id goes: after each document, before and after it, or nowhere."""
    end_of_text: str | None = None
    """The token that separates documents; by default the usual one that the tokenizer has."""
    field: str = "text"
    """The field of a JSONL line, or the column of a table, that holds the text."""
    meta: str | None = None
    """The field or column that the document index keeps, as ``meta.pile_set_name``."""
    on_error: Literal["stop", "skip"] = "stop"
    """Whether a document that cannot be read stops the run, or is left out and counted."""
    subset: str | None = None
    """Of a dataset on the Hugging Face hub."""
    split: str = "train"
    """Of a Hugging Face dataset."""


@dataclass(frozen=True, kw_only=True)
class TokenizeResult:
    """What was made.

    >>> made = tokenize("a.txt", "store", tokenizer)
    >>> made.store.identity.sequence_length
    2048
    """

    store: TokenStore
    """The token store; of MDS, the one that it was converted from."""
    seconds: float = field(compare=False)
    """That the call took."""


_STAGE = replace(STAGE, defaults=defaults_of(TokenizeSettings))


def tokenize(
    sources: str | Path | Iterable[str | Path],
    out: str | AnyPath,
    tokenizer: str,
    settings: TokenizeSettings | None = None,
    *,
    format: Literal["bin", "mds"] = "bin",  # noqa: A002 the word that users know
    engine: EngineChoice = "auto",
    staging: str | Path | None = None,
    max_document: Size | None = None,
    workers: int | None = None,
    pool: Pool | None = None,
    follow_links: bool = False,
    force: bool = False,
) -> TokenizeResult:
    """Makes a token store (``bin``) or a set of MDS shards (``mds``) at ``out``.

    ``sources`` are paths, folders, patterns, URLs or names of datasets (see ``documents.find``). ``tokenizer`` is
    a ``tokenizer.json``, a folder with one, or a hub name. The same call again goes on where it was stopped, or
    opens the finished store. ``engine`` forces one of the two engines (see ``encoders``); their ids are the same.
    With ``follow_links``, links below a folder are read, too, if what they point to is not there anyway.

    ``out`` may be a URL: then ``staging`` is a folder for what is not uploaded yet, by default in the user's
    cache. MDS is converted from a token store that is kept beside it, in ``out`` + ``.tokens`` or, for a URL, in
    the staging folder: it knows where documents came from, and MDS does not.

    ``max_document`` ("256MB") is the size up to which a worker holds a document in memory whole: a line of JSONL or a
    value of a table. A larger one is a bad one. ``pool`` does the work in place of ``workers`` processes.

    Raises InputError for a source or tokenizer that cannot be read, ConflictError where ``out`` is something else.
    """
    started = time.perf_counter()
    settings = given_or_default(settings, TokenizeSettings)
    workers = worker_count(workers)
    checked("format", format, Literal["bin", "mds"])
    checked("engine", engine, EngineChoice)
    to = destination(out, staging)
    if format == "mds":
        tokens = to.folder.with_name(to.folder.name + ".tokens")
        both: dict[str, Any] = {"workers": workers, "pool": pool, "force": force}
        more: dict[str, Any] = {"engine": engine, "max_document": max_document, "follow_links": follow_links}
        tokenize(sources, tokens, tokenizer, settings, **more, **both)
        convert(tokens, out, ConvertSettings(format="mds"), staging=staging, **both)
        return TokenizeResult(store=TokenStore(tokens), seconds=time.perf_counter() - started)
    largest = MAX_DOCUMENT if max_document is None else parse_size(max_document, "max_document")
    found = find_sources(names_of(sources, "source"), follow_links)
    _check_apart(out, found)
    vocabulary = Vocabulary.read(find_tokenizer(tokenizer))
    end_of_text = _end_of_text(vocabulary, settings)
    inputs = {"tokenizer": vocabulary.sha256, "sources": _description(found)}
    with to.begin(_STAGE, inputs, _described(settings, largest), stamp=_stamp(found), force=force) as ledger:
        if not ledger.complete:
            streams = _streams(found, vocabulary.path, to, settings, largest, end_of_text)
            used = _run(ledger, streams, vocabulary, engine, workers, pool or Processes(workers))
            parts = _checked_parts(ledger)
            _say_left_out(parts, settings)
            keep_tokenizer(ledger, vocabulary, to)
            ledger.finish(_facts(ledger, parts, end_of_text, used))
        to.publish(ledger)
    return TokenizeResult(store=TokenStore(locate(out)), seconds=time.perf_counter() - started)


def _check_apart(out: str | AnyPath, sources: list[Source]) -> None:
    whole = [locate(source.name) for source in sources if format_of(source).detect]
    check_apart(out, whole, (locate(source.name) for source in sources if not format_of(source).detect))


def _described(settings: TokenizeSettings, max_document: int) -> dict[str, Any]:
    described = asdict(settings)
    if settings.on_error == "skip" and max_document != MAX_DOCUMENT:
        described["max_document"] = max_document  # it decides which documents are left out
    return described


def _run(
    ledger: Ledger, streams: list[Stream], vocabulary: Vocabulary, choice: EngineChoice, workers: int, pool: Pool
) -> Engine:
    """Tokenizes all streams; returns the engine that did it."""
    threads = max(1, workers // max(1, len(streams)))
    # The engines have threads of their own: share the cores between the workers.
    os.environ["RAYON_NUM_THREADS"] = str(threads)
    engine = _engine(ledger, streams, vocabulary, choice)
    work = Work(description="tokenize", unit="B", total=ledger.inputs["sources"]["bytes"] or None)
    try:
        run_jobs(ledger, [replace(stream, engine=engine, threads=threads) for stream in streams], pool, work)
    except EngineDiffersError as error:
        if choice == "gigatoken":
            raise InputError(f"gigatoken cannot be used: {error}: leave out --engine gigatoken") from error
        note(f"gigatoken cannot be used: {error}; all is done again with tokenizers, many times slower")
        ledger.forget(list(ledger.parts))
        engine = "tokenizers"
        ledger.finish_part(_ENGINE_PART, Part.of({}, _Chosen(engine=engine)))
        run_jobs(ledger, [replace(stream, engine=engine, threads=threads) for stream in streams], pool, work)
    return engine


def _engine(ledger: Ledger, streams: list[Stream], vocabulary: Vocabulary, choice: EngineChoice) -> Engine:
    """The engine that a stopped run had settled on, or the one that a sample of the corpus allows."""
    if _ENGINE_PART in ledger.parts:
        return ledger.parts[_ENGINE_PART].facts_as(_Chosen).engine
    if choice == "auto" and ledger.inputs["sources"]["bytes"] < _FEW_BYTES:
        choice = "tokenizers"
    sample = sample_texts(streams) if choice != "tokenizers" else []
    engine, reason = choose_engine(vocabulary, choice, sample)
    if reason:
        note(f"{reason}; tokenizers does the work, many times slower")
    ledger.finish_part(_ENGINE_PART, Part.of({}, _Chosen(engine=engine)))
    return engine


def _end_of_text(vocabulary: Vocabulary, settings: TokenizeSettings) -> int | None:
    if settings.end_of_text is not None:
        if (id_ := vocabulary.id_of(settings.end_of_text)) is None:
            raise SettingsError(f"end of text {settings.end_of_text!r} is no token of {vocabulary.path}")
        return id_
    if vocabulary.end_of_text is None and settings.separator != "none":
        raise SettingsError(
            f"{vocabulary.path}: has none of the usual end-of-text tokens ({', '.join(END_OF_TEXT_TOKENS)}): "
            "name one with --end-of-text, or use --separator none"
        )
    return vocabulary.end_of_text


def _description(sources: list[Source]) -> dict[str, Any]:
    digest = hashlib.sha256()
    for source in sources:
        digest.update(f"{source.name}\t{source.n_bytes}\n".encode("utf-8", "surrogateescape"))
    n_bytes = sum(source.n_bytes for source in sources)
    return {"files": len(sources), "bytes": n_bytes, "sha256": digest.hexdigest()}


def _stamp(sources: list[Source]) -> str:
    """The state of the sources that are files here."""
    return digest_of([source.changed for source in sources])


def _checked_parts(ledger: Ledger) -> list[Tokenized]:
    """What is known of all parts. Raises InputError where no document is in them."""
    parts = list(ledger.facts_of(Tokenized).values())
    if not any(part.documents for part in parts):
        ledger.forget(list(ledger.parts))
        raise InputError("the sources hold no document: give files with text")
    return parts


def _say_left_out(parts: list[Tokenized], settings: TokenizeSettings) -> None:
    if skipped := sum(part.skipped for part in parts):
        first = next(part.problems[0] for part in parts if part.problems)
        note(f"{skipped:,} documents or files could not be read and were left out, the first of them: {first}")
    n_documents = sum(part.documents for part in parts)
    if missing := sum(part.without_meta for part in parts):
        which = "no document has" if missing == n_documents else f"{missing:,} of {n_documents:,} documents do not have"
        note(f"{which} the field {settings.meta!r} that --meta names: nothing is kept there")
    if texts := sum(part.json_texts for part in parts):
        note(f"{texts:,} .json files have no text in a field {settings.field!r} and were taken as texts")


def _streams(
    sources: list[Source],
    tokenizer: Path,
    to: Destination,
    settings: TokenizeSettings,
    max_document: int,
    end_of_text: int | None,
) -> list[Stream]:
    """Groups of chunks of about equal size; which they are depends on the sources alone."""
    part_bytes = min(max(sum(source.n_bytes for source in sources) // _PARTS, _SMALLEST_PART), _LARGEST_PART)
    choice = DatasetChoice(subset=settings.subset, split=settings.split)
    groups: list[list[Chunk]] = []
    room = 0
    for source in sources:
        for chunk in cut_source(source, part_bytes, choice):
            if room <= 0:
                groups.append([])
                room = part_bytes
            groups[-1].append(chunk)
            room -= chunk.n_bytes or part_bytes
    return [
        Stream(
            name=f"{i:05d}",
            chunks=group,
            tokenizer=tokenizer,
            engine="tokenizers",
            threads=1,
            field=settings.field,
            meta=settings.meta,
            on_error=settings.on_error,
            max_document=max_document,
            before=end_of_text if settings.separator == "both" else None,
            after=end_of_text if settings.separator != "none" else None,
            to=to,
        )
        for i, group in enumerate(groups)
    ]


def _facts(ledger: Ledger, parts: list[Tokenized], end_of_text: int | None, engine: Engine) -> dict[str, Any]:
    return {
        "fingerprint": fingerprint_of(ledger),
        "documents": sum(part.documents for part in parts),
        "source_bytes": ledger.inputs["sources"]["bytes"],
        "tokens": sum(part.tokens for part in parts),
        "end_of_text": end_of_text,
        "engine": engine,
        "skipped": sum(part.skipped for part in parts),
    }
