"""Writes all ids of a store as one flat file, little-endian uint16 or uint32, nothing else.

Beside ``corpus.bin`` lies ``corpus.bin.ledger/``: the parts while they are written, which are then joined, and how it
was made.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from taskcatalog.converting.ranges import (
    named_ranges,
    read_as_one_stream,
    sequences_in_range,
    tokens_of_one_length,
)
from taskcatalog.errors import ConflictError, SettingsError
from taskcatalog.runs.driver import Work, run_jobs
from taskcatalog.runs.files import move_files, written_atomically
from taskcatalog.runs.jobs import OnePart, Pool
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part, describe, finished, problem_of
from taskcatalog.runs.replaced import Replaced
from taskcatalog.runs.stage import Stage, ledger_beside
from taskcatalog.storage import AnyPath, is_remote, locate
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import unchanged

_STAGE = Stage("convert", ())
_WHOLE = "whole"
"""The part that says that all others are joined, and the file lacks at most its name."""
_COPIED_AT_ONCE = 8 << 20


@dataclass(frozen=True, kw_only=True)
class _Ids(OnePart):
    """A job: the ids of a range of sequences, in a file of their own."""

    name: str
    reference: StoreReference
    range: SequenceRange
    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / f"work/{self.name}.ids"

    def make(self) -> Part:
        store = self.reference.store
        ids = store.identity.id_dtype.newbyteorder("<")
        n_tokens = 0
        with written_atomically(self.file) as temporary, temporary.open("wb") as file:
            for sequences in read_as_one_stream(self.range, store):
                file.write(sequences.tokens.astype(ids).tobytes())
                n_tokens += len(sequences.tokens)
        return finished(self.folder, [self.file], Facts(amount=n_tokens))


def write_flat(
    reference: StoreReference, out: str | AnyPath, inputs: Mapping[str, Any], pool: Pool, force: bool
) -> dict[str, int]:
    """Writes the file ``out``; returns how many tokens and sequences it holds.

    Raises ConflictError where ``out`` is another file, InputError where sequences have unequal lengths.
    """
    store, target = reference.store, locate(out)
    if is_remote(target):
        raise SettingsError(f"{out}: a flat file is written here: give a local path, or use --format mds")
    file = Path(str(target))
    folder = Path(str(ledger_beside(file)))
    if file.exists() and not Ledger.exists(folder):
        raise ConflictError(f"{file}: is there and taskcatalog did not write it: choose another output file")
    with Ledger.begin(folder, _STAGE, inputs, {"format": "flat"}, stamp=store.stamp, force=force) as ledger:
        _check_file(ledger, file, force)
        if not ledger.complete:
            _fill(ledger, reference, file, pool)
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


def _fill(ledger: Ledger, reference: StoreReference, file: Path, pool: Pool) -> None:
    store = reference.store
    ranges = named_ranges(store.n_sequences, sequences_in_range(store))
    jobs = [_Ids(name=name, reference=reference, range=range_, folder=ledger.folder) for name, range_ in ranges.items()]
    work = Work(description="convert", unit="tokens", total=tokens_of_one_length(store))
    with unchanged(store):
        run_jobs(ledger, jobs, pool, work)
    whole = ledger.work / "whole"
    if _WHOLE in ledger.parts and not whole.exists() and problem_of(file, *ledger.parts[_WHOLE].files.values()):
        ledger.forget([_WHOLE])
    if _WHOLE not in ledger.parts:
        _join([job.file for job in jobs], whole)
        ledger.finish_part(_WHOLE, Part.of({f"../{file.name}": describe(whole)}, Facts()))
    if whole.exists():
        move_files([(whole, file)])


def _join(files: Iterable[Path], out: Path) -> None:
    """Writes the content of files, one after the other."""
    with written_atomically(out) as temporary, temporary.open("wb") as whole:
        for file in files:
            with file.open("rb") as part:
                shutil.copyfileobj(part, whole, _COPIED_AT_ONCE)
