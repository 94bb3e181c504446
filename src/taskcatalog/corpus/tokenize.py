"""Documents to tokens: makes a token store (see ``token_store``) from source files.

Source files are grouped, in order, into parts of about equal size; which files form a part depends on the
sources alone. A part is tokenized by one worker into one file of ids and one of documents.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from taskcatalog.catalog.files import written_atomically
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.catalog.parquet import table_writer
from taskcatalog.catalog.schemas import id_dtype
from taskcatalog.catalog.vocabulary import END_OF_TEXT_TOKENS, Vocabulary
from taskcatalog.cluster.local import PartResult, Work, run_parts
from taskcatalog.corpus.documents import Document, find_sources, read_documents
from taskcatalog.corpus.open_store import DEFAULT_SEQUENCE_LENGTH
from taskcatalog.corpus.token_store import STAGE, TokenStore, documents_schema
from taskcatalog.corpus.tokenizers import find_tokenizer
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.sizes import worker_count

_TOKENIZER_PART = "tokenizer"
_PARTS = 64
_SMALLEST_PART = 1 << 20
_LARGEST_PART = 256 << 20
_BATCH_CHARACTERS = 1 << 22


@dataclass(frozen=True, kw_only=True)
class TokenizeSettings:
    """What decides the bytes of a token store, besides the sources and the tokenizer."""

    sequence_length: int = DEFAULT_SEQUENCE_LENGTH
    """Tokens that a model sees together."""
    separator: Literal["end", "both", "none"] = "end"
    """Where the end-of-text id goes: after each document, before and after it, or nowhere."""
    end_of_text: str | None = None
    """The token that separates documents; by default the usual one that the tokenizer has."""
    field: str = "text"
    """The field of a JSONL line, or the column of a Parquet file, that holds the text."""

    def __post_init__(self) -> None:
        if self.sequence_length < 1:
            raise SettingsError(f"sequence length is {self.sequence_length}: it must be at least 1")
        if self.separator not in ("end", "both", "none"):
            raise SettingsError(f"separator is {self.separator!r}: it must be end, both or none")


@dataclass(frozen=True, kw_only=True)
class _Part:
    sources: list[Path]
    tokenizer: Path
    field: str
    before: list[int]
    after: list[int]
    tokens_file: Path
    documents_file: Path


def tokenize(
    sources: str | Path | Iterable[str | Path],
    out: str | Path,
    tokenizer: str,
    settings: TokenizeSettings | None = None,
    *,
    workers: int | None = None,
    force: bool = False,
) -> TokenStore:
    """Makes a token store at ``out`` from text files, JSONL or Parquet, or folders of them (see ``documents``).

    ``tokenizer`` is a ``tokenizer.json``, a folder with one, or a hub name. The same call again goes on
    where it was stopped, or opens the finished store.

    Raises InputError for a source or tokenizer that cannot be read, ConflictError where ``out`` holds
    something else (``force`` replaces another token store).
    """
    settings = settings or TokenizeSettings()
    workers = worker_count(workers)
    files = find_sources([sources] if isinstance(sources, str | Path) else sources)
    vocabulary = Vocabulary.read(find_tokenizer(tokenizer))
    end_of_text = _end_of_text(vocabulary, settings)
    sizes = [file.stat().st_size for file in files]
    inputs = {"tokenizer": vocabulary.sha256, "sources": _description(files, sizes)}
    with Ledger.begin(Path(out), STAGE, inputs, asdict(settings), force) as ledger:
        if not ledger.complete:
            parts = _parts(files, sizes, vocabulary.path, ledger.folder, settings, end_of_text)
            work = Work(description="tokenize", unit="B", total=sum(sizes))
            # The library has threads of its own: share the cores between the workers.
            os.environ["RAYON_NUM_THREADS"] = str(max(1, workers // len(parts)))
            run_parts(ledger, parts, _tokenize_part, work, workers, "processes")
            _check_documents(ledger)
            _keep_tokenizer(ledger, vocabulary)
            ledger.finish(_facts(ledger, end_of_text))
    return TokenStore(Path(out))


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


def _description(files: list[Path], sizes: list[int]) -> dict[str, Any]:
    listing = "".join(f"{file}\t{size}\n" for file, size in zip(files, sizes, strict=True))
    return {"files": len(files), "bytes": sum(sizes), "sha256": hashlib.sha256(listing.encode()).hexdigest()}


def _check_documents(ledger: Ledger) -> None:
    if not any(part.facts["documents"] for part in ledger.parts.values()):
        ledger.forget(list(ledger.parts))
        raise InputError("the sources hold no document: give files with text")


def _keep_tokenizer(ledger: Ledger, vocabulary: Vocabulary) -> None:
    kept = ledger.folder / "tokenizer.json"
    with written_atomically(kept) as temporary:
        shutil.copyfile(vocabulary.path, temporary)
    ledger.finish_part(_TOKENIZER_PART, [kept], {"documents": 0})


def _parts(
    files: list[Path],
    sizes: list[int],
    tokenizer: Path,
    folder: Path,
    settings: TokenizeSettings,
    end_of_text: int | None,
) -> dict[str, _Part]:
    part_bytes = min(max(sum(sizes) // _PARTS, _SMALLEST_PART), _LARGEST_PART)
    groups: list[list[Path]] = []
    room = 0
    for file, size in zip(files, sizes, strict=True):
        if room <= 0:
            groups.append([])
            room = part_bytes
        groups[-1].append(file)
        room -= size
    separator = [] if end_of_text is None else [end_of_text]
    return {
        f"{i:05d}": _Part(
            sources=group,
            tokenizer=tokenizer,
            field=settings.field,
            before=separator if settings.separator == "both" else [],
            after=separator if settings.separator != "none" else [],
            tokens_file=folder / "tokens" / f"{i:05d}.bin",
            documents_file=folder / "documents" / f"{i:05d}.parquet",
        )
        for i, group in enumerate(groups)
    }


def _tokenize_part(part: _Part) -> PartResult:
    vocabulary = _vocabulary(part.tokenizer)
    dtype = id_dtype(len(vocabulary)).newbyteorder("<")
    n_tokens, n_documents = 0, 0
    documents = (document for source in part.sources for document in read_documents(source, part.field))
    with (
        written_atomically(part.tokens_file) as tokens_path,
        tokens_path.open("wb") as tokens_file,
        table_writer(part.documents_file, documents_schema()) as index,
    ):
        for batch in _batches(documents):
            encoded = vocabulary.encode_batch([document.text for document in batch])
            pieces = [np.array(part.before + ids + part.after, dtype) for ids in encoded]
            lengths = np.array([len(piece) for piece in pieces], np.uint64)
            for piece in pieces:
                piece.tofile(tokens_file)
            index.write(_index_rows(batch, lengths, n_tokens))
            n_tokens += int(lengths.sum())
            n_documents += len(batch)
    return PartResult(
        files=[part.tokens_file, part.documents_file],
        amount=sum(source.stat().st_size for source in part.sources),
        facts={"tokens": n_tokens, "documents": n_documents},
    )


@lru_cache(maxsize=1)
def _vocabulary(path: Path) -> Vocabulary:
    """The tokenizer of this worker process, read once."""
    return Vocabulary.read(path)


def _index_rows(batch: list[Document], lengths: NDArray[np.uint64], first: int) -> dict[str, Any]:
    starts = np.cumsum(lengths) - lengths + np.uint64(first)
    sources, places = [document.source for document in batch], [document.place for document in batch]
    return {"start": starts, "n_tokens": lengths, "source": sources, "place": places}


def _batches(documents: Iterable[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    room = _BATCH_CHARACTERS
    for document in documents:
        batch.append(document)
        room -= len(document.text)
        if room <= 0:
            yield batch
            batch, room = [], _BATCH_CHARACTERS
    if batch:
        yield batch


def _facts(ledger: Ledger, end_of_text: int | None) -> dict[str, Any]:
    parts = [part for name, part in sorted(ledger.parts.items()) if name != _TOKENIZER_PART]
    digest = hashlib.sha256(ledger.inputs["tokenizer"].encode())
    for part in parts:
        tokens = next(facts for name, facts in part.files.items() if name.endswith(".bin"))
        digest.update(tokens["sha256"].encode())
    return {
        "fingerprint": digest.hexdigest(),
        "documents": sum(part.facts["documents"] for part in parts),
        "source_bytes": ledger.inputs["sources"]["bytes"],
        "tokens": sum(part.facts["tokens"] for part in parts),
        "end_of_text": end_of_text,
    }
