"""The parts that a ledger records: their files, with sizes and digests, and what is known of them."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Self, TypeVar

from taskcatalog.runs.files import digests_of_file
from taskcatalog.runs.replaced import REPLACED
from taskcatalog.runs.stage import is_work
from taskcatalog.storage import AnyPath, is_file, size_of


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a finished part besides its files. Each kind of part has a class of its own, named for it, of
    what JSON can say."""

    amount: int = 0
    """How much of the stage's unit of work (tokens, rows, prompts) it did."""
    is_last: bool = True
    """Whether its job ends with it."""


F = TypeVar("F", bound=Facts)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One finished part: its files, by path below the ledger's folder, and what is known of them."""

    files: Mapping[str, Mapping[str, Any]]
    kind: str
    """The name of the class of its facts."""
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, files: Mapping[str, Mapping[str, Any]], facts: Facts) -> Self:
        return cls(files=files, kind=type(facts).__name__, facts=asdict(facts))

    @property
    def amount(self) -> int:
        return int(self.facts["amount"])

    @property
    def is_last(self) -> bool:
        return bool(self.facts["is_last"])

    def facts_as(self, kind: type[F]) -> F:
        assert self.kind == kind.__name__
        return kind(**self.facts)


def finished(folder: Path, files: Iterable[Path], facts: Facts) -> Part:
    """A part that wrote these files into the ledger's folder."""
    names = sorted((path.relative_to(folder).as_posix(), path) for path in files)
    return Part.of({name: describe(path, is_work(name)) for name, path in names}, facts)


def part_of(record: Mapping[str, Any], folder: AnyPath) -> Part:
    """Raises an error that names what is wrong with the record of a part."""
    files, kind, facts = record["files"], record["kind"], record["facts"]
    if folder.name == REPLACED:  # what was set aside keeps its names
        folder = folder.parent
    for name, described in files.items():
        path = PurePath(name)
        beside = name == f"../{folder.name.removesuffix('.ledger')}" and folder.name.endswith(".ledger")
        if not beside and (path.is_absolute() or ".." in path.parts or not path.parts):
            raise ValueError(f"{name!r} lies outside its folder")
        if not isinstance(described["bytes"], int):
            raise TypeError(f"{name!r} has {described['bytes']!r} bytes")
    if not isinstance(facts["amount"], int) or not isinstance(facts["is_last"], bool):
        raise TypeError(f"its amount is {facts['amount']!r} and is_last {facts['is_last']!r}")
    return Part(files=dict(files), kind=str(kind), facts=dict(facts))


def describe(path: Path, is_work: bool = False) -> dict[str, Any]:
    """What a ledger says of a file: its size, a digest to look at it quickly, and one to be sure, of one that stays."""
    digests = digests_of_file(path, ("xxh3",) if is_work else ("sha256", "xxh3"))
    return {"bytes": path.stat().st_size} | digests


def wrong_size(path: AnyPath, facts: Mapping[str, Any]) -> str | None:
    """What is wrong with a file that a ledger describes so, without looking into it; None where nothing is."""
    if not is_file(path):
        return f"{path}: is missing"
    if (size := size_of(path)) != facts["bytes"]:
        return f"{path}: has {size} bytes, the ledger says {facts['bytes']}"
    return None


def problem_of(path: AnyPath, facts: Mapping[str, Any], *, quickly: bool = False) -> str | None:
    """What is wrong with a file that a ledger describes so; ``quickly`` goes by the fast digest."""
    if problem := wrong_size(path, facts):
        return problem
    kind = "xxh3" if quickly or "sha256" not in facts else "sha256"
    if digests_of_file(path, (kind,)) != {kind: facts[kind]}:
        return f"{path}: its content is not what the ledger says ({kind} differs)"
    return None
