"""Verifies whatever a path names: a store or a catalogue."""

from pathlib import Path

from taskcatalog.catalog.verify import verify_catalogue
from taskcatalog.corpus.open_store import StoreOptions
from taskcatalog.corpus.verify import verify_store


def verify(path: str | Path, options: StoreOptions | None = None) -> list[str]:
    """Reads everything again and returns what is wrong, one line each; nothing where all is well.

    Raises InputError where ``path`` is neither a store nor a catalogue.
    """
    path = Path(path)
    if (path / "catalog.json").is_file():
        return verify_catalogue(path)
    return verify_store(path, options)
