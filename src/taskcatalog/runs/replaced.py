"""The output that a run with ``--force`` replaces: kept in ``.replaced/`` in its folder until the new one is complete.

The ledger goes there first and comes back last. So a folder that has one there and none of its own is to be restored,
wherever a kill or a power failure was.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from taskcatalog.runs.files import flush, make_folder, move_files, remove_empty_folder, remove_files, remove_folder
from taskcatalog.runs.stage import LEDGER

REPLACED = ".replaced"


@dataclass(frozen=True)
class Replaced:
    """What was set aside in the folder ``of`` a stage."""

    of: Path

    @property
    def folder(self) -> Path:
        return self.of / REPLACED

    @property
    def ledger(self) -> Path:
        return self.folder / LEDGER

    def exists(self) -> bool:
        return self.ledger.is_file()

    def set_aside(self, names: Iterable[str]) -> None:
        """Moves the ledger, and then the files and folders of these names, out of the stage's folder."""
        make_folder(self.folder)
        move_files([(self.of / LEDGER, self.ledger)])
        self._move(self.of, self.folder, names)

    def restore(self, names: Iterable[str]) -> None:
        """Moves them back, and then the ledger."""
        names = list(names)
        for name in names:  # where power was lost amid the move a folder is in both places, the same in each
            if (self.folder / name).is_dir() and (self.of / name).is_dir() and not (self.of / name).is_symlink():
                remove_folder(self.of / name)
        self._move(self.folder, self.of, names)
        move_files([(self.ledger, self.of / LEDGER)])
        self.tidy()

    def remove(self, names: Iterable[str]) -> None:
        """Removes what was set aside, the ledger last."""
        for path in (self.folder / name for name in names):
            if path.is_dir() and not path.is_symlink():
                remove_folder(path)
            else:
                remove_files([path])
        remove_files([self.ledger])
        self.tidy()

    def _move(self, source: Path, target: Path, names: Iterable[str]) -> None:
        """Those of them that are there: a kill may have come before the last ones, or after the first."""
        move_files((source / name, target / name) for name in names if (source / name).exists())

    def tidy(self) -> None:
        """Removes the folders for what is set aside, but for those that somebody has a file in."""
        if not self.folder.is_dir():
            return
        for folder, _, _ in os.walk(self.folder, topdown=False):
            remove_empty_folder(Path(folder))
        flush(self.of)
