"""What a path leads to, for the message about one that was given in the place of another."""

from pathlib import Path

from taskcatalog.storage import AnyPath
from taskcatalog.stores.format import StoreOptions
from taskcatalog.stores.formats import format_at

_CATALOG, _MODEL = "a catalog", "a model"
_PLACES = {
    _CATALOG: "name it where the command has CATALOG or --out",
    _MODEL: "name it with --model",
}
_PLACE_OF_STORE = "name it where the command has STORE"


def mistaken(path: AnyPath, wanted: str) -> str | None:
    """Says that ``path`` is a catalog, a model or a store, and not what is ``wanted``; None where it is none of
    these."""
    if not isinstance(path, Path) or not path.exists():
        return None
    if (path / "catalog.json").is_file():
        kind = _CATALOG
    elif (path / "config.json").is_file():
        kind = _MODEL
    elif found := format_at(path, StoreOptions()):
        kind = found.name
    else:
        return None
    return f"is {kind}, and {wanted} is wanted here: {_PLACES.get(kind, _PLACE_OF_STORE)}"
