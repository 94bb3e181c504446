"""Counts bigrams and trigrams with their prefixes in five ways, on the same tokens, in one run.

    python benchmarks/ngrams.py [--store STORE] [--tokens 40000000] [--ways …] [--repeats 1]

==============  ==========================================================================================
``taskcatalog``  the whole of ``tc.ngrams``, from a flat file to tables on disk, top tables among them
``duckdb``       GROUP BY of trigrams that are in memory already, to trigrams and their prefixes in memory
``polars``       the same for all four tables, in memory
``sharded``      batches of trigrams to Parquet by ``id0 % 64``, each shard grouped, all in a DuckDB file
``tokengrams``   a suffix array on disk, from which counts can be computed
==============  ==========================================================================================

Each way runs in a process of its own. Its time is that of the work, after imports; its memory the most that the
process had, in which tokens that are mapped from the file count; its disk the most under its folder, and what stays.
Tables are compared row by row, the suffix array by its counts of 1,000 trigrams. Without a STORE the
text is the Python source on this machine, in the demo's tokens.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from grown_text import write_grown
from numpy.typing import NDArray
from real_text import MODEL, SEQUENCE_LENGTH, write_flat

import taskcatalog as tc

_SHARDS = 64
_BATCH = 1_024
"""Sequences that the sharded way splits at once."""
_PREFIXES = """CREATE TABLE {name} AS SELECT {prefix}, arg_max({best}, (count, -{best}::INT)) AS {best},
    sum(count)::UBIGINT AS sum_count, max(count) AS max_count, max(count) / sum(count) AS frac_max
    FROM {grams} GROUP BY {prefix}"""
TABLES = ("bigrams", "bigram_prefixes", "trigrams", "trigram_prefixes")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--store", help="a token store of 16-bit ids")
    arguments.add_argument("--tokens", type=int, default=40_000_000)
    arguments.add_argument("--grow", action="store_true", help="make more tokens from those of the store")
    arguments.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    arguments.add_argument("--repeats", type=int, default=1)
    arguments.add_argument("--memory", default="8GB", help="for taskcatalog")
    arguments.add_argument("--only", choices=WAYS, help=argparse.SUPPRESS)
    arguments.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.only:
        done = measure(options.only, options.folder, options.memory)
        (options.folder / "measured.json").write_text(json.dumps(done))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_tokens, tokenizer = write_tokens(folder / "flat.bin", options.store, options.tokens, options.grow)
        shutil.copy(tokenizer, folder / "tokenizer.json")
        grown = ", grown" if options.grow else ""
        print(f"{n_tokens:,} tokens of {options.store or 'Python source'}{grown}")
        few = folder / "few.bin"
        few.write_bytes((folder / "flat.bin").open("rb").read(2 * SEQUENCE_LENGTH))
        best: dict[str, float] = {}
        for _ in range(options.repeats):
            for way in options.ways:
                shutil.rmtree(folder / way, ignore_errors=True)
                command = [sys.executable, __file__, "--only", way, "--folder", name, "--memory", options.memory]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=1_800)
                done = json.loads((folder / "measured.json").read_text())
                best[way] = min(best.get(way, np.inf), done["seconds"])
                print(
                    f"{way:12} {done['seconds']:7.2f} s  {n_tokens / done['seconds'] / 1e6:6.1f}M tokens/s  "
                    f"memory {done['memory'] / 1e6:6,.0f} MB  disk {done['most_disk'] / 1e6:6,.0f} MB at most, "
                    f"{done['disk'] / 1e6:6,.1f} MB in the end",
                    flush=True,
                )
        for way in set(options.ways) - {"taskcatalog"}:
            compare(folder, way)
        if "taskcatalog" in best:
            ratios = [f"{seconds / best['taskcatalog']:.1f} {way}" for way, seconds in best.items()]
            print(f"times taskcatalog's: {', '.join(ratios[1:])}; tables and counts are equal")


def write_tokens(flat: Path, store: str | None, n_tokens: int, grow: bool) -> tuple[int, Path]:
    """Writes whole sequences; returns how many tokens they are, and the tokenizer."""
    if store is None:
        return write_flat(flat, n_tokens), MODEL / "tokenizer.json"
    opened = tc.open_store(store)
    assert opened.identity.sequence_length == SEQUENCE_LENGTH
    if grow:
        n_tokens -= n_tokens % SEQUENCE_LENGTH
        write_grown(flat, opened.read(0, opened.n_sequences).tokens.astype(np.uint16), n_tokens)
        return n_tokens, Path(store) / "tokenizer.json"
    n_sequences = min(n_tokens, opened.n_tokens) // SEQUENCE_LENGTH
    with flat.open("wb") as file:
        for start in range(0, n_sequences, _BATCH):
            opened.read(start, min(start + _BATCH, n_sequences)).tokens.tofile(file)
    return n_sequences * SEQUENCE_LENGTH, Path(store) / "tokenizer.json"


def measure(way: str, folder: Path, memory: str) -> dict[str, float]:
    """Runs one way in this process."""
    out = folder / way
    out.mkdir()
    most_disk, ended = 0, threading.Event()

    def watch() -> None:
        nonlocal most_disk
        while not ended.wait(0.1):
            most_disk = max(most_disk, size(out))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    keep = WAYS[way](folder / "flat.bin", out, memory)
    status = Path("/proc/self/status").read_text().splitlines()
    [peak] = [int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")]
    seconds = keep.seconds
    ended.set()
    watcher.join()
    disk = size(out)
    keep.write(out)
    return {"seconds": seconds, "memory": peak, "most_disk": max(most_disk, disk), "disk": disk}


def size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.is_file() else 0
    return total


class Done:
    """What a way leaves: how long it took, and what writes its tables for the comparison if they are not there."""

    def __init__(self, started: float, write: Callable[[Path], None] = lambda _: None) -> None:
        self.seconds = time.perf_counter() - started
        self.write = write


def with_taskcatalog(flat: Path, out: Path, memory: str) -> Done:
    options = tc.StoreOptions(tokenizer=str(flat.parent / "tokenizer.json"))
    tc.ngrams(flat.parent / "few.bin", flat.parent / "few", options=options, force=True)  # imports and compiles
    started = time.perf_counter()
    tc.ngrams(flat, out / "catalog", options=options, memory=memory)
    return Done(started)


def with_duckdb(flat: Path, out: Path, memory: str) -> Done:
    del memory
    places = trigram_places(np.fromfile(flat, np.uint16), at_ends=False)
    database = duckdb.connect()
    started = time.perf_counter()
    database.register("places", places)
    database.execute(
        "CREATE TABLE trigrams AS SELECT id0, id1, id2, count(*)::UBIGINT AS count FROM places GROUP BY ALL"
    )
    database.execute(_PREFIXES.format(name="trigram_prefixes", prefix="id0, id1", best="id2", grams="trigrams"))

    def write(folder: Path) -> None:
        for table in ("trigrams", "trigram_prefixes"):
            database.sql(f"FROM {table}").write_parquet(str(folder / f"{table}.parquet"))

    done = Done(started, write)
    del out
    return done


def with_polars(flat: Path, out: Path, memory: str) -> Done:
    import polars as pl

    del out, memory
    places = pl.from_arrow(trigram_places(np.fromfile(flat, np.uint16), at_ends=True))
    assert isinstance(places, pl.DataFrame)
    started = time.perf_counter()
    tables = {}
    for name, ids, rows in (
        ("trigram", ["id0", "id1", "id2"], places.lazy().filter(pl.col("id2") >= 0)),
        ("bigram", ["id0", "id1"], places.lazy()),
    ):
        grams = rows.group_by(ids).agg(pl.len().alias("count")).sort(ids).collect()
        tables[f"{name}s"] = grams
        tables[f"{name}_prefixes"] = (
            grams.lazy()
            .group_by(ids[:-1], maintain_order=True)
            .agg(
                pl.col(ids[-1]).get(pl.col("count").arg_max()),
                pl.col("count").sum().alias("sum_count"),
                pl.col("count").max().alias("max_count"),
            )
            .with_columns((pl.col("max_count") / pl.col("sum_count")).alias("frac_max"))
            .collect()
        )

    def write(folder: Path) -> None:
        for name, table in tables.items():
            table.write_parquet(folder / f"{name}.parquet")

    return Done(started, write)


def with_shards(flat: Path, out: Path, memory: str) -> Done:
    """The strategy of the original catalog, in our own words."""
    del memory
    tokens = np.memmap(flat, np.uint16, "r").reshape(-1, SEQUENCE_LENGTH)
    started = time.perf_counter()
    schema = pa.schema([("id0", pa.uint16()), ("id1", pa.uint16()), ("id2", pa.int32())])
    (out / "shards").mkdir()
    writers = [pq.ParquetWriter(out / f"shards/{shard}.parquet", schema) for shard in range(_SHARDS)]
    for start in range(0, len(tokens), _BATCH):
        places = trigram_places(np.asarray(tokens[start : start + _BATCH]).ravel(), at_ends=True)
        shard_of = places["id0"].to_numpy() % _SHARDS
        order = np.argsort(shard_of, kind="stable")
        cuts = np.searchsorted(shard_of[order], np.arange(_SHARDS + 1))
        ordered = places.take(pa.array(order))
        for shard, writer in enumerate(writers):
            writer.write_table(ordered.slice(cuts[shard], cuts[shard + 1] - cuts[shard]))
    for writer in writers:
        writer.close()
    database = duckdb.connect(out / "tables.duckdb")
    for shard in range(_SHARDS):
        file = out / f"shards/{shard}.parquet"
        how = "INSERT INTO {} " if shard else "CREATE TABLE {} AS "
        for table, ids, where in (("trigrams", "id0, id1, id2", "WHERE id2 >= 0"), ("bigrams", "id0, id1", "")):
            database.execute(
                f"{how.format(table)} SELECT {ids}, count(*)::UBIGINT AS count FROM '{file}' {where} GROUP BY {ids}"
            )
        file.unlink()
    database.execute(_PREFIXES.format(name="trigram_prefixes", prefix="id0, id1", best="id2", grams="trigrams"))
    database.execute(_PREFIXES.format(name="bigram_prefixes", prefix="id0", best="id1", grams="bigrams"))
    database.close()
    return Done(started)


def with_tokengrams(flat: Path, out: Path, memory: str) -> Done:
    from tokengrams import MemmapIndex

    del memory
    started = time.perf_counter()
    MemmapIndex.build(str(flat), str(out / "index"))
    return Done(started)


WAYS: dict[str, Callable[[Path, Path, str], Done]] = {
    "taskcatalog": with_taskcatalog,
    "duckdb": with_duckdb,
    "polars": with_polars,
    "sharded": with_shards,
    "tokengrams": with_tokengrams,
}


def trigram_places(tokens: NDArray[np.uint16], at_ends: bool) -> pa.Table:
    """All trigrams within sequences; ``at_ends`` also the bigram at each sequence's end, with -1 behind it."""
    rows = tokens.reshape(-1, SEQUENCE_LENGTH)
    if not at_ends:
        columns = [rows[:, :-2].ravel(), rows[:, 1:-1].ravel(), rows[:, 2:].ravel()]
        return pa.table({f"id{i}": column for i, column in enumerate(columns)})
    third = np.full((len(rows), SEQUENCE_LENGTH - 1), -1, np.int32)
    third[:, :-1] = rows[:, 2:]
    return pa.table({"id0": rows[:, :-1].ravel(), "id1": rows[:, 1:].ravel(), "id2": third.ravel()})


