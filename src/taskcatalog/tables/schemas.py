"""Names and columns of the tables. A catalog's tables are named here and nowhere else."""

import numpy as np
import pyarrow as pa
from numpy.typing import DTypeLike

MAX_N = 5
_GRAMS = {1: "unigrams", 2: "bigrams", 3: "trigrams", 4: "4grams", 5: "5grams"}


def ngram_table(n: int) -> str:
    return _GRAMS[n]


def prefix_table(n: int) -> str:
    """The table of prefixes of n-grams: of their first n-1 ids."""
    return f"{_GRAMS[n].removesuffix('s')}_prefixes"


def top_table(n: int) -> str:
    return f"top_{_GRAMS[n]}"


def above_count(n: int, min_prefix_count: int) -> int:
    """A top table takes prefixes that occur more often than this. Bigrams have so few that rare ones are taken, too."""
    return 0 if n == 2 else min_prefix_count


def scan_table(prompt_length: int) -> str:
    return f"scan_{prompt_length}"


def id_columns(n: int) -> list[str]:
    return [f"id{i}" for i in range(n)]


def id_dtype(vocabulary_size: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """uint16 where every id fits, else uint32."""
    return np.dtype(np.uint16) if vocabulary_size <= 2**16 else np.dtype(np.uint32)


def _id_fields(n: int, ids: DTypeLike) -> list[pa.Field]:
    return [pa.field(name, pa.from_numpy_dtype(ids), nullable=False) for name in id_columns(n)]


def _fields(**types: pa.DataType) -> list[pa.Field]:
    return [pa.field(name, kind, nullable=False) for name, kind in types.items()]


def tokens_schema(ids: DTypeLike) -> pa.Schema:
    return pa.schema(_fields(id=pa.from_numpy_dtype(ids), token=pa.string(), bytes=pa.binary()))


def ngram_schema(n: int, ids: DTypeLike) -> pa.Schema:
    return pa.schema(_id_fields(n, ids) + _fields(count=pa.uint64()))


def prefix_schema(n: int, ids: DTypeLike) -> pa.Schema:
    """The prefix's ids, then the id of its most frequent completion."""
    numbers = _fields(
        sum_count=pa.uint64(),
        max_count=pa.uint64(),
        frac_max=pa.float64(),
        completions=pa.uint32(),
        entropy=pa.float32(),
    )
    return pa.schema(_id_fields(n, ids) + numbers)


def top_schema(n: int, ids: DTypeLike) -> pa.Schema:
    texts = [pa.field(name, pa.string()) for name in [*(f"token{i}" for i in range(n)), "seq"]]
    return pa.schema([*prefix_schema(n, ids), *texts])


def predictions_schema(ids: DTypeLike) -> pa.Schema:
    id_type = pa.from_numpy_dtype(ids)
    return pa.schema(
        _fields(
            model=pa.string(),
            revision=pa.string(),
            dtype=pa.string(),
            n=pa.uint8(),
            ids=pa.list_(pa.field("element", id_type, nullable=False)),
            p=pa.float32(),
            rank=pa.uint32(),
            best_id=pa.uint32(),
            best_p=pa.float32(),
            entropy=pa.float32(),
        )
    )


def scan_schema(ids: DTypeLike) -> pa.Schema:
    id_list = pa.list_(pa.field("element", pa.from_numpy_dtype(ids), nullable=False))
    known = _fields(
        p_short=pa.float32(),
        p_long=pa.float32(),
        JS=pa.float32(),
        long_ids=id_list,
        short_max_id=pa.uint32(),
        long_max_id=pa.uint32(),
    )
    places = _fields(
        context_ids=id_list,
        p_delta_max=pa.float32(),
        logit_excite_max=pa.float32(),
        logit_inhibit_max=pa.float32(),
        batch=pa.uint64(),
        sample=pa.uint8(),
        start=pa.uint32(),
        task_id=pa.string(),
        model=pa.string(),
        count=pa.uint64(),
        jsd=pa.float32(),
    )
    text, short, long, context = (pa.field(name, pa.string()) for name in _SCAN_TEXTS)
    doubtful = [pa.field("true_next_id", pa.from_numpy_dtype(ids)), pa.field("crosses_document", pa.bool_())]
    return pa.schema([text, short, long, *known, context, *places, *doubtful])


_SCAN_TEXTS = ("text", "token_short", "token_long", "context")


def measures_schema(length: int, ids: DTypeLike) -> pa.Schema:
    """Every distinct long prompt of so many tokens that was asked, accepted or not."""
    measures = _fields(
        count=pa.uint64(),
        model=pa.dictionary(pa.int32(), pa.string()),
        short_max_id=pa.uint32(),
        long_max_id=pa.uint32(),
        **dict.fromkeys(SCAN_MEASURES, pa.float32()),
    )
    return pa.schema(_id_fields(length, ids) + measures)


MEASURES = "measures"
"""The folder in a scan's for those tables."""
SCAN_MEASURES = ("p_short", "p_long", "JS", "jsd", "p_delta_max", "logit_excite_max", "logit_inhibit_max")


def documents_schema() -> pa.Schema:
    """The document index of a token store."""
    text = pa.dictionary(pa.int32(), pa.string())
    return pa.schema(
        [
            pa.field("start", pa.uint64(), nullable=False),  # in the part
            pa.field("n_tokens", pa.uint64(), nullable=False),
            pa.field("source", text, nullable=False),
            pa.field("place", pa.uint64(), nullable=False),  # line or row, from 1; 0 for a file that is one document
            pa.field("meta", text),
        ]
    )
