"""Writes a token store (see ``token_store``) from any other store that has a tokenizer.

The documents index of a token store stays what it is. Of another kind, it says where a document begins, as far as
that is known: its ``source`` is the path of the store, its ``place`` the running number from 1. Where nothing is
known of documents, there is no index.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taskcatalog.converting.pieces import Piece, cut_into_pieces, sequences_in_piece, tokens_of_one_length
from taskcatalog.errors import InputError
from taskcatalog.runs.destination import Destination
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.local import PartResult, Work, run_parts
from taskcatalog.stores.store import Store, unchanged
from taskcatalog.stores.token_store import STAGE, TokenStore, fingerprint_of, keep_tokenizer
from taskcatalog.tables.parquet import table_writer
from taskcatalog.tables.schemas import documents_schema

_INDEX_PART = "documents-"


@dataclass(frozen=True, kw_only=True)
class _Tokens:
    """A part: a file of ids, and where documents begin in it."""

    piece: Piece
    tokens_file: Path
    starts_file: Path
    """int64 places among the tokens of the whole store; written where the source knows them."""
    to: Destination


@dataclass(frozen=True, kw_only=True)
class _Documents:
    """A part: the documents index of one file of ids."""

    piece: Piece
    starts_file: Path
    begin: int
    """The file's first token among those of the whole store."""
    end: int
    """Where the next document begins, or the store ends."""
    first_place: int
    index_file: Path
    to: Destination


def write_token_store(
    store: Store, to: Destination, inputs: Mapping[str, Any], workers: int, force: bool
) -> dict[str, int]:
    """Returns how many tokens and sequences were written.

    Raises InputError where the store has no tokenizer, or sequences of unequal lengths.
    """
    if store.vocabulary is None:
        raise InputError(f"{store.path}: has no tokenizer, and a token store needs one: name it with --tokenizer")
    inputs = {"tokenizer": store.vocabulary.sha256, "source": str(store.path), **inputs}
    settings = {"format": "bin", "sequence_length": store.identity.sequence_length}
    with to.begin(STAGE, inputs, settings, stamp=store.stamp, force=force) as ledger:
        if not ledger.complete:
            pieces = cut_into_pieces(store, store.n_sequences, sequences_in_piece(store))
            n_tokens = tokens_of_one_length(store)
            with unchanged(store):
                _write_tokens(ledger, pieces, n_tokens, to, workers)
                _write_documents(ledger, pieces, n_tokens, to, workers)
            keep_tokenizer(ledger, store.vocabulary, to)
            ledger.finish(_facts(ledger, store, list(pieces)))
        to.publish(ledger)
    return {"tokens": ledger.facts["tokens"], "sequences": store.n_sequences, "dropped_tokens": 0}


def _write_tokens(ledger: Ledger, pieces: Mapping[str, Piece], n_tokens: int, to: Destination, workers: int) -> None:
    parts = {
        name: _Tokens(
            piece=piece, tokens_file=to.folder / f"tokens/{name}.bin", starts_file=_starts_file(ledger, name), to=to
        )
        for name, piece in pieces.items()
    }
    run_parts(ledger, parts, _write_ids, Work(description="convert", unit="tokens", total=n_tokens), workers)


def _write_documents(ledger: Ledger, pieces: Mapping[str, Piece], n_tokens: int, to: Destination, workers: int) -> None:
    known = {name: piece for name, piece in pieces.items() if "documents" in ledger.parts[name].facts}
    parts: dict[str, _Documents] = {}
    end, before = n_tokens, sum(ledger.parts[name].facts["documents"] for name in known)
    n_documents = before
    for name, piece in reversed(known.items()):
        facts = ledger.parts[name].facts
        before -= facts["documents"]
        parts[f"{_INDEX_PART}{name}"] = _Documents(
            piece=piece,
            starts_file=_starts_file(ledger, name),
            begin=piece.first * piece.store.identity.sequence_length,
            end=end,
            first_place=before + 1,
            index_file=to.folder / f"documents/{name}.parquet",
            to=to,
        )
        end = facts["first_start"] if facts["documents"] else end
    run_parts(ledger, parts, _write_index, Work(description="index", unit="documents", total=n_documents), workers)


