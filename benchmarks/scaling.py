"""The cost of a token as the corpus grows: seconds, memory and disk of ``tc.ngrams`` within one limit of memory,
beside what ``tc.plan`` says of them before.

    python benchmarks/scaling.py STORE [--tokens 2000000000] [--memory 2GB] [--csv FILE] [--plot FILE.svg]

The text is grown from the STORE's (see ``grown_text``), and cut to each smaller size. Times are those of
``benchmarks/ngrams.py``. The plot needs matplotlib.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from grown_text import write_grown
from real_text import SEQUENCE_LENGTH

import taskcatalog as tc
from taskcatalog.counting.stage import STAGE

_SIZES = (10_000_000, 40_000_000, 200_000_000, 600_000_000, 2_000_000_000)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("store")
    arguments.add_argument("--tokens", type=int, default=_SIZES[-1])
    arguments.add_argument("--memory", default="2GB")
    arguments.add_argument("--csv", type=Path)
    arguments.add_argument("--plot", type=Path)
    options = arguments.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        flat = folder / "flat.bin"
        store = tc.open_store(options.store)
        shutil.copy(Path(options.store) / "tokenizer.json", folder)
        write_grown(flat, store.read(0, store.n_sequences).tokens.astype(np.uint16), options.tokens)
        with flat.open("rb") as file:
            (folder / "few.bin").write_bytes(file.read(2 * SEQUENCE_LENGTH))
        for n_tokens in sorted({*(size for size in _SIZES if size < options.tokens), options.tokens}, reverse=True):
            os.truncate(flat, 2 * n_tokens)
            rows.insert(0, {"tokens": n_tokens} | measured(folder, options.memory))
            print(rows[0], flush=True)
            shutil.rmtree(folder / "taskcatalog")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
    if options.plot:
        plot(rows, options.memory, options.plot)


def measured(folder: Path, memory: str) -> dict[str, Any]:
    options = tc.StoreOptions(tokenizer=str(folder / "tokenizer.json"))
    plans = tc.plan(folder / "flat.bin", options=options, machine=tc.Machine(memory=memory))
    [plan] = [plan for plan in plans if plan.stage == STAGE.name]
    script = Path(__file__).with_name("ngrams.py")
    command = [sys.executable, str(script), "--only", "taskcatalog", "--folder", str(folder), "--memory", memory]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    done = json.loads((folder / "measured.json").read_text())
    facts = json.loads((folder / "taskcatalog/catalog/ngrams/ledger.json").read_text())["facts"]
    planned = {f"planned_{name}": getattr(plan, name) for name in ("seconds", "memory", "temporary", "final")}
    return {**done, "trigrams": facts["trigrams"], "bigrams": facts["bigrams"], **planned}


def plot(rows: list[dict[str, Any]], memory: str, out: Path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 3.5), layout="constrained")
    axes.plot([row["tokens"] for row in rows], [row["seconds"] / row["tokens"] * 1e9 for row in rows], "o-")
    axes.set(xscale="log", ylim=(0, None), xlabel="tokens", ylabel="nanoseconds a token", title=f"--memory {memory}")
    axes.grid(alpha=0.3)
    figure.savefig(out)


if __name__ == "__main__":
    main()
