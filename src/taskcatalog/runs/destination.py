"""Where a stage's files belong: in a folder here, or in one behind a URL such as ``s3://bucket/prefix``.

Here, that is the ledger's own folder. For a URL the stage works in a staging folder, which holds its ledger: each
part's files are uploaded as soon as they are finished, then removed here. What makes a folder a finished one goes
last: the ``index.json`` of MDS once all shards are there, and ``ledger.json`` after everything. So what a killed
run leaves behind the URL counts for nothing until the same command, with the same staging folder, has ended it;
and then the files there are those that would be here.

Left out: holding the folder behind the URL against other machines that write to it at the same time.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from taskcatalog.errors import ConflictError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.outputs import check_outside
from taskcatalog.runs.parts import Facts, Part, finished
from taskcatalog.runs.progress import note
from taskcatalog.runs.stage import Stage, is_work
from taskcatalog.storage import (
    AnyPath,
    is_file,
    is_remote,
    lies_in,
    locate,
    locate_here,
    read_bytes,
    remove,
    size_of,
    upload,
)

if TYPE_CHECKING:
    from upath import UPath

_LEDGER, _INDEX = "ledger.json", "index.json"
_TRANSFERS_AT_ONCE = 16


@dataclass(frozen=True)
class Destination:
    folder: Path
    """Where files are written, and the ledger is."""
    remote: "UPath | None" = None
    """Where they belong, if that is not ``folder``."""

    def begin(
        self, stage: Stage, inputs: Mapping[str, Any], settings: Mapping[str, Any], *, stamp: str, force: bool
    ) -> Ledger:
        """``Ledger.begin``, with the same rules for the folder behind the URL.

        Raises ConflictError where that holds what this staging folder did not write, or lacks what it did.
        """
        before = Ledger.read(self.folder) if self.remote is not None and Ledger.exists(self.folder) else None
        ledger = Ledger.begin(
            self.folder, stage, inputs, settings, stamp=stamp, force=force, is_elsewhere=self._is_uploaded
        )
        if self.remote is not None:
            try:
                _settle(self.remote, ledger, before, force)
            except BaseException as error:
                ledger.__exit__(type(error), error, None)
                raise
        return ledger

    def finished(self, files: Sequence[Path], facts: Facts, keep: Sequence[Path] = ()) -> Part:
        """A part that wrote these files, which are taken where they belong; those to ``keep`` only the stage needs,
        here."""
        part = finished(self.folder, [*files, *keep], facts)
        if self.remote is not None:
            for path in files:
                upload(path, self.remote / self._name(path))
                path.unlink()
        return part

    def publish(self, ledger: Ledger) -> None:
        """Uploads what a finished stage still has here, unless that was done: the ledger says so behind the URL."""
        remote = self.remote
        if remote is None or _is_published(remote, ledger):
            return
        here = [path for path in ledger.files() if path.is_file()]
        # The index of all shards before those of sub-directories, as where it is written.
        first = [path for path in here if path.parent == self.folder]
        for path in first:
            upload(path, remote / self._name(path))
        with ThreadPoolExecutor(_TRANSFERS_AT_ONCE) as executor:
            others = [path for path in here if path not in first]
            list(executor.map(lambda path: upload(path, remote / self._name(path)), others))
        upload(self.folder / _LEDGER, remote / _LEDGER)

    def _is_uploaded(self, name: str, facts: Mapping[str, Any]) -> bool:
        """Whether a file is where it belongs, if that is behind the URL, and of the size that it had."""
        return (
            self.remote is not None
            and not is_work(name)
            and not (self.folder / name).exists()
            and is_file(self.remote / name)
            and size_of(self.remote / name) == facts["bytes"]
        )

    def _name(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()


def destination(out: str | AnyPath, staging: str | Path | None) -> Destination:
    """``out`` itself, or for a URL a folder of its own in ``staging``, by default in the user's cache."""
    target = locate(out)
    if not is_remote(target):
        return Destination(Path(str(target)))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    own = hashlib.sha256(str(target).rstrip("/").encode()).hexdigest()[:16]
    return Destination(locate_here(staging or cache / "taskcatalog" / "staging") / own, cast("UPath", target))


def check_apart(out: str | AnyPath, sources: Iterable[AnyPath], files: Iterable[AnyPath] = ()) -> None:
    """Raises ConflictError where an output is, holds or lies in something that it is made from, or holds files that
    it is made from; or where it lies in another output."""
    target = locate(out)
    inside = [source for source in sources if lies_in(target, source) or lies_in(source, target)]
    inside += [folder for folder in {file.parent: None for file in files} if lies_in(folder, target)]
    if inside:
        raise ConflictError(f"{out}: it is made from {inside[0]}, and would be written there: choose another output")
    if isinstance(target, Path):
        check_outside(target)


def _settle(remote: "UPath", ledger: Ledger, before: Ledger | None, force: bool) -> None:
    """Makes sure that what lies behind the URL is this run's, or gives it up."""
    if _is_published(remote, ledger):
        return
    there = _content(remote / _LEDGER)
    written = [Ledger.read(remote)] if there else []
    written += [before] if before else []
    ours = {name for old in written for part in old.parts.values() for name in part.files}
    if _INDEX not in ours and is_file(remote / _INDEX):
        raise ConflictError(f"{remote}: holds an {_INDEX} that taskcatalog did not write: choose another place")
    problem = _first_missing(remote, ledger) if there is None else "was written by another run or another machine"
    if problem and not force:
        raise ConflictError(f"{remote}: {problem}: --force makes it anew")
    if force and (problem or not ledger.is_under_way):
        if ours:
            note(f"{remote}: what was written there before is removed first")
        ledger.drop_replaced()  # without its files there, it could not come back
        # What says "finished" goes first, and the ledger after the index that it shows to be ours.
        remove([remote / _INDEX, remote / _LEDGER, *(remote / name for name in sorted(ours))])
        ledger.forget(ledger.parts)


def _is_published(remote: "UPath", ledger: Ledger) -> bool:
    return ledger.complete and _content(remote / _LEDGER) == (ledger.folder / _LEDGER).read_bytes()


def _first_missing(remote: "UPath", ledger: Ledger) -> str | None:
    """What is not behind the URL as the ledger has it; what is here is not uploaded yet."""
    parts = ledger.parts.values()
    uploaded = [(name, facts["bytes"]) for part in parts for name, facts in part.files.items()]
    uploaded = [(name, size) for name, size in uploaded if not (ledger.folder / name).is_file()]

    def is_there(file: tuple[str, int]) -> bool:
        return is_file(remote / file[0]) and size_of(remote / file[0]) == file[1]

    with ThreadPoolExecutor(_TRANSFERS_AT_ONCE) as executor:
        for (name, _), fine in zip(uploaded, executor.map(is_there, uploaded), strict=True):
            if not fine:
                return f"{name} is missing or of another size, though it was written"
    return None


def _content(path: "UPath") -> bytes | None:
    return read_bytes(path) if is_file(path) else None
