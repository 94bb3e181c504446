"""The top tables: prefixes whose most frequent completion has more than a given share, with their texts."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taskcatalog.tables.names import id_columns, id_dtype
from taskcatalog.tables.ngrams import top
from taskcatalog.tables.parquet import arrow_column, numpy_column, table_writer
from taskcatalog.tables.sorting import parquet_files, sorted_batches
from taskcatalog.vocabulary import Vocabulary


def write_top_table(
    prefix_files: list[Path],
    n: int,
    vocabulary_size: int,
    vocabulary: Vocabulary | None,
    min_share: float,
    above_count: int,
    memory: int,
    out: Path,
    spill: Path,
) -> int:
    """Writes the prefixes with ``frac_max`` > ``min_share`` and ``sum_count`` > ``above_count``, most frequent
    first, of equals by ids; returns the number of rows. Sorts within ``memory`` bytes, in ``spill`` if more."""
    ids = id_columns(n)
    query = f"""SELECT * FROM {parquet_files(prefix_files)} WHERE frac_max > ? AND sum_count > ?
        ORDER BY sum_count DESC, {", ".join(ids)}"""
    with table_writer(out, top(n).schema(id_dtype(vocabulary_size))) as writer:
        for table in sorted_batches(query, memory, spill, [min_share, above_count]):
            columns = {name: table[name].combine_chunks() for name in table.column_names}
            writer.write(columns | _texts(np.stack([numpy_column(table, name) for name in ids], 1), vocabulary))
    return writer.n_rows


def _texts(grams: NDArray[Any], vocabulary: Vocabulary | None) -> dict[str, pa.Array]:
    """``token0`` …, the text of each id alone, and ``seq``, of all together; nulls without a tokenizer."""
    names = [f"token{i}" for i in range(grams.shape[1])]
    if vocabulary is None:
        return dict.fromkeys([*names, "seq"], pa.nulls(len(grams), pa.string()))
    ids, inverse = np.unique(grams, return_inverse=True)
    texts = arrow_column([vocabulary.text([id_]) for id_ in ids.tolist()], pa.string())
    tokens = dict(
        zip(
            names,
            (texts.take(arrow_column(column, pa.int64())) for column in inverse.reshape(grams.shape).T),
            strict=True,
        )
    )
    return tokens | {"seq": arrow_column([vocabulary.text(gram) for gram in grams.tolist()], pa.string())}
