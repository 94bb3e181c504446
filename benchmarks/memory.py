"""The most memory that all processes of a command have together, beside the --memory that it was given.

    python benchmarks/memory.py [--memory 200MB --memory 500MB --memory 2GB] [--only STAGE …]

Sums the proportional set size (PSS) of the command and its children, from ``/proc``, 50 times a second: private memory
counts in full, memory that processes share counts once, and so do mapped files as far as they are resident. Data are
made here: ids of Zipf's frequencies, a line of JSONL without spaces; the models are the one that comes with the
package and a larger one with random weights. What is refused says with how much it would run, and is run with that.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from made_models import save_made_model

import taskcatalog.embedded

_MODEL = Path(taskcatalog.embedded.__file__).parent / "data"
_EVERY = 0.02
_SCANNED = ("--max-tokens", "6144")
_QUERY = """SELECT id1, id2, sum(count) AS s, count(*) AS n FROM trigrams GROUP BY id1, id2 ORDER BY s DESC LIMIT 10"""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--memory", action="append")
    arguments.add_argument("--only", action="append")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| command | --memory | peak | seconds |\n|---|---|---|---|")
        for stage, command in commands(folder, options.only):
            takes_memory = not stage.startswith("tokenize")
            for memory in (options.memory or ["200MB", "500MB", "2GB"]) if takes_memory else [None]:
                given = ["--memory", memory] if memory else []
                force = [] if stage.startswith(("sql", "verify")) else ["--force"]
                called = [sys.executable, "-m", "taskcatalog", *command, *force]
                least = report(stage, memory, [*called, *given])
                if least is not None:
                    report(stage, least, [*called, "--memory", least])


def report(stage: str, memory: str | None, command: list[str]) -> str | None:
    """Prints a row of the table; the least memory that the command says it needs, if it was given less."""
    started = time.perf_counter()
    code, peak, errors = peak_of(command)
    said = f"{peak / 1e6:,.0f} MB" if code in (0, 2) else f"failed ({code})"
    refused = ", refused" if code == 2 else ""
    print(f"| {stage} | {memory or '-'} | {said}{refused} | {time.perf_counter() - started:.0f} |", flush=True)
    least = re.search(r"needs --memory (\w+)", errors)
    return least[1] if least else None


def commands(folder: Path, only: list[str] | None) -> Iterator[tuple[str, list[str]]]:
    """What is measured, and its command line; its input is made when it is asked for."""

    def wanted(stage: str) -> bool:
        return only is None or any(stage.startswith(name) for name in only)

    for vocabulary, n_tokens, ns in ((8_192, 40_000_000, (2, 3)), (151_936, 10_000_000, (2, 5))):
        stage = f"ngrams, {n_tokens // 10**6}M tokens of {vocabulary:,} ids, n up to {ns[-1]}"
        if wanted(stage):
            flat = zipf(folder / f"{vocabulary}.bin", vocabulary, n_tokens)
            lengths = [word for n in ns for word in ("-n", str(n))]
            yield stage, ["ngrams", str(flat), "--id-dtype", "uint32", "--out", str(folder / stage), *lengths]
    stage = "ngrams, one sequence of 20M tokens"
    if wanted(stage):
        flat = zipf(folder / "long.bin", 8_192, 20_000_000)
        length = ["--sequence-length", "20000000", "--id-dtype", "uint32"]
        yield stage, ["ngrams", str(flat), *length, "--out", str(folder / stage)]
    for kind, text in (("words", "the cat sat on a mat. " * 4_500_000), ("no spaces", "a" * 100_000_000)):
        stage = f"tokenize, a line of 100 MB, {kind}"
        if wanted(stage):
            source = folder / f"{kind}.jsonl.gz"
            source.write_bytes(gzip.compress(json.dumps({"text": text}).encode(), 6))
            yield stage, ["tokenize", str(source), "--tokenizer", str(_MODEL), "--out", str(folder / stage)]
    if any(wanted(stage) for stage in ("scan", "predict")):
        flat = zipf(folder / "model.bin", 8_192, 100_000)
        store = [str(flat), "--tokenizer", str(_MODEL), "--id-dtype", "uint32"]
        catalog = str(folder / "model")
        subprocess.run([sys.executable, "-m", "taskcatalog", "ngrams", *store, "--out", catalog], check=True)
        for model in (_MODEL, save_made_model("pythia-70m", folder / "70m")):
            name = "embedded model" if model == _MODEL else "a random model of 70M"
            for n in (4, 8):
                scan = ["scan", *store, *_SCANNED, "--model", str(model), "--prompt-length", str(n), "--out", catalog]
                yield f"scan, {name}, prompts of {n}", scan
            yield f"predict, {name}", ["predict", catalog, "--model", str(model)]
    if any(wanted(stage) for stage in ("sql", "verify", "duckdb")):
        flat, catalog = zipf(folder / "tables.bin", 50_277, 40_000_000), str(folder / "tables")
        made = [sys.executable, "-m", "taskcatalog", "ngrams", str(flat), "--id-dtype", "uint32", "--out", catalog]
        subprocess.run(made, check=True)
        yield "sql, GROUP BY of trigrams", ["sql", catalog, _QUERY]
        yield "verify", ["verify", catalog]
        yield "duckdb", ["duckdb", catalog, "--out", str(folder / "tables.duckdb")]


def zipf(flat: Path, vocabulary: int, n_tokens: int) -> Path:
    generator = np.random.default_rng(0)
    share = 1 / np.arange(1, vocabulary + 1)
    tokens = np.searchsorted(np.cumsum(share / share.sum()), generator.random(n_tokens))
    tokens = np.minimum(tokens, vocabulary - 1).astype("<u4")
    tokens[-1] = vocabulary - 1  # so that all of the vocabulary counts
    tokens.tofile(flat)
    return flat


def peak_of(command: list[str]) -> tuple[int, int, str]:
    """The exit code, the largest sum of PSS that was seen, and what the command said of errors."""
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        peak = 0
        while process.poll() is None:
            peak = max(peak, sum(map(pss, family(process.pid))))
            time.sleep(_EVERY)
        errors.seek(0)
        return process.returncode, peak, errors.read()


def family(process: int) -> list[int]:
    """A process with all that it started, and they started."""
    found = [process]
    for one in found:
        try:
            for thread in Path(f"/proc/{one}/task").iterdir():
                found += map(int, (thread / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found


def pss(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


if __name__ == "__main__":
    main()
