"""Counts a million prompts in a store without an index of it, against a join in DuckDB and against NumPy, in one run.

    python benchmarks/occurrences.py [--store STORE] [--tokens 2000000000] [--slice 40000000] [--prompts 1000000]
                                     [--lengths 2 5 8 32] [--workers N] [--repeat 1]

The tokens are grown from the STORE's (see ``grown_text``), or are Python source. The prompts are windows of them, from
all over. Ours runs on all tokens; DuckDB and NumPy run on a slice, as does ours again, and must give the same counts.
Seconds are the best of some repeats; CPU seconds are those of the whole process, compiling and opening left out.
"""

import argparse
import functools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from grown_text import write_grown
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from real_text import SEQUENCE_LENGTH, write_flat

import taskcatalog as tc
from taskcatalog.counting.occurrences import count_occurrences
from taskcatalog.sizes import peak_memory, worker_count
from taskcatalog.stores.store import Store

_MEMORY = 2 * 10**9


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--store", help="a token store of 16-bit ids to grow text from")
    arguments.add_argument("--flat", type=Path, help="a flat file of 16-bit ids as it is, instead")
    arguments.add_argument("--tokens", type=int, default=2_000_000_000)
    arguments.add_argument("--slice", type=int, default=20_000_000)
    arguments.add_argument("--prompts", type=int, default=1_000_000)
    arguments.add_argument("--lengths", type=int, nargs="+", default=[2, 5, 8, 32])
    arguments.add_argument("--workers", type=int, default=worker_count(None))
    arguments.add_argument("--repeat", type=int, default=1)
    arguments.add_argument("--only", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.only:
        measure(options.only, options.flat, options.workers, options.repeat)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flat = options.flat or folder / "flat.bin"
        if not options.flat:
            write_text(flat, options.store, options.tokens)
        few = folder / "few.bin"
        tokens = np.memmap(flat, np.uint16, "r")
        tokens[: options.slice // SEQUENCE_LENGTH * SEQUENCE_LENGTH].tofile(few)
        print(f"{len(tokens):,} tokens, {options.prompts:,} prompts, {options.workers} workers")
        for n in options.lengths:
            prompts = windows(tokens, options.prompts, n)
            np.save(folder / "prompts.npy", prompts)
            whole = ["--flat", str(flat), "--workers", str(options.workers), "--repeat", str(options.repeat)]
            # In a process of its own, for the peak of its memory.
            subprocess.run([sys.executable, __file__, "--only", str(folder / "prompts.npy"), *whole], check=True)
            compare(tc.open_store(few), few, prompts, n, options.workers)


def measure(file: Path, flat: Path, workers: int, repeat: int) -> None:
    prompts, store = np.load(file), tc.open_store(flat)
    ours(tc.open_store(file.with_name("few.bin")), prompts[:1_000], workers)  # compiles
    wall, cpu, counts = min((ours(store, prompts, workers) for _ in range(repeat)), key=lambda it: it[0])
    print(
        f"n = {prompts.shape[1]}: {wall:.1f} s, {cpu:.1f} CPU seconds ({cpu / store.n_tokens * 1e9:.1f} ns a token), "
        f"counts of {int(counts.sum()):,} in all, peak of memory {peak_memory() / 1e9:.2f} GB", flush=True
    )  # fmt: skip


def write_text(flat: Path, store: str | None, n_tokens: int) -> None:
    text = flat.with_name("text.bin")
    if store:
        opened = tc.open_store(store)
        opened.read(0, opened.n_sequences).tokens.astype(np.uint16).tofile(text)
    else:
        write_flat(text, n_tokens)
    write_grown(flat, np.fromfile(text, np.uint16), n_tokens)


def windows(tokens: NDArray[np.uint16], n_rows: int, n: int) -> NDArray[np.uint16]:
    """From places all over the text, within sequences: (rows, n)."""
    places = np.random.default_rng(n).integers(0, len(tokens) // SEQUENCE_LENGTH, n_rows) * SEQUENCE_LENGTH
    places += np.random.default_rng(n + 1).integers(0, SEQUENCE_LENGTH - n + 1, n_rows)
    return np.stack([tokens[places + i] for i in range(n)], 1)


def ours(store: Store, prompts: NDArray[np.uint16], workers: int) -> tuple[float, float, NDArray[np.uint64]]:
    """Seconds, CPU seconds, counts."""
    lengths = np.full(len(prompts), prompts.shape[1], np.int64)
    return timed(
        lambda: count_occurrences(store, prompts.ravel(), lengths, positions=1, workers=workers, memory=_MEMORY).counts
    )


def compare(store: Store, few: Path, prompts: NDArray[np.uint16], n: int, workers: int) -> None:
    """Prints the ratios on the slice. Stops where counts differ."""
    tokens = np.fromfile(few, np.uint16)
    wall, cpu, counts = min((ours(store, prompts, workers) for _ in range(3)), key=lambda it: it[0])
    for name, other in (("DuckDB, a join", by_join), ("NumPy, sorted windows", by_sorting)):
        other_wall, other_cpu, found = timed(functools.partial(other, tokens, prompts, n))
        if not np.array_equal(found, counts):
            raise SystemExit(f"{name}: the counts of n = {n} differ")
        print(
            f"  {len(tokens):,} tokens: {wall:.2f} s ({cpu:.2f} CPU); {name}: {other_wall:.2f} s "
            f"({other_cpu:.2f} CPU), ratio {other_wall / wall:.1f} ({other_cpu / cpu:.1f} CPU)", flush=True
        )  # fmt: skip


def by_join(tokens: NDArray[np.uint16], prompts: NDArray[np.uint16], n: int) -> NDArray[np.uint64]:
    """A table of all windows, one column an id, joined with one of the prompts."""
    inside = starts_of_windows(len(tokens), n)
    names = [f"id{i}" for i in range(n)]
    columns = {name: tokens[inside + i] for i, name in enumerate(names)}
    wanted = {name: prompts[:, i] for i, name in enumerate(names)} | {"row": np.arange(len(prompts))}
    database = duckdb.connect()
    database.register("windows", pa.table(columns))
    database.register("wanted", pa.table(wanted))
    ids = ", ".join(names)
    query = f"""WITH distinct_ AS (SELECT DISTINCT {ids} FROM wanted),
        counted AS (SELECT {ids}, count(*) AS count FROM windows JOIN distinct_ USING ({ids}) GROUP BY {ids})
        SELECT coalesce(count, 0)::UBIGINT AS count FROM wanted LEFT JOIN counted USING ({ids}) ORDER BY row"""
    counts: NDArray[np.uint64] = np.asarray(database.execute(query).fetchnumpy()["count"])
    return counts


def by_sorting(tokens: NDArray[np.uint16], prompts: NDArray[np.uint16], n: int) -> NDArray[np.uint64]:
    """Each window as bytes, sorted, and the prompts looked up among them."""
    whole = sliding_window_view(tokens, n)[starts_of_windows(len(tokens), n)]
    keys = np.sort(as_keys(whole))
    wanted = as_keys(prompts)
    return (np.searchsorted(keys, wanted, "right") - np.searchsorted(keys, wanted)).astype(np.uint64)


def starts_of_windows(n_tokens: int, n: int) -> NDArray[np.int64]:
    places = np.arange(n_tokens)
    return places[places % SEQUENCE_LENGTH <= SEQUENCE_LENGTH - n]


def as_keys(rows: NDArray[np.uint16]) -> NDArray[Any]:
    """A number for each row where it fits 64 bits, else its bytes."""
    n = rows.shape[1]
    if n <= 4:
        return sum(
            (rows[:, i].astype(np.uint64) << np.uint64(16 * i) for i in range(n)), np.zeros(len(rows), np.uint64)
        )
    return np.ascontiguousarray(rows, ">u2").view(f"S{2 * n}").ravel()


def timed(do: Callable[[], NDArray[np.uint64]]) -> tuple[float, float, NDArray[np.uint64]]:
    wall, cpu = time.perf_counter(), time.process_time()
    result = do()
    return time.perf_counter() - wall, time.process_time() - cpu, result


if __name__ == "__main__":
    main()
