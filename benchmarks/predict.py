"""Asks a model for the probability of every top completion, against the plain way, in one run.

    python benchmarks/predict.py [--tokens 4000000] [--plain-prompts 4096] [--model pythia-70m | NAME_OR_PATH]
                                 [--store STORE] [--min-prefix-count 20]

The plain way runs the model on every whole n-gram, 512 at a time, with the output at every position and its softmax
in full. It is timed on a part of the n-grams, after one batch that does not count. Ours is the whole command, loading
and all, on all of them. ``pythia-70m`` and the like are made with random weights, as fast as real ones. Without a
STORE the text is the Python source on this machine, in the demo's tokens.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from made_models import NAMES, save_made_model
from ngrams import write_tokens
from real_text import MODEL
from transformers import AutoModelForCausalLM

import taskcatalog as tc

_BATCH = 512


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--tokens", type=int, default=4_000_000)
    arguments.add_argument("--plain-prompts", type=int, default=4_096)
    arguments.add_argument("--min-prefix-count", type=int, default=20)
    arguments.add_argument("--model", default=str(MODEL), help=f"{', '.join(NAMES)}, or a name or path")
    arguments.add_argument("--store", help="a token store of 16-bit ids")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        flat, out = Path(name) / "flat.bin", Path(name) / "catalog"
        model = str(save_made_model(options.model, Path(name) / "model")) if options.model in NAMES else options.model
        n_tokens, tokenizer = write_tokens(flat, options.store, options.tokens, grow=False)
        shutil.copy(tokenizer, flat.parent)
        settings = tc.NgramSettings(min_prefix_count=options.min_prefix_count)
        tc.ngrams(flat, out, settings, options=tc.StoreOptions(tokenizer=str(flat.parent / "tokenizer.json")))
        plain_model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        grams = some_ngrams(tc.Catalog(out), options.plain_prompts)
        plain_predict(plain_model, grams[0][:_BATCH])
        # Half of it before ours and half after, as this machine may be faster at one time than at another.
        p_before, before = timed_plain_predict(plain_model, [array[::2] for array in grams])
        started = time.perf_counter()
        [asked] = tc.predict(out, model, label="model").completions.values()
        ours = (time.perf_counter() - started) / asked
        p_after, after = timed_plain_predict(plain_model, [array[1::2] for array in grams])
        plain = (before + after) / sum(map(len, grams))
        p_of = {tuple(ids): p for ids, p in tc.Catalog(out).sql("SELECT ids, p FROM predictions").fetchall()}
        rows = [tuple(ids) for start in (0, 1) for array in grams for ids in array[start::2].tolist()]
        p = np.concatenate([*p_before, *p_after])
        np.testing.assert_allclose([p_of[ids] for ids in rows], p, rtol=1e-3, atol=1e-7)
    print(f"{asked:,} completions of {n_tokens:,} tokens; probabilities agree")
    print(f"taskcatalog {ours * 1e6:.0f} µs a completion, plain way {plain * 1e6:.0f} µs, ratio {plain / ours:.2f}")


def some_ngrams(catalog: tc.Catalog, limit: int) -> list[np.ndarray]:
    """Of the rows of both top tables ``limit``, drawn by a hash: bigrams (rows, 2) and trigrams (rows, 3)."""
    ids = (
        "SELECT [id0, id1]::UINTEGER[] AS ids FROM top_bigrams "
        "UNION ALL SELECT [id0, id1, id2]::UINTEGER[] FROM top_trigrams"
    )
    rows = catalog.sql(f"SELECT ids FROM ({ids}) ORDER BY hash(ids) LIMIT {limit}").fetchall()
    return [np.array([row for (row,) in rows if len(row) == n], np.int64) for n in (2, 3)]


def timed_plain_predict(model: Any, grams: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """The probabilities of each array of n-grams, and seconds."""
    started = time.perf_counter()
    return [plain_predict(model, array) for array in grams], time.perf_counter() - started


@torch.inference_mode()
def plain_predict(model: Any, grams: np.ndarray) -> np.ndarray:
    """The probability of each n-gram's last token: (rows,)."""
    found = []
    for batch in torch.from_numpy(grams).split(_BATCH):
        p = model(input_ids=batch).logits.softmax(-1)
        found.append(p[:, -2].gather(-1, batch[:, -1:])[:, 0])
    return torch.cat(found).numpy()


if __name__ == "__main__":
    main()
