"""Arrow schemas of tables, and the names of tables and columns."""

import pyarrow as pa

from taskcatalog.tables import corpus
from taskcatalog.tables.names import (
    MAX_N,
    MEASURES,
    above_count,
    id_columns,
    id_dtype,
    ngram_table,
    prefix_table,
    scan_table,
    top_table,
)

__all__ = [
    "MAX_N",
    "MEASURES",
    "above_count",
    "documents_schema",
    "id_columns",
    "id_dtype",
    "ngram_table",
    "prefix_table",
    "scan_table",
    "top_table",
]


def documents_schema() -> pa.Schema:
    """The document index of a token store."""
    return corpus.documents().schema()