def compare(folder: Path, way: str) -> None:
    """Raises SystemExit where a way's tables differ from ours."""
    catalog = tc.Catalog(folder / "taskcatalog/catalog")
    if way == "tokengrams":
        compare_counts(folder, catalog)
        return
    theirs = duckdb.connect(folder / "sharded/tables.duckdb", read_only=True) if way == "sharded" else duckdb.connect()
    for table in TABLES:
        file = folder / way / f"{table}.parquet"
        if way != "sharded" and not file.exists():
            continue
        name = table if way == "sharded" else f"'{file}'"
        order = ", ".join(column for column in theirs.sql(f"FROM {name}").columns if column.startswith("id"))
        rows = theirs.sql(f"FROM {name} ORDER BY {order}").to_arrow_table()
        ours = catalog.table(table).to_arrow_table()
        for column in rows.column_names:
            if not np.array_equal(ours[column].to_numpy(), rows[column].to_numpy()):
                raise SystemExit(f"{table}: column {column} of {way} differs")


def compare_counts(folder: Path, catalog: tc.Catalog) -> None:
    """tokengrams also counts grams across the ends of sequences, so those are added to ours."""
    from tokengrams import MemmapIndex

    index = MemmapIndex(str(folder / "flat.bin"), str(folder / "tokengrams/index"))
    tokens = np.fromfile(folder / "flat.bin", np.uint16)
    places = np.random.default_rng(0).integers(0, len(tokens) - 2, 1_000)
    grams = np.stack([tokens[places + i] for i in range(3)], 1)
    ends = np.arange(SEQUENCE_LENGTH, len(tokens) - 1, SEQUENCE_LENGTH)
    crossing = np.stack([tokens[np.concatenate([ends - 2, ends - 1]) + i] for i in range(3)], 1)
    ours = catalog.count(grams) + np.array([(crossing == gram).all(1).sum() for gram in grams], np.uint64)
    if ours.tolist() != [index.count(gram) for gram in grams.tolist()]:
        raise SystemExit("trigrams: counts of tokengrams differ")


if __name__ == "__main__":
    main()
