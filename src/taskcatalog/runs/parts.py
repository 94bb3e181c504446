"""The parts that a ledger records: their files, with sizes and digests, and what is known of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from taskcatalog.runs.files import digests_of_file
from taskcatalog.runs.replaced import REPLACED
from taskcatalog.storage import AnyPath, is_file, size_of


@dataclass(frozen=True)
class Part:
    """One finished part: its files, by path below the ledger's folder, and what is known of them."""

    files: Mapping[str, Mapping[str, Any]]
    facts: Mapping[str, Any]


def part_of(record: Mapping[str, Any], folder: AnyPath) -> Part:
    """Raises an error that names what is wrong with the record of a part."""
    files, facts = record["files"], record["facts"]
    if folder.name == REPLACED:  # what was set aside keeps its names
        folder = folder.parent
    for name, described in files.items():
        path = PurePath(name)
        beside = name == f"../{folder.name.removesuffix('.ledger')}" and folder.name.endswith(".ledger")
        if not beside and (path.is_absolute() or ".." in path.parts or not path.parts):
            raise ValueError(f"{name!r} lies outside its folder")
        if not isinstance(described["bytes"], int):
            raise TypeError(f"{name!r} has {described['bytes']!r} bytes")
    return Part(files=dict(files), facts=dict(facts))


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
