"""Counts the tokens that a model is run on for each token of a corpus, without a model: the original's way has 9.

    python benchmarks/positions.py --store STORE [--tokens 262144 1048576 4194304 16777216] [--confident 0.15]

Prompts of 5 tokens are collected, cut into parts and blocks and made into trees as a scan does it. Which long
prompts pass the threshold, so that their short ones are run, is drawn by lot.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import taskcatalog as tc
from taskcatalog.ids import bits_of
from taskcatalog.lm.prefix_tree import prefix_tree
from taskcatalog.stores.reference import StoreReference
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Store
from taskcatalog.tasks.collect import collect_jobs, merge_collected, prompts_schema
from taskcatalog.tasks.prompts import distinct_rows, ids_of, n_parts, read_part

_LENGTH = 5
_BLOCK = 2_048
"""Prompts at once, as for the shape of pythia-70m on a CPU."""
_MEMORY = 4 << 30


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--store", required=True, help="a token store")
    arguments.add_argument("--tokens", type=int, nargs="+", default=[1 << 18, 1 << 20, 1 << 22, 1 << 24])
    arguments.add_argument("--confident", type=float, default=0.15)
    options = arguments.parse_args()
    store = tc.open_store(options.store)
    for n_tokens in options.tokens:
        n_sequences = min(max(1, n_tokens // store.identity.sequence_length), store.n_sequences)
        with tempfile.TemporaryDirectory() as name:
            count(store, n_sequences, options.confident, Path(name))


def count(store: Store, n_sequences: int, confident: float, folder: Path) -> None:
    reference = StoreReference.of(store, store.path, None)
    jobs = collect_jobs(reference, SequenceRange(0, n_sequences), _LENGTH, folder)
    n_tokens = sum(job.make().amount for job in jobs)
    prompts = folder / "prompts.parquet"
    collected = [job.out for job in jobs]
    n_prompts = merge_collected(collected, prompts_schema(_LENGTH, store.identity.id_dtype), prompts, _MEMORY)
    disk = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    bits = bits_of(store.identity.vocabulary_size)
    generator = np.random.default_rng(0)
    long = short = 0
    for number in range(n_parts(prompts)):
        ids = ids_of(read_part(prompts, number), _LENGTH)
        long += positions(ids)
        chosen = ids[generator.random(len(ids)) < confident]
        short += positions(distinct_rows(chosen[:, 1:], bits).rows)
    print(f"{n_tokens:,} tokens: {n_prompts / n_tokens:.3f} distinct prompts, {long / n_tokens:.3f} positions of long "
          f"prompts and {short / n_tokens:.3f} of short ones, together {(long + short) / n_tokens:.2f} a token; "
          f"{disk / n_tokens:.1f} bytes of disk", flush=True)  # fmt: skip


def positions(prompts: np.ndarray) -> int:
    return sum(prefix_tree(prompts[i : i + _BLOCK]).n_positions for i in range(0, len(prompts), _BLOCK))


if __name__ == "__main__":
    main()
