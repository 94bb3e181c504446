"""What a disk would hold after a loss of power, from the list of operations that came before it.

By the letter of POSIX: the content of a file lasts as it was when the file was last synced, and a name (made, renamed,
removed) lasts once the folder that holds it was synced after. Two losses are told:

- ``all``: whatever was not synced is lost;
- ``data``: names have lasted, as on many file systems, and the data that was not synced is lost.

Left out: losses between these two, and data that lasts though it was not synced.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from faults.shim import Operation

Loss = Literal["all", "data"]
_DELETED = " (deleted)"


@dataclass(eq=False)
class _Node:
    """A file or a folder, as it is and as it lasts."""

    is_folder: bool
    lasting: Path | None = None
    """A copy of a file's content when it was last synced; None while it never was."""
    link: str | None = None
    names: "dict[str, _Node]" = field(default_factory=dict)
    lasting_names: "dict[str, _Node]" = field(default_factory=dict)


class Disk:
    """A folder's disk: takes one operation after the other."""

    def __init__(self, root: Path, before: Path, synced: Path) -> None:
        """``before`` is a copy of what ``root`` held; all of that lasts. ``synced`` holds what was synced."""
        self._root, self._synced = root, synced
        self._top = _read(before)
        self._count = 0

    def do(self, operation: Operation) -> None:
        self._count += 1
        path = operation.path
        if path.endswith(_DELETED) or operation.kind in ("write", "allocate", "map", "hint", "open", "truncate"):
            return  # content lasts when it is synced
        if operation.kind == "create":
            self._put(path, _Node(False))
        elif operation.kind == "mkdir":
            self._put(path, _Node(True))
        elif operation.kind == "symlink":
            self._put(path, _Node(False, link=operation.other))
        elif operation.kind in ("unlink", "rmdir"):
            self._take(path)
        elif operation.kind in ("rename", "link"):
            node = self._find(path)
            if operation.kind == "rename":
                self._take(path)
            self._put(operation.other, node)
        elif operation.kind == "fsync":
            self._find(path).lasting = self._synced / str(self._count)
        elif operation.kind == "fsyncdir":
            node = self._find(path)
            node.lasting_names = dict(node.names)
        else:
            raise AssertionError(f"an operation that is not known: {operation}")

    def signature(self, loss: Loss) -> str:
        """Two states with the same one are the same on disk."""
        return "\n".join(f"{path}\t{node.link or node.lasting or node.is_folder}" for path, node in self._walk(loss))

    def write(self, target: Path, loss: Loss) -> None:
        """Makes the disk after the loss, in a folder that is not there yet."""
        target.mkdir()
        for path, node in self._walk(loss):
            if node.is_folder:
                (target / path).mkdir()
            elif node.link is not None:
                (target / path).symlink_to(node.link)
            elif node.lasting is None:
                (target / path).touch()
            else:
                shutil.copyfile(node.lasting, target / path)

    def _walk(self, loss: Loss) -> Iterator[tuple[Path, _Node]]:
        def below(node: _Node, place: Path) -> Iterator[tuple[Path, _Node]]:
            for name, child in sorted((node.lasting_names if loss == "all" else node.names).items()):
                yield place / name, child
                yield from below(child, place / name)

        return below(self._top, Path())

    def _parts(self, path: str) -> Sequence[str]:
        return Path(path).relative_to(self._root).parts

    def _find(self, path: str) -> _Node:
        node = self._top
        for name in self._parts(path):
            node = node.names[name]
        return node

    def _put(self, path: str, node: _Node) -> None:
        self._find(str(Path(path).parent)).names[Path(path).name] = node

    def _take(self, path: str) -> None:
        # What failed, because it was not there, is in the list too.
        self._find(str(Path(path).parent)).names.pop(Path(path).name, None)


def _read(path: Path) -> _Node:
    if not path.is_dir():
        return _Node(False, lasting=path)
    names = {child.name: _read(child) for child in path.iterdir()}
    return _Node(True, names=names, lasting_names=dict(names))
