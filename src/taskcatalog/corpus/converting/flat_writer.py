"""Writes all ids of a store as one flat file, little-endian uint16 or uint32, nothing else.

A part writes its ids at their place in a file of full size, which takes its name when all are there. Beside
``corpus.bin`` lies ``corpus.bin.ledger/``, with what is done while it is written, and how it was made.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskcatalog.catalog.files import sha256_of_file
from taskcatalog.catalog.ledger import Ledger
from taskcatalog.cluster.local import PartResult, Work, run_parts
from taskcatalog.corpus.converting.pieces import Piece, cut_into_pieces, sequences_in_piece, tokens_of_one_length
from taskcatalog.corpus.stores.store import Store
from taskcatalog.errors import ConflictError, SettingsError
from taskcatalog.storage import AnyPath, is_remote, locate

_STAGE = "convert"
_ALLOCATED, _WHOLE = "allocated", "whole"
"""Parts: the file has its full size; all ids are in it, and it only lacks its name."""


@dataclass(frozen=True)
class _Part:
    piece: Piece
    file: Path


def write_flat(
    store: Store, out: str | AnyPath, inputs: Mapping[str, Any], workers: int, force: bool
) -> dict[str, int]:
    """Writes the file ``out``; returns how many tokens and sequences it holds.

    Raises ConflictError where ``out`` is another file, InputError where sequences have unequal lengths.
    """
    place = locate(out)
    if is_remote(place):
        raise SettingsError(f"{out}: a flat file is written here: give a local path, or use --format bin or mds")
    file = Path(str(place))
    folder = file.with_name(f"{file.name}.ledger")
    if file.exists() and not Ledger.exists(folder):
        raise ConflictError(f"{file}: is there and taskcatalog did not write it: choose another output file")
    with Ledger.begin(folder, _STAGE, inputs, {"format": "flat"}, force) as ledger:
        _make_room(ledger, file, force)
        if not ledger.complete:
            _fill(ledger, store, file, workers)
            ledger.finish({"tokens": tokens_of_one_length(store), "sequences": store.n_sequences, "dropped_tokens": 0})
    return dict(ledger.facts)


def _make_room(ledger: Ledger, file: Path, force: bool) -> None:
    """Makes sure that the file is what the ledger says: there as it was made, or not there yet."""
    if ledger.complete:
        [recorded] = ledger.files().values()
        if file.is_file() and file.stat().st_size == recorded["bytes"]:
            return
    elif _WHOLE in ledger.parts or not file.exists():
        return
    if not force:
        raise ConflictError(f"{file}: is not what {ledger.folder} says: --force makes it anew")
    file.unlink(missing_ok=True)
    ledger.forget(ledger.parts)


def _fill(ledger: Ledger, store: Store, file: Path, workers: int) -> None:
    growing = ledger.work / file.name
    n_tokens = tokens_of_one_length(store)
    if _ALLOCATED not in ledger.parts:
        growing.parent.mkdir(exist_ok=True)
        with growing.open("wb") as opened:
            opened.truncate(n_tokens * store.corpus.id_dtype.itemsize)
        ledger.finish_part(_ALLOCATED, [growing], {})
    pieces = cut_into_pieces(store, store.n_sequences, sequences_in_piece(store))
    parts = {name: _Part(piece, growing) for name, piece in pieces.items()}
    run_parts(ledger, parts, _write_part, Work(description="convert", unit="tokens", total=n_tokens), workers)
    if _WHOLE not in ledger.parts:
        described = {"bytes": growing.stat().st_size, "sha256": sha256_of_file(growing)}
        ledger.finish_part(_WHOLE, [], {}, elsewhere={f"../{file.name}": described})
    if growing.exists():
        growing.replace(file)


def _write_part(part: _Part) -> PartResult:
    corpus = part.piece.store.corpus
    ids = corpus.id_dtype.newbyteorder("<")
    n_tokens = 0
    with part.file.open("r+b") as file:
        file.seek(part.piece.first * corpus.sequence_length * ids.itemsize)
        for sequences in part.piece.read_as_one_stream():
            file.write(sequences.tokens.astype(ids).tobytes())
            n_tokens += len(sequences.tokens)
        file.flush()
        os.fsync(file.fileno())
    return PartResult(files=[], amount=n_tokens)
