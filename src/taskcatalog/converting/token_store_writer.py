"""Writes a token store (see ``token_store``) from any other store that has a tokenizer.

The documents index of a token store stays what it is. Of another kind, it says where a document begins, as far as
that is known: its ``source`` is the path of the store, its ``place`` the running number from 1. Where nothing is
known of documents, there is no index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taskcatalog.converting.pieces import Piece, cut_into_pieces, sequences_in_piece, tokens_of_one_length
from taskcatalog.errors import InputError
from taskcatalog.runs.destination import Destination
from taskcatalog.runs.driver import Work, run_jobs
from taskcatalog.runs.files import written_atomically
from taskcatalog.runs.jobs import OnePart, Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part
from taskcatalog.stores.place import StorePlace
from taskcatalog.stores.store import Store, unchanged
from taskcatalog.stores.token_store import STAGE, TokenStore, fingerprint_of, keep_tokenizer
from taskcatalog.tables.parquet import table_writer
from taskcatalog.tables.schemas import documents_schema


@dataclass(frozen=True, kw_only=True)
class _Written(Facts):
    """Of a file of ids."""

    documents: int | None = None
    """How many begin in it, where the source knows."""
    first_start: int | None = None
    """Where the first of them begins."""


@dataclass(frozen=True, kw_only=True)
class _Indexed(Facts):
    """Of the documents index of a file of ids."""


@dataclass(frozen=True, kw_only=True)
class _Tokens(OnePart):
    """A job: a file of ids, and where documents begin in it."""

    name: str
    piece: Piece
    to: Destination

    @property
    def starts_file(self) -> Path:
        """int64 places among the tokens of the whole store; written where the source knows them."""
        return self.to.folder / f"work/starts/{self.name}.npy"

    def make(self) -> Part:
        identity = self.piece.store.identity
        ids = identity.id_dtype.newbyteorder("<")
        begin = end = self.piece.first * identity.sequence_length
        found: list[NDArray[np.int64] | None] = [_start_after_previous(self.piece)]
        tokens_file = self.to.folder / f"tokens/{self.name}.bin"
        with written_atomically(tokens_file) as temporary, temporary.open("wb") as file:
            for sequences in self.piece.read_as_one_stream():
                file.write(sequences.tokens.astype(ids).tobytes())
                found.append(None if sequences.document_starts is None else sequences.document_starts + end)
                end += len(sequences.tokens)
        if any(starts is None for starts in found):
            return self.to.finished([tokens_file], _Written(amount=end - begin))
        starts = np.unique(np.concatenate([starts for starts in found if starts is not None]))
        starts = starts[starts < end]  # the id that ends a document may be the last one here
        with written_atomically(self.starts_file) as temporary, temporary.open("wb") as file:
            np.save(file, starts)
        first_start = int(starts[0]) if len(starts) else None
        facts = _Written(amount=end - begin, documents=len(starts), first_start=first_start)
        return self.to.finished([tokens_file], facts, keep=[self.starts_file])


@dataclass(frozen=True, kw_only=True)
class _Documents(OnePart):
    """A job: the documents index of one file of ids."""

    name: str
    tokens: _Tokens
    end: int
    """Where the next document begins, or the store ends."""
    first_place: int

    @property
    def begin(self) -> int:
        """The file's first token among those of the whole store."""
        return self.tokens.piece.first * self.tokens.piece.store.identity.sequence_length

    def make(self) -> Part:
        store, to = self.tokens.piece.store, self.tokens.to
        rows = _known_rows(self, store) if isinstance(store, TokenStore) else _new_rows(self, store)
        index_file = to.folder / f"documents/{self.tokens.name}.parquet"
        with table_writer(index_file, documents_schema()) as index:
            index.write(rows)
        return to.finished([index_file], _Indexed(amount=len(rows)))


