"""What a stage that writes into a catalog returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from taskcatalog.catalog.catalog import Catalog


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a stage made in a catalog."""

    folder: Path
    """Of the catalog."""
    rows: Mapping[str, int]
    """How many rows each table has that the stage made."""
    seconds: float = field(compare=False)
    """That the call took; of a run that was stopped before, only since then."""

    @cached_property
    def catalog(self) -> Catalog:
        """The catalog, opened when it is first asked for."""
        return Catalog(self.folder)
