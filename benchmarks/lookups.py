"""Looks up completions and counts in a catalog, against DuckDB on the same files, in one run.

    python benchmarks/lookups.py [--store STORE [--grow]] [--tokens 40000000]

``catalog.complete`` gets prefixes of the text, one at a time; DuckDB the same as queries with a WHERE.
``catalog.count`` gets a million trigrams of the text at once; DuckDB joins them with the table. Both sides must
give the same.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from ngrams import write_tokens
from numpy.typing import NDArray

import taskcatalog as tc

_PREFIXES = 200
_TRIGRAMS = 1_000_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--store", help="a token store of 16-bit ids")
    arguments.add_argument("--tokens", type=int, default=40_000_000)
    arguments.add_argument("--grow", action="store_true", help="make more tokens from those of the store")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        flat, out = Path(name) / "flat.bin", Path(name) / "catalog"
        n_tokens, tokenizer = write_tokens(flat, options.store, options.tokens, options.grow)
        rows = tc.ngrams(flat, out, options=tc.StoreOptions(tokenizer=str(tokenizer)))
        print(f"{n_tokens:,} tokens, {rows.rows['trigrams']:,} distinct trigrams")
        tokens = np.memmap(flat, np.uint16, "r")
        catalog = tc.Catalog(out)
        files = f"'{out}/ngrams/{{}}/*.parquet'"
        for n, table in ((2, "bigrams"), (3, "trigrams")):
            lookups(catalog, files.format(table), grams(tokens, _PREFIXES, n - 1))
        counts(catalog, files.format("trigrams"), grams(tokens, _TRIGRAMS, 3))


def grams(tokens: NDArray[np.uint16], n_rows: int, n: int) -> NDArray[np.uint16]:
    """From places all over the text: (rows, n)."""
    places = np.random.default_rng(0).integers(0, len(tokens) - n, n_rows)
    return np.stack([tokens[places + i] for i in range(n)], 1)


def lookups(catalog: tc.Catalog, files: str, prefixes: NDArray[np.uint16]) -> None:
    """The ten most frequent completions of each prefix."""
    n = prefixes.shape[1]
    catalog.complete(prefixes[0])  # opens the files
    ours = timed(lambda prefix: catalog.complete(prefix).table.select(["id", "count"]), prefixes)
    where = " AND ".join(f"id{i} = ?" for i in range(n))
    query = f"SELECT id{n} AS id, count FROM {files} WHERE {where} ORDER BY count DESC, id LIMIT 10"
    database = duckdb.connect()
    theirs = timed(lambda prefix: database.execute(query, prefix.tolist()).fetchall(), prefixes)
    for prefix, (_, own), (_, other) in zip(prefixes.tolist(), ours, theirs, strict=True):
        # At a sequence's end the prefix may have no completion: then ours are those of a shorter one.
        if other and [*zip(own["id"].to_pylist(), own["count"].to_pylist(), strict=True)] != other:
            raise SystemExit(f"completions of {prefix} differ")
    milliseconds = [np.array([seconds for seconds, _ in side]) * 1e3 for side in (ours, theirs)]
    (median, late), (other_median, _) = [np.percentile(side, [50, 95]) for side in milliseconds]
    print(f"complete, prefix of {n}: {median:.1f} ms ({late:.1f} of 95 in 100, {milliseconds[0].max():.1f} at most), "
          f"DuckDB {other_median:.1f} ms, ratio {other_median / median:.1f}")  # fmt: skip


def counts(catalog: tc.Catalog, files: str, trigrams: NDArray[np.uint16]) -> None:
    catalog.count(trigrams[:1])
    [(ours, own)] = timed(catalog.count, [trigrams])
    wanted = pa.table({f"id{i}": trigrams[:, i] for i in range(3)} | {"row": np.arange(len(trigrams))})
    query = f"SELECT count FROM wanted LEFT JOIN {files} USING (id0, id1, id2) ORDER BY row"
    database = duckdb.connect()
    database.register("wanted", wanted)
    [(theirs, other)] = timed(lambda query: database.execute(query).fetchnumpy()["count"], [query])
    if not np.array_equal(np.ma.filled(other, 0), own):
        raise SystemExit("counts differ")
    million = len(trigrams) / 1e6
    print(f"count: {million / ours:.2f}M trigrams/s, DuckDB {million / theirs:.2f}M/s, ratio {theirs / ours:.1f}")


def timed(do: Callable[[Any], Any], items: Any) -> list[tuple[float, Any]]:
    """Seconds and result of each."""
    done = []
    for item in items:
        started = time.perf_counter()
        result = do(item)
        done.append((time.perf_counter() - started, result))
    return done


if __name__ == "__main__":
    main()