def write_token_store(
    place: StorePlace, to: Destination, inputs: Mapping[str, Any], pool: Pool, force: bool
) -> dict[str, int]:
    """Returns how many tokens and sequences were written.

    Raises InputError where the store has no tokenizer, or sequences of unequal lengths.
    """
    store = place.store
    if store.vocabulary is None:
        raise InputError(f"{store.path}: has no tokenizer, and a token store needs one: name it with --tokenizer")
    inputs = {"tokenizer": store.vocabulary.sha256, "source": str(store.path), **inputs}
    settings = {"format": "bin", "sequence_length": store.identity.sequence_length}
    with to.begin(STAGE, inputs, settings, stamp=store.stamp, force=force) as ledger:
        if not ledger.complete:
            pieces = cut_into_pieces(place, store.n_sequences, sequences_in_piece(store))
            jobs = [_Tokens(name=name, piece=piece, to=to) for name, piece in pieces.items()]
            n_tokens = tokens_of_one_length(store)
            with unchanged(store):
                run_jobs(ledger, jobs, pool, Work(description="convert", unit="tokens", total=n_tokens))
                _write_documents(ledger, jobs, n_tokens, pool)
            keep_tokenizer(ledger, store.vocabulary, to)
            ledger.finish(_facts(ledger, store))
        to.publish(ledger)
    return {"tokens": ledger.facts["tokens"], "sequences": store.n_sequences, "dropped_tokens": 0}


def _write_documents(ledger: Ledger, tokens: Sequence[_Tokens], n_tokens: int, pool: Pool) -> None:
    written = zip(tokens, ledger.facts_of(_Written).values(), strict=True)
    known = [(job, facts) for job, facts in written if facts.documents is not None]
    jobs: list[_Documents] = []
    end, n_documents = n_tokens, sum(facts.documents or 0 for _, facts in known)
    before = n_documents
    for job, facts in reversed(known):
        before -= facts.documents or 0
        jobs.append(_Documents(name=f"documents-{job.name}", tokens=job, end=end, first_place=before + 1))
        end = end if facts.first_start is None else facts.first_start
    run_jobs(ledger, jobs, pool, Work(description="index", unit="documents", total=n_documents))


def _start_after_previous(piece: Piece) -> NDArray[np.int64] | None:
    """The place of the piece's first token, if the sequence before it says that a document begins there."""
    begin = piece.first * piece.store.identity.sequence_length
    if begin == 0:
        return np.zeros(1, np.int64)
    previous = piece.store.read(piece.first - 1, piece.first)
    if previous.document_starts is None:
        return None
    return np.full(int(len(previous.tokens) in previous.document_starts), begin, np.int64)


def _known_rows(job: _Documents, store: TokenStore) -> pa.Table:
    last = min(job.tokens.piece.stop * store.identity.sequence_length, store.n_tokens)
    rows = store.documents(job.begin, last)
    starts = pa.array(rows["start"].to_numpy() - np.uint64(job.begin))
    return rows.set_column(0, rows.schema.field(0), starts)


def _new_rows(job: _Documents, store: Store) -> pa.Table:
    starts, schema = np.load(job.tokens.starts_file), documents_schema()
    columns = {
        "start": pa.array((starts - job.begin).astype(np.uint64)),
        "n_tokens": pa.array(np.diff(starts, append=job.end).astype(np.uint64)),
        "source": pa.DictionaryArray.from_arrays(np.zeros(len(starts), np.int32), [str(store.path)]),
        "place": pa.array(np.arange(job.first_place, job.first_place + len(starts), dtype=np.uint64)),
        "meta": pa.nulls(len(starts), schema.field("meta").type),
    }
    return pa.table(columns, schema=schema)


def _facts(ledger: Ledger, store: Store) -> dict[str, Any]:
    n_tokens = sum(facts.amount for facts in ledger.facts_of(_Written).values())
    return {
        "fingerprint": fingerprint_of(ledger),
        "documents": sum(facts.amount for facts in ledger.facts_of(_Indexed).values()),
        "source_bytes": n_tokens * store.identity.id_dtype.itemsize,
        "tokens": n_tokens,
        "end_of_text": store.identity.end_of_text,
    }
