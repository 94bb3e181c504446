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
        flat, out = Path(name) / "flat.bin", Path(name) / "catalogue"
        model = str(save_made_model(options.model, Path(name) / "model")) if options.model in NAMES else options.model
        n_tokens, tokenizer = write_tokens(flat, options.store, options.tokens, grow=False)
        shutil.copy(tokenizer, flat.parent)
        settings = tc.NgramSettings(min_prefix_count=options.min_prefix_count)
        tc.ngrams(flat, out, settings, options=tc.StoreOptions(tokenizer=str(flat.parent / "tokenizer.json")))
        started = time.perf_counter()
        [asked] = tc.predict(out, model, label="model").values()
        ours = (time.perf_counter() - started) / asked
        plain_model = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        rows = tc.open(out).sql("SELECT ids, p FROM predictions ORDER BY hash(ids)").fetchall()[: options.plain_prompts]
        seconds = 0.0
        for n in (2, 3):
            grams = np.array([ids for ids, _ in rows if len(ids) == n])
            plain_predict(plain_model, grams[:_BATCH])
            started = time.perf_counter()
            found = plain_predict(plain_model, grams)
            seconds += time.perf_counter() - started
            np.testing.assert_allclose(found, [p for ids, p in rows if len(ids) == n], rtol=1e-3, atol=1e-7)
        plain = seconds / len(rows)
    print(f"{asked:,} completions of {n_tokens:,} tokens; probabilities agree")
    print(f"taskcatalog {ours * 1e6:.0f} µs a completion, plain way {plain * 1e6:.0f} µs, ratio {plain / ours:.2f}")


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
