"""Counts bigrams and trigrams with their prefixes, against DuckDB in memory, in one run.

    python benchmarks/ngrams.py [--tokens 20000000] [--repeats 3]

Ours is the whole command, from a flat file to tables on disk. DuckDB groups trigrams and bigrams that are in
memory already, and makes both prefix tables; nothing is written. The tables are compared row by row.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from real_text import SEQUENCE_LENGTH, write_flat

import taskcatalog as tc

_GRAMS = """CREATE TABLE {name} AS SELECT {ids}, count(*) AS count FROM trigram_places
    {where} GROUP BY {ids} ORDER BY {ids}"""
_PREFIXES = """CREATE TABLE {name} AS SELECT {prefix}, arg_max({best}, (count, -{best}::INT)) AS {best},
    sum(count) AS sum_count, max(count) AS max_count FROM {grams} GROUP BY {prefix} ORDER BY {prefix}"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--tokens", type=int, default=20_000_000)
    arguments.add_argument("--repeats", type=int, default=3)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flat, out = Path(folder) / "flat.bin", Path(folder) / "catalogue"
        n_tokens = write_flat(flat, options.tokens)
        print(f"{n_tokens:,} tokens of Python source")
        tc.ngrams(flat, out)  # compiles
        ratios = []
        for _ in range(options.repeats):
            shutil.rmtree(out)
            started = time.perf_counter()
            tc.ngrams(flat, out)
            ours = time.perf_counter() - started
            database = duckdb.connect()
            places = windows(flat)
            started = time.perf_counter()
            group_by(database, places)
            theirs = time.perf_counter() - started
            ratios.append(theirs / ours)
            print(f"taskcatalog {ours:6.2f} s  DuckDB {theirs:6.2f} s  ratio {theirs / ours:5.2f}")
        compare(tc.open(out), database)
        print(f"median ratio {np.median(ratios):.2f}, {n_tokens / ours / 1e6:.1f}M tokens/s; tables are equal")


def windows(flat: Path) -> pa.Table:
    """All trigrams within sequences, and the bigram at each sequence's end with a null behind it."""
    tokens = np.fromfile(flat, np.uint16).reshape(-1, SEQUENCE_LENGTH)
    third = np.full(tokens[:, 1:].shape, -1, np.int32)
    third[:, :-1] = tokens[:, 2:]
    columns = (tokens[:, :-1].ravel(), tokens[:, 1:].ravel(), third.ravel())
    return pa.table({f"id{i}": column for i, column in enumerate(columns)})


def group_by(database: duckdb.DuckDBPyConnection, places: pa.Table) -> None:
    database.register("trigram_places", places)
    database.execute(_GRAMS.format(name="trigrams", ids="id0, id1, id2", where="WHERE id2 >= 0"))
    database.execute(_GRAMS.format(name="bigrams", ids="id0, id1", where=""))
    database.execute(_PREFIXES.format(name="trigram_prefixes", prefix="id0, id1", best="id2", grams="trigrams"))
    database.execute(_PREFIXES.format(name="bigram_prefixes", prefix="id0", best="id1", grams="bigrams"))


def compare(catalogue: tc.Catalogue, database: duckdb.DuckDBPyConnection) -> None:
    for table in ("bigrams", "trigrams", "bigram_prefixes", "trigram_prefixes"):
        ours = catalogue.table(table).to_arrow_table()
        theirs = database.sql(f"SELECT * FROM {table} ORDER BY ALL").to_arrow_table()
        for name in theirs.column_names:
            if not np.array_equal(ours[name].to_numpy().astype(np.int64), theirs[name].to_numpy().astype(np.int64)):
                raise SystemExit(f"{table}: column {name} differs")


if __name__ == "__main__":
    main()
