"""Which files in a folder are a stage's own, and so may be removed: by their names, and no others."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from taskcatalog.runs.files import final_name
from taskcatalog.storage import AnyPath

LEDGER = "ledger.json"
JOURNAL = "ledger.parts.jsonl"
WORK = "work"
NUMBER = "[0-9]" * 5
"""In the names of a stage's files."""


@dataclass(frozen=True)
class Stage:
    """What one command makes."""

    name: str
    files: tuple[str, ...]
    """Patterns of the paths, below its folder, of all files that it writes there to stay."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What a setting is where a ledger does not have it, as one of a version that did not know the setting."""

    def owns_file(self, path: PurePath) -> bool:
        """Whether a path below its folder is of a file that it may have written."""
        return any(_matches(path.parts, pattern.split("/")) for pattern in self.files)

    def owns_folder(self, path: PurePath) -> bool:
        """Whether a path below its folder is of a folder that it may have made."""
        patterns = [pattern.split("/")[:-1] for pattern in self.files]
        return any(_matches(path.parts, pattern[: len(path.parts)]) for pattern in patterns)


def _matches(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))


def defaults_of(settings: type[Any]) -> dict[str, Any]:
    """The defaults of a dataclass of settings, as JSON has them."""
    known = {one.name: one.default for one in fields(settings) if one.default is not MISSING}
    read_back: dict[str, Any] = json.loads(json.dumps(known))
    return read_back


def own_folders(folder: Path, stage: Stage) -> list[Path]:
    """All folders in a stage's that it may have made, each before those in it; links are none."""
    own: list[Path] = []
    for name, folders, _ in os.walk(folder):
        here = Path(name)
        folders[:] = [one for one in folders if stage.owns_folder((here / one).relative_to(folder))]
        own += [here / one for one in folders if not (here / one).is_symlink()]
    return own


def own_files(folder: Path, stage: Stage) -> list[Path]:
    """All files in a stage's folder that it may have written, whole or half, but for the ledger."""
    own: list[Path] = []
    for name, folders, files in os.walk(folder):
        here = Path(name)
        below = here.relative_to(folder)
        folders[:] = [one for one in folders if is_work(below / one) or stage.owns_folder(below / one)]
        for file in files:
            final = below / (final_name(here / file) or file)
            half = final == PurePath(LEDGER) and file != LEDGER
            if half or final == PurePath(JOURNAL) or is_work(final) or (file != LEDGER and stage.owns_file(final)):
                own.append(here / file)
    return own


def is_work(path: str | PurePath) -> bool:
    """Whether a path below a ledger's folder is of a file that only the run needs."""
    return PurePath(path).parts[:1] == (WORK,)


def ledger_beside(file: AnyPath) -> AnyPath:
    """The folder with the ledger of an output that is one file."""
    return file.parent / f"{file.name}.ledger"


def is_below(name: str) -> bool:
    """Whether a file that a ledger lists belongs into its folder: a flat file lies beside."""
    return not name.startswith("..")
