"""The ledger of a stage's output: which parts are done, from which inputs, with which settings.

A folder that a stage writes holds ``ledger.json``::

    {"format": 3, "stage": "ngrams", "version": "0.1.0", "complete": true,
     "inputs": {...}, "settings": {...}, "facts": {...},
     "parts": {"tables-00000": {"files": {"bigrams/00000.parquet": {"bytes": 1, "sha256": "…", "xxh3": "…"}},
                                "kind": "Tabulated", "facts": {...}}},
     "sha256": "…"}

The last is the digest of all the rest, so a ledger that was changed is no ledger.

While the stage runs, each finished part is one line of ``ledger.parts.jsonl`` beside it, with its own digest; at the
end these lines move into ``ledger.json``, sorted by name. So the ledger, and not the existence of a file, says what is
done, and a finished ledger has no trace of the order in which parts were finished. Files under ``work/`` are for the
stage alone and go when it is complete.

A run that goes on looks at what it finds: a part whose files are missing or changed is done again. A run that
replaces another one's output keeps that in ``.replaced/`` until its own is complete (see ``replaced``).

Only files are removed that a ledger lists, that lie under ``work/``, or that bear a name that the stage gives its
own: a run that was killed may not have come to list them.

Paths in a ledger are relative to its folder: a folder may be moved.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self, TypeAlias, cast

from taskcatalog.errors import ConflictError, DiskFullError, InputError
from taskcatalog.runs.files import (
    digest_of,
    final_name,
    flush,
    folder_locked,
    make_folder,
    naming,
    read_signed,
    remove_empty_folder,
    remove_files,
    remove_folder,
    write_signed,
)
from taskcatalog.runs.parts import F, Facts, Part, part_of, problem_of
from taskcatalog.runs.progress import note
from taskcatalog.runs.replaced import Replaced
from taskcatalog.runs.stage import JOURNAL, LEDGER, WORK, Stage, is_below, is_work, own_files, own_folders
from taskcatalog.storage import AnyPath, is_file, read_bytes
from taskcatalog.version import __version__

FORMAT = 3
_STAMP = "stamp"
"""The part of an unfinished run that tells the state of its inputs."""
_LOOKED_AT_ONCE = 16
_NOTHING = Stage("", ())

IsElsewhere: TypeAlias = Callable[[str, Mapping[str, Any]], bool]
"""Of a file by its name, and what the ledger says of it."""


@dataclass(frozen=True, kw_only=True)
class _Stamp(Facts):
    stamp: str


@dataclass(kw_only=True)
class Ledger:
    """The ledger of one folder. ``begin`` it to write, ``read`` it to look."""

    folder: Path
    stage: str
    version: str
    inputs: dict[str, Any]
    settings: dict[str, Any]
    facts: dict[str, Any] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    complete: bool = False
    digest: str = ""
    """Of what was read: another one tells another run."""
    _stage: Stage = _NOTHING
    """The one that was begun; what is only read owns nothing."""
    _lock: ExitStack = field(default_factory=ExitStack)
    _made: list[Path] = field(default_factory=list)
    """The folders above that were made for this one, from the nearest up."""

    @property
    def work(self) -> Path:
        """Where the stage keeps files that only it needs."""
        return self.folder / WORK

    @classmethod
    def exists(cls, folder: AnyPath) -> bool:
        return is_file(folder / LEDGER)

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """The ledger in ``folder``, with the parts that an unfinished run has done so far."""
        content = read_signed(folder / LEDGER, FORMAT, "ledger")
        digest = digest_of(content)
        del content["format"]
        try:
            parts = {name: part_of(part, folder) for name, part in content.pop("parts").items()}
            # A folder behind a URL can be looked at as one here can; only what writes needs it here.
            ledger = cls(folder=cast(Path, folder), parts=parts, digest=digest, **content)
            ledger._check_types()
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise InputError(f"{folder / LEDGER}: is no ledger ({error}): restore it, or make {folder} anew") from error
        ledger.parts.update(ledger._journalled_parts())
        return ledger

    @classmethod
    def begin(
        cls,
        folder: Path,
        stage: Stage,
        inputs: Mapping[str, Any],
        settings: Mapping[str, Any],
        *,
        stamp: str = "",
        force: bool = False,
        is_elsewhere: IsElsewhere | None = None,
    ) -> Self:
        """Starts a stage in ``folder``, or goes on with the same one that was stopped there.

        ``stamp`` tells the state of the inputs while the run is not complete: one that goes on must find the same.
        ``is_elsewhere`` says whether a file that is not in the folder is as recorded where files are taken to.
        The result is a context manager that holds the folder against other processes. A run that fails
        before any part is done leaves the folder as it found it.

        Raises ConflictError where the folder holds anything else (``force`` replaces what another run of a
        stage wrote there, never files that are not ours) or where another process is at work in it.
        """
        _check_place(folder)
        made = make_folder(folder)[1:]
        with ExitStack() as lock:
            try:
                lock.enter_context(folder_locked(folder))
            except BlockingIOError as error:
                raise ConflictError(
                    f"{folder}: another taskcatalog command is at work there: wait for its end"
                ) from error
            ledger = cls._new(folder, stage, inputs, settings)
            there = ledger._settle_replaced()
            if there is not None:
                difference = there._difference(ledger, stage.defaults) or there._stamp_difference(stamp)
                if difference is None:
                    there._stage = stage
                    ledger = there
                elif not force:
                    raise ConflictError(f"{folder}: was made differently ({difference}): --force makes it anew")
                else:
                    ledger = there._replaced_by(ledger)
            if not ledger.complete:
                ledger._forget_lost_parts(is_elsewhere)
                ledger._write()
                if stamp and _STAMP not in ledger.parts:
                    ledger.finish_part(_STAMP, Part.of({}, _Stamp(stamp=stamp)))
            ledger._remove_unrecorded()
            ledger._made, ledger._lock = made, lock.pop_all()
        return ledger

    @classmethod
    def is_done(cls, folder: Path, stage: Stage, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
        """Whether ``begin`` would find it complete, so that nothing of what a run needs has to be there."""
        if not cls.exists(folder):
            return False
        there = cls.read(folder)
        return there.complete and there._difference(cls._new(folder, stage, inputs, settings), stage.defaults) is None

    @classmethod
    def _new(cls, folder: Path, stage: Stage, inputs: Mapping[str, Any], settings: Mapping[str, Any]) -> Self:
        # JSON has no tuples: compare with what would be read back.
        read_back: dict[str, Any] = json.loads(json.dumps({"inputs": inputs, "settings": settings}))
        return cls(folder=folder, stage=stage.name, version=__version__, _stage=stage, **read_back)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is not None and not self.is_under_way:
                self._undo()
            elif kind is not None and issubclass(kind, DiskFullError) and Replaced(self.folder).exists():
                note(f"{Replaced(self.folder).folder}: is the output that is being replaced: to remove it makes room")
        finally:
            self._lock.close()

    def finish_part(self, name: str, part: Part) -> None:
        """Records a part as done; from here on a resumed run will not do it again."""
        self.parts[name] = part
        record = {"name": name, **vars(part)}
        line = json.dumps(record | {"sha256": digest_of(record)})
        journal = self.folder / JOURNAL
        is_new = not journal.exists()
        with naming(journal), journal.open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            flush(self.folder)

    def forget(self, names: Iterable[str]) -> None:
        """Takes back finished parts, with their files, to do them again."""
        forgotten = [self.parts.pop(name) for name in list(names) if name != _STAMP]
        self.complete = False
        # First, or a kill before the ledger is written would bring back what is to be forgotten.
        remove_files([self.folder / JOURNAL])
        self._write()
        self._remove(self.folder / name for part in forgotten for name in part.files if is_below(name))

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Records the stage as complete and clears what only its run needed, and the output that it replaces."""
        self.facts = dict(facts)
        lasting = {name: self._without_work(part) for name, part in sorted(self.parts.items())}
        self.parts = {name: part for name, part in lasting.items() if part.files}
        self.complete = True
        self._write()
        self._remove_unrecorded()
        self.drop_replaced()

    def drop_replaced(self) -> None:
        """Removes the output that this one replaces, if one was set aside."""
        replaced = Replaced(self.folder)
        if replaced.exists():
            replaced.remove(self.read(replaced.folder)._set_aside_names())

    def facts_of(self, kind: type[F]) -> dict[str, F]:
        """What is known of the parts of one kind, by their names, in order."""
        own = sorted((name, part) for name, part in self.parts.items() if part.kind == kind.__name__)
        return {name: part.facts_as(kind) for name, part in own}

    def files(self) -> dict[Path, Mapping[str, Any]]:
        """Every file of every part, with its size and digests."""
        return {self.folder / name: facts for part in self.parts.values() for name, facts in part.files.items()}

    def damaged_files(self) -> list[str]:
        """What is wrong with the files, one line each; reads every byte."""
        return [problem for path, facts in self.files().items() if (problem := problem_of(path, facts))]

    @property
    def is_under_way(self) -> bool:
        """Whether anything was done that would be lost with it."""
        return self.complete or any(part.amount for part in self.parts.values())

    def _check_types(self) -> None:
        kinds = {"stage": str, "version": str, "inputs": dict, "settings": dict, "facts": dict, "complete": bool}
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise TypeError(f"{name} is {getattr(self, name)!r}")

    def _settle_replaced(self) -> Self | None:
        """The ledger that is there, if any, once what a kill left of a replaced output is settled."""
        replaced = Replaced(self.folder)
        there = self._read_here()
        if not replaced.exists():
            replaced.tidy()
            return there
        if there is not None and there.complete:
            there.drop_replaced()
        elif there is None or not there.is_under_way:
            if there is not None:
                there._remove_all()
            there = self._restored()
        return there

    def _restored(self) -> Self:
        """The output that was set aside, back in its place."""
        replaced = Replaced(self.folder)
        replaced.restore(self.read(replaced.folder)._set_aside_names())
        there = self._read_here()
        assert there is not None
        return there

    def _set_aside_names(self) -> list[str]:
        """What of an output is moved, besides its ledger, when it is set aside."""
        listed = [name for part in self.parts.values() for name in part.files if is_below(name) and not is_work(name)]
        work = [] if self.work.is_symlink() else [WORK]  # a link that somebody put stays
        return [JOURNAL, *work, *listed]

    def _read_here(self) -> Self | None:
        if not self.exists(self.folder):
            return None
        there = self.read(self.folder)
        there._stage = self._stage
        return there

    def _replaced_by(self, new: Self) -> Self:
        """Gives up this output, and returns the ledger to go on with.

        What is worth it is set aside until ``new`` is complete. Where that was done before, the output that was set
        aside stays so; or comes back, if it is what ``new`` would make.
        """
        replaced = Replaced(self.folder)
        if self.is_under_way and not replaced.exists():
            try:
                replaced.set_aside(self._set_aside_names())
                self._remove_empty_folders()
            except BaseException:
                if replaced.exists():
                    self._restored()
                raise
            return new
        self._remove_all()
        if not replaced.exists() or self.read(replaced.folder)._difference(new, self._stage.defaults) is not None:
            return new
        return self._restored()

    def _difference(self, other: "Ledger", defaults: Mapping[str, Any]) -> str | None:
        """Why ``other`` is not the same run as this one; None where it is."""
        if self.stage != other.stage:
            return f"by the stage {self.stage}, not {other.stage}"
        settings = {**defaults, **self.settings}, {**defaults, **other.settings}
        for there, here in (settings, (self.inputs, other.inputs)):
            for key in sorted(there.keys() | here.keys()):
                if there.get(key) != here.get(key):
                    return f"{key} was {there.get(key)!r}, not {here.get(key)!r}"
        if self.version != other.version and not self.complete:
            return f"begun by version {self.version}, not {other.version}"
        return None

    def _stamp_difference(self, stamp: str) -> str | None:
        begun = self.parts.get(_STAMP)
        if self.complete or begun is None or begun.facts_as(_Stamp).stamp == stamp:
            return None
        return "what it reads was changed since it began"

    def _forget_lost_parts(self, is_elsewhere: IsElsewhere | None) -> None:
        """Takes back parts whose files are not as they were written."""

        def is_lost(part: Part) -> bool:
            return any(
                problem_of(self.folder / name, facts, quickly=True) and not (is_elsewhere and is_elsewhere(name, facts))
                for name, facts in part.files.items()
                if is_below(name)  # what is beside the folder the stage looks after
            )

        with ThreadPoolExecutor(_LOOKED_AT_ONCE) as pool:
            found = zip(self.parts, pool.map(is_lost, self.parts.values()), strict=True)
            if lost := [name for name, is_so in found if is_so]:
                note(f"{self.folder}: files of {len(lost)} finished parts are missing or changed: these are done again")
                self.forget(lost)

    def _without_work(self, part: Part) -> Part:
        lasting = {name: facts for name, facts in part.files.items() if not is_work(name)}
        return replace(part, files=lasting)

    def _journalled_parts(self) -> dict[str, Part]:
        journal = self.folder / JOURNAL
        if self.complete or not is_file(journal):
            return {}
        parts = {}
        for line in read_bytes(journal).splitlines():
            # One that was cut by a kill, or damaged, counts for nothing: its part is done again.
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                record = json.loads(line)
                if record.pop("sha256") == digest_of(record):
                    parts[str(record["name"])] = part_of(record, self.folder)
        return parts

    def _write(self) -> None:
        """Writes the whole ledger; the journal's lines are in it, so the journal goes."""
        content = {
            "format": FORMAT,
            "stage": self.stage,
            "version": self.version,
            "complete": self.complete,
            "inputs": self.inputs,
            "settings": self.settings,
            "facts": self.facts,
            "parts": {name: vars(part) for name, part in self.parts.items()},
        }
        write_signed(self.folder / LEDGER, content)
        self.digest = digest_of(content)
        remove_files([self.folder / JOURNAL])

    def _undo(self) -> None:
        """Removes what a run that did nothing has left, and brings back what it was to replace."""
        self._remove_all()
        if Replaced(self.folder).exists():
            self._restored()
            return
        for folder in (self.folder, *self._made):
            if any(folder.iterdir()):  # another stage has begun there, or somebody has a file there
                break
            folder.rmdir()

    def _remove_all(self) -> None:
        """Removes this unfinished output. The ledger goes last: a folder without one is not ours to remove."""
        names = [name for part in self.parts.values() for name in part.files if is_below(name)]
        self.parts, self.complete = {}, False
        self._remove(self.folder / name for name in names)
        self._clear_work()
        self._remove_unrecorded()
        self._remove_empty_folders()
        remove_files([self.folder / JOURNAL, self.folder / LEDGER])

    def _remove_empty_folders(self) -> None:
        for folder in reversed(own_folders(self.folder, self._stage)):
            remove_empty_folder(folder)

    def _remove_unrecorded(self) -> None:
        """Removes files of the stage that no part has: half-written ones, and those of a run that was given up."""
        if self.complete:
            self._clear_work()
        keep = self.files().keys()
        self._remove(
            path for path in own_files(self.folder, self._stage) if path not in keep and self._may_remove(path)
        )

    def _may_remove(self, path: Path) -> bool:
        if final_name(path) is not None or is_work(path.relative_to(self.folder)):
            return True
        return self.complete if path == self.folder / JOURNAL else not self.complete

    def _remove(self, paths: Iterable[Path]) -> None:
        """Removes files, and the folders of the stage that are empty then."""
        gone = list(paths)
        remove_files(gone)
        for folder in sorted({folder for path in gone for folder in path.parents}, reverse=True):
            if folder.is_relative_to(self.folder) and folder != self.folder and not folder.is_symlink():
                remove_empty_folder(folder)

    def _clear_work(self) -> None:
        """Removes all that is in the folder of work files; the folder itself unless somebody put a link there."""
        if self.work.is_dir():
            for path in self.work.iterdir():
                if path.is_dir() and not path.is_symlink():
                    remove_folder(path)
                else:
                    path.unlink()
            if not self.work.is_symlink():
                self.work.rmdir()


def _check_place(folder: Path) -> None:
    """Raises ConflictError where a folder cannot become a stage's."""
    if folder.exists() and not folder.is_dir():
        raise ConflictError(f"{folder}: is a file: choose another output folder")
    if not folder.is_dir() or is_file(folder / LEDGER) or Replaced(folder).exists():
        return
    if any(final_name(path) != LEDGER for path in folder.iterdir()):
        raise ConflictError(f"{folder}: holds files that taskcatalog did not write: choose another output folder")