def _starts_file(ledger: Ledger, name: str) -> Path:
    return ledger.work / f"starts/{name}.npy"


def _write_ids(part: _Tokens) -> PartResult:
    identity = part.piece.store.identity
    ids = identity.id_dtype.newbyteorder("<")
    begin = end = part.piece.first * identity.sequence_length
    found: list[NDArray[np.int64] | None] = [_start_after_previous(part.piece)]
    with written_atomically(part.tokens_file) as temporary, temporary.open("wb") as file:
        for sequences in part.piece.read_as_one_stream():
            file.write(sequences.tokens.astype(ids).tobytes())
            found.append(None if sequences.document_starts is None else sequences.document_starts + end)
            end += len(sequences.tokens)
    if any(starts is None for starts in found):
        return part.to.finished([part.tokens_file], end - begin, {})
    starts = np.unique(np.concatenate([starts for starts in found if starts is not None]))
    starts = starts[starts < end]  # the id that ends a document may be the last one here
    with written_atomically(part.starts_file) as temporary, temporary.open("wb") as file:
        np.save(file, starts)
    facts = {"documents": len(starts), "first_start": int(starts[0]) if len(starts) else None}
    return part.to.finished([part.tokens_file], end - begin, facts, keep=[part.starts_file])


def _start_after_previous(piece: Piece) -> NDArray[np.int64] | None:
    """The place of the piece's first token, if the sequence before it says that a document begins there."""
    begin = piece.first * piece.store.identity.sequence_length
    if begin == 0:
        return np.zeros(1, np.int64)
    previous = piece.store.read(piece.first - 1, piece.first)
    if previous.document_starts is None:
        return None
    return np.full(int(len(previous.tokens) in previous.document_starts), begin, np.int64)


def _write_index(part: _Documents) -> PartResult:
    store = part.piece.store
    rows = _known_rows(part, store) if isinstance(store, TokenStore) else _new_rows(part)
    with table_writer(part.index_file, documents_schema()) as index:
        index.write(rows)
    return part.to.finished([part.index_file], len(rows), {})


def _known_rows(part: _Documents, store: TokenStore) -> pa.Table:
    piece = part.piece
    last = min(piece.stop * store.identity.sequence_length, store.n_tokens)
    rows = store.documents(part.begin, last)
    starts = pa.array(rows["start"].to_numpy() - np.uint64(part.begin))
    return rows.set_column(0, rows.schema.field(0), starts)


def _new_rows(part: _Documents) -> pa.Table:
    starts, schema = np.load(part.starts_file), documents_schema()
    columns = {
        "start": pa.array((starts - part.begin).astype(np.uint64)),
        "n_tokens": pa.array(np.diff(starts, append=part.end).astype(np.uint64)),
        "source": pa.DictionaryArray.from_arrays(np.zeros(len(starts), np.int32), [str(part.piece.store.path)]),
        "place": pa.array(np.arange(part.first_place, part.first_place + len(starts), dtype=np.uint64)),
        "meta": pa.nulls(len(starts), schema.field("meta").type),
    }
    return pa.table(columns, schema=schema)


def _facts(ledger: Ledger, store: Store, names: list[str]) -> dict[str, Any]:
    n_tokens = sum(ledger.parts[name].facts["amount"] for name in names)
    return {
        "fingerprint": fingerprint_of(ledger),
        "documents": sum(part.facts["amount"] for name, part in ledger.parts.items() if name.startswith(_INDEX_PART)),
        "source_bytes": n_tokens * store.identity.id_dtype.itemsize,
        "tokens": n_tokens,
        "end_of_text": store.identity.end_of_text,
    }
