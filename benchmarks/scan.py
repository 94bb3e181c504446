"""Scans text with a model, against the plain way, in one run.

    python benchmarks/scan.py [--tokens 262144] [--plain-tokens 4096] [--model pythia-70m | NAME_OR_PATH]
                              [--store STORE] [--dtype float32] [--device cpu]

The plain way is the original's: the model on both prompts of every position, 512 at a time, both output
distributions in full, all measures. It is timed on a part of the text, after one batch that does not count.
Ours is the whole command, loading and all. ``pythia-70m`` and the like are made with random weights, as fast as
real ones. Without a STORE the text is the Python source on this machine, in the demo's tokens.
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
from real_text import MODEL, SEQUENCE_LENGTH
from transformers import AutoModelForCausalLM

import taskcatalog as tc

_BATCH = 512


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--tokens", type=int, default=262_144)
    arguments.add_argument("--plain-tokens", type=int, default=4_096)
    arguments.add_argument("--model", default=str(MODEL), help=f"{', '.join(NAMES)}, or a name or path")
    arguments.add_argument("--store", help="a token store of 16-bit ids")
    arguments.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    arguments.add_argument("--device", default="cpu")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        flat, out = Path(name) / "flat.bin", Path(name) / "catalog"
        model = str(save_made_model(options.model, Path(name) / "model")) if options.model in NAMES else options.model
        n_tokens, tokenizer = write_tokens(flat, options.store, options.tokens, grow=False)
        shutil.copy(tokenizer, flat.parent)
        tokens = np.fromfile(flat, np.uint16).reshape(-1, SEQUENCE_LENGTH)
        part = tokens[: max(2, options.plain_tokens // SEQUENCE_LENGTH)]
        plain_model = AutoModelForCausalLM.from_pretrained(model, dtype=getattr(torch, options.dtype))
        plain_model.to(options.device)
        plain_scan(plain_model, part[:, :_BATCH])
        # Half of it before ours and half after, as this machine may be faster at one time than at another.
        halves = np.array_split(part, 2)
        accepted, plain_before = timed_plain_scan(plain_model, halves[0])
        started = time.perf_counter()
        found = tc.scan(
            flat,
            model,
            out,
            label="model",
            options=tc.StoreOptions(tokenizer=str(flat.parent / "tokenizer.json")),
            dtype=options.dtype,
            device=options.device,
        )
        ours = (time.perf_counter() - started) / n_tokens
        more, plain_after = timed_plain_scan(plain_model, halves[1])
        plain = (plain_before + plain_after) / part.size
        if options.dtype == "float32":
            compare(tc.Catalog(out), part, accepted | more)
    print(
        f"{n_tokens:,} tokens, {found.prompts:,} distinct prompts, {found.positions / n_tokens:.2f} positions a "
        f"token, {found.tasks:,} tasks"
    )
    print(f"taskcatalog {ours * 1e6:.0f} µs a token, plain way {plain * 1e6:.0f} µs, ratio {plain / ours:.2f}")


def timed_plain_scan(model: Any, sequences: np.ndarray) -> tuple[set[tuple[int, ...]], float]:
    started = time.perf_counter()
    return plain_scan(model, sequences), time.perf_counter() - started


@torch.inference_mode()
def plain_scan(model: Any, sequences: np.ndarray) -> set[tuple[int, ...]]:
    """The long prompts that the plain way accepts."""
    windows = np.lib.stride_tricks.sliding_window_view(sequences, 5, axis=1).reshape(-1, 5).astype(np.int64)
    accepted: set[tuple[int, ...]] = set()
    for long_ids in torch.from_numpy(windows).to(model.device).split(_BATCH):
        short = model(input_ids=long_ids[:, 1:]).logits[:, -1].float()
        long = model(input_ids=long_ids).logits[:, -1].float()
        log_s, log_l = short.log_softmax(-1), long.log_softmax(-1)
        p_s, p_l = short.softmax(-1), long.softmax(-1)
        divergence = ((p_s * (log_s - log_l)).sum(-1) + (p_l * (log_l - log_s)).sum(-1)) / 2
        _ = (long - short).amax(-1), (short - long).amax(-1), (p_s - p_l).abs().amax(-1), p_s.amax(-1)
        keep = (p_l.amax(-1) > 0.5) & (divergence > 0.5)
        accepted |= {tuple(ids) for ids in long_ids[keep].tolist()}
    return accepted


def compare(catalog: tc.Catalog, part: np.ndarray, accepted: set[tuple[int, ...]]) -> None:
    """Both must accept the same prompts of the part, but for a few at the very threshold."""
    windows = np.lib.stride_tricks.sliding_window_view(part, 5, axis=1).reshape(-1, 5)
    looked_at = {tuple(ids) for ids in windows.tolist()}
    ours = {tuple(ids) for (ids,) in catalog.sql("SELECT long_ids FROM scan_4").fetchall()}
    different = len((ours & looked_at) ^ accepted)
    if different > len(accepted) // 500:
        raise SystemExit(f"{different} of {len(accepted)} accepted prompts differ")
    print(f"{len(accepted):,} prompts accepted in the part that both scanned, {different} differ")


if __name__ == "__main__":
    main()
