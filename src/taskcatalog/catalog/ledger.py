"""The ledger of a stage's output: which parts are done, from which inputs, with which settings.

A folder that a stage writes holds ``ledger.json``::

    {"format": 1, "stage": "ngrams", "version": "0.1.0", "complete": true,
     "inputs": {...}, "settings": {...}, "facts": {...},
     "parts": {"merge-2-00000": {"files": {"bigrams/00000.parquet": {"bytes": 1, "sha256": "…"}}, "facts": {...}}},
     "sha256": "…"}

The last is the digest of all the rest, so a ledger that was changed is no ledger.

While the stage runs, each finished part is one line of ``ledger.parts.jsonl`` beside it; at the end these
lines move into ``ledger.json``, sorted by name. So the ledger, and not the existence of a file, says what is
done, and a finished ledger has no trace of the order in which parts were finished. Files under ``work/`` are
for the stage alone and go when it is complete.

Paths in a ledger are relative to its folder: a folder may be moved.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self, cast

from taskcatalog.catalog.files import folder_locked, is_temporary, read_json, sha256_of_file, write_json
from taskcatalog.errors import ConflictError, InputError
from taskcatalog.storage import AnyPath, is_file, read_bytes, size_of
from taskcatalog.version import __version__

FORMAT = 1
_LEDGER = "ledger.json"
_JOURNAL = "ledger.parts.jsonl"
_WORK = "work"


@dataclass(frozen=True)
class Part:
    """One finished part: its files, by path below the ledger's folder, and what is known of them."""

    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]


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
    _lock: ExitStack = field(default_factory=ExitStack)
    _made: list[Path] = field(default_factory=list)
    """The folders above that were made for this one, from the nearest up."""

    @property
    def work(self) -> Path:
        """Where the stage keeps files that only it needs."""
        return self.folder / _WORK

    @classmethod
    def exists(cls, folder: AnyPath) -> bool:
        return is_file(folder / _LEDGER)

    @classmethod
    def read(cls, folder: AnyPath) -> Self:
        """The ledger in ``folder``, with the parts that an unfinished run has done so far."""
        content = read_json(folder / _LEDGER)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise InputError(f"{folder / _LEDGER}: is not a ledger of format {FORMAT}: made by another version?")
        if content.pop("sha256", None) != _digest(content):
            raise InputError(f"{folder / _LEDGER}: is not as it was written: restore it, or make {folder} anew")
        parts = {name: Part(**part) for name, part in content["parts"].items()}
        ledger = cls(
            # A folder behind a URL can be looked at as one here can; only what writes needs it here.
            folder=cast(Path, folder),
            stage=content["stage"],
            version=content["version"],
            inputs=content["inputs"],
            settings=content["settings"],
            facts=content["facts"],
            parts=parts,
            complete=content["complete"],
        )
        ledger.parts.update(ledger._journalled_parts())
        return ledger

    @classmethod
    def begin(
        cls, folder: Path, stage: str, inputs: Mapping[str, Any], settings: Mapping[str, Any], force: bool = False
    ) -> Self:
        """Starts a stage in ``folder``, or goes on with the same one that was stopped there.

        The result is a context manager that holds the folder against other processes. A run that fails
        before any part is done takes its folder with it.

        Raises ConflictError where the folder holds anything else (``force`` gives up what another run of a
        stage wrote there, never files that are not ours) or where another process is at work in it.
        """
        if folder.exists() and not folder.is_dir():
            raise ConflictError(f"{folder}: is a file: choose another output folder")
        if not cls.exists(folder) and folder.is_dir() and any(not is_temporary(path) for path in folder.iterdir()):
            raise ConflictError(f"{folder}: holds files that taskcatalog did not write: choose another output folder")
        # JSON has no tuples: compare with what would be read back.
        read_back: dict[str, Any] = json.loads(json.dumps({"inputs": inputs, "settings": settings}))
        made = [path for path in folder.parents if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as lock:
            try:
                lock.enter_context(folder_locked(folder, wait=False))
            except BlockingIOError as error:
                raise ConflictError(
                    f"{folder}: another taskcatalog command is writing there: wait for its end"
                ) from error
            ledger = cls(folder=folder, stage=stage, version=__version__, **read_back)
            if cls.exists(folder):
                there = cls.read(folder)
                difference = there._difference(ledger)
                if difference is None:
                    ledger = there
                elif not force:
                    raise ConflictError(f"{folder}: was made differently ({difference}): --force makes it anew")
                else:
                    (folder / _JOURNAL).unlink(missing_ok=True)
            if not ledger.complete:
                ledger._write()
            ledger._remove_unrecorded()
            ledger._made, ledger._lock = made, lock.pop_all()
        return ledger

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        done = self.complete or any(part.facts.get("amount") for part in self.parts.values())
        if kind is not None and not done:
            shutil.rmtree(self.folder)
            for parent in self._made:
                if any(parent.iterdir()):  # another stage has begun there
                    break
                parent.rmdir()
        self._lock.close()

    def finish_part(
        self,
        name: str,
        files: Iterable[Path],
        facts: Mapping[str, Any],
        elsewhere: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Records a part as done; from here on a resumed run will not do it again.

        ``elsewhere`` describes files that are not in the folder, by the path that they would have below it.
        """
        described = dict(elsewhere or {}) | {str(path.relative_to(self.folder)): self._describe(path) for path in files}
        described = dict(sorted(described.items()))
        self.parts[name] = Part(files=described, facts=dict(facts))
        line = json.dumps({"name": name, "files": described, "facts": facts})
        with (self.folder / _JOURNAL).open("a") as journal:
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def forget(self, names: Iterable[str]) -> None:
        """Takes back finished parts, with their files, to do them again."""
        for name in list(names):
            del self.parts[name]
        self.complete = False
        # First, or a kill before the ledger is written would bring back what is to be forgotten.
        (self.folder / _JOURNAL).unlink(missing_ok=True)
        self._write()
        self._remove_unrecorded()

    def finish(self, facts: Mapping[str, Any]) -> None:
        """Records the stage as complete and clears what only its run needed."""
        self.facts = dict(facts)
        lasting = {name: self._without_work(part) for name, part in sorted(self.parts.items())}
        self.parts = {name: part for name, part in lasting.items() if part.files}
        self.complete = True
        self._write()
        self._remove_unrecorded()

    def files(self) -> dict[Path, Mapping[str, Any]]:
        """Every file of every part, with its size and, unless it is under ``work/``, its SHA-256."""
        return {self.folder / name: facts for part in self.parts.values() for name, facts in part.files.items()}

    def damaged_files(self) -> list[str]:
        """What is wrong with the files, one line each; reads every byte."""
        return [problem for path, facts in self.files().items() if (problem := _problem(path, facts))]

    def _difference(self, other: Self) -> str | None:
        """Why ``other`` is not the same run as this one; None where it is."""
        if self.stage != other.stage:
            return f"by the stage {self.stage}, not {other.stage}"
        for there, here in ((self.settings, other.settings), (self.inputs, other.inputs)):
            for key in sorted(there.keys() | here.keys()):
                if there.get(key) != here.get(key):
                    return f"{key} was {there.get(key)!r}, not {here.get(key)!r}"
        if self.version != other.version and not self.complete:
            return f"begun by version {self.version}, not {other.version}"
        return None

    def _describe(self, path: Path) -> dict[str, Any]:
        size: dict[str, Any] = {"bytes": path.stat().st_size}
        return size if path.is_relative_to(self.work) else size | {"sha256": sha256_of_file(path)}

    def _without_work(self, part: Part) -> Part:
        lasting = {name: facts for name, facts in part.files.items() if Path(name).parts[0] != _WORK}
        return Part(files=lasting, facts=part.facts)

    def _journalled_parts(self) -> dict[str, Part]:
        journal = self.folder / _JOURNAL
        if self.complete or not is_file(journal):
            return {}
        # A kill may have cut the last line: a line counts once its end is there.
        lines = read_bytes(journal).rpartition(b"\n")[0].splitlines()
        try:
            records = [json.loads(line) for line in lines]
            return {record["name"]: Part(files=record["files"], facts=record["facts"]) for record in records}
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{journal}: is damaged ({error}): remove {self.folder} and begin anew") from error

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
            "parts": {name: {"files": part.files, "facts": part.facts} for name, part in self.parts.items()},
        }
        write_json(self.folder / _LEDGER, content | {"sha256": _digest(content)})
        (self.folder / _JOURNAL).unlink(missing_ok=True)

    def _remove_unrecorded(self) -> None:
        """Removes files that no part has: half-written ones, and those of a run that was given up.

        From a complete stage only what its run had for itself: somebody may have put a file of their own there.
        """
        keep = self.files().keys() | {self.folder / _LEDGER}
        for path in sorted(self.folder.rglob("*"), reverse=True):  # what is in a folder before the folder
            of_the_run = is_temporary(path) or path.is_relative_to(self.work) or path == self.folder / _JOURNAL
            if self.complete and not of_the_run:
                continue
            if path.is_dir() and not path.is_symlink():
                if not any(path.iterdir()):
                    path.rmdir()
            elif path not in keep:
                path.unlink()


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _problem(path: AnyPath, facts: Mapping[str, Any]) -> str | None:
    if not is_file(path):
        return f"{path}: is missing"
    if (size := size_of(path)) != facts["bytes"]:
        return f"{path}: has {size} bytes, the ledger says {facts['bytes']}"
    if "sha256" in facts and sha256_of_file(path) != facts["sha256"]:
        return f"{path}: its content is not what the ledger says (SHA-256 differs)"
    return None
