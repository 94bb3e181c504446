"""The output that a run with ``--force`` replaces: kept in ``.replaced/`` in its folder until the new one is complete.

The ledger goes there first and comes back last. So a folder that has one there and none of its own is to be restored,
wherever a kill or a power failure was.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from taskcatalog.catalog.files import flush, make_folder, move_files, remove_folder

REPLACED = ".replaced"


@dataclass(frozen=True)
class Replaced:
    """What was set aside in the folder ``of`` a stage."""

    of: Path

    @property
    def folder(self) -> Path:
        return self.of / REPLACED

    def exists(self) -> bool:
        return self.folder.is_dir()

    def set_aside(self, ledger: str, others: Iterable[str]) -> None:
        """Moves the files, or folders, of these names below the stage's folder; those that are missing are left out."""
        make_folder(self.folder)
        move_files([(self.of / ledger, self.folder / ledger)])
        move_files((self.of / name, self.folder / name) for name in others if (self.of / name).exists())

    def restore(self) -> None:
        """Moves all back, the ledger last."""
        ledger = self.folder / "ledger.json"
        files = [path for path in self.folder.rglob("*") if not path.is_dir() and path != ledger]
        move_files((path, self.of / path.relative_to(self.folder)) for path in files)
        if ledger.is_file():
            move_files([(ledger, self.of / ledger.name)])
        self.remove()

    def remove(self) -> None:
        if self.exists():
            remove_folder(self.folder)
            flush(self.of)
