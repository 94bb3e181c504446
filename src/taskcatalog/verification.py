"""Verifies whatever a path names: a store or a catalogue."""

from pathlib import Path

from taskcatalog.catalog.verify import is_catalogue, verify_catalogue
from taskcatalog.corpus.stores.open_store import StoreOptions
from taskcatalog.corpus.stores.verify import verify_store
from taskcatalog.storage import AnyPath, locate


def verify(path: str | AnyPath, options: StoreOptions | None = None, *, memory: str | None = None) -> list[str]:
    """Reads everything again and returns what is wrong, one line each; nothing where all is well.

    The rules between a catalogue's tables are checked within ``memory`` (as ``8GB``), and spill to disk.

    Raises InputError where ``path`` is neither a store nor a catalogue.
    """
    path = locate(path)
    if isinstance(path, Path) and is_catalogue(path):
        return verify_catalogue(path, memory)
    return verify_store(path, options)
