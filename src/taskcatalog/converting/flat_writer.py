"""Writes all ids of a store as one flat file, little-endian uint16 or uint32, nothing else.

Beside ``corpus.bin`` lies ``corpus.bin.ledger/``: the parts while they are written, which are then joined, and how it
was made.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskcatalog.converting.pieces import Piece, cut_into_pieces, sequences_in_piece, tokens_of_one_length
from taskcatalog.errors import ConflictError, SettingsError
from taskcatalog.runs.files import move_files, written_atomically
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.local import PartResult, Work, run_parts
from taskcatalog.runs.parts import describe, problem_of
from taskcatalog.runs.replaced import Replaced
from taskcatalog.runs.stage import Stage, ledger_beside
from taskcatalog.storage import AnyPath, is_remote, locate
from taskcatalog.stores.store import Store, unchanged

_STAGE = Stage("convert", ())
_WHOLE = "whole"
"""The part that says that all others are joined, and the file lacks at most its name."""
_COPIED_AT_ONCE = 8 << 20


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
        raise SettingsError(f"{out}: a flat file is written here: give a local path, or use --format mds")
    file = Path(str(place))
    folder = Path(str(ledger_beside(file)))
    if file.exists() and not Ledger.exists(folder):
        raise ConflictError(f"{file}: is there and taskcatalog did not write it: choose another output file")
    with Ledger.begin(folder, _STAGE, inputs, {"format": "flat"}, stamp=store.stamp, force=force) as ledger:
        _check_file(ledger, file, force)
        if not ledger.complete:
            _fill(ledger, store, file, workers)
            ledger.finish({"tokens": tokens_of_one_length(store), "sequences": store.n_sequences, "dropped_tokens": 0})
    return dict(ledger.facts)


def _check_file(ledger: Ledger, file: Path, force: bool) -> None:
    """Raises ConflictError where the file is neither what the ledger says nor about to be replaced."""
    if ledger.complete:
        if not problem_of(file, *ledger.files().values(), quickly=True):
            return
    elif _WHOLE in ledger.parts or not file.exists() or Replaced(ledger.folder).exists():
        return
    if not force:
        raise ConflictError(f"{file}: is not what {ledger.folder} says: --force makes it anew")
    ledger.forget(ledger.parts)


def _fill(ledger: Ledger, store: Store, file: Path, workers: int) -> None:
    pieces = cut_into_pieces(store, store.n_sequences, sequences_in_piece(store))
    parts = {name: _Part(piece, ledger.work / f"{name}.ids") for name, piece in pieces.items()}
    work = Work(description="convert", unit="tokens", total=tokens_of_one_length(store))
    with unchanged(store):
        run_parts(ledger, parts, _write_part, work, workers)
    whole = ledger.work / "whole"
    if _WHOLE in ledger.parts and not whole.exists() and problem_of(file, *ledger.parts[_WHOLE].files.values()):
        ledger.forget([_WHOLE])
    if _WHOLE not in ledger.parts:
        _join([part.file for part in parts.values()], whole)
        ledger.finish_part(_WHOLE, [], {}, elsewhere={f"../{file.name}": describe(whole)})
    if whole.exists():
        move_files([(whole, file)])


def _write_part(part: _Part) -> PartResult:
    ids = part.piece.store.identity.id_dtype.newbyteorder("<")
    n_tokens = 0
    with written_atomically(part.file) as temporary, temporary.open("wb") as file:
        for sequences in part.piece.read_as_one_stream():
            file.write(sequences.tokens.astype(ids).tobytes())
            n_tokens += len(sequences.tokens)
    return PartResult(files=[part.file], amount=n_tokens)


def _join(files: Iterable[Path], out: Path) -> None:
    """Writes the content of files, one after the other."""
    with written_atomically(out) as temporary, temporary.open("wb") as whole:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, whole, _COPIED_AT_ONCE)
