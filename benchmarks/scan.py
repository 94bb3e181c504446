"""Scans text with the demo's model, against the plain way, in one run.

    python benchmarks/scan.py [--tokens 65536] [--plain-tokens 8192]

The plain way is the original's: the model on both prompts of every position, 512 at a time, both output
distributions in full, all measures. It may be timed on a part of the text. Ours is the whole command.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from real_text import MODEL, SEQUENCE_LENGTH, write_flat
from transformers import AutoModelForCausalLM

import taskcatalog as tc

_BATCH = 512


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--tokens", type=int, default=65_536)
    arguments.add_argument("--plain-tokens", type=int, default=8_192)
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        flat, out = Path(folder) / "flat.bin", Path(folder) / "catalogue"
        n_tokens = write_flat(flat, options.tokens)
        tokens = np.fromfile(flat, np.uint16).reshape(-1, SEQUENCE_LENGTH)
        started = time.perf_counter()
        found = tc.scan(flat, str(MODEL), out, label="demo")
        ours = (time.perf_counter() - started) / n_tokens
        part = tokens[: max(1, options.plain_tokens // SEQUENCE_LENGTH)]
        started = time.perf_counter()
        accepted = plain_scan(part)
        plain = (time.perf_counter() - started) / part.size
        compare(tc.open(out), part, accepted)
    print(f"{n_tokens:,} tokens, {found['prompts']:,} distinct prompts, {found['tasks']:,} tasks")
    print(f"taskcatalog {ours * 1e6:.0f} µs a token, plain way {plain * 1e6:.0f} µs, ratio {plain / ours:.2f}")


@torch.inference_mode()
def plain_scan(sequences: np.ndarray) -> set[tuple[int, ...]]:
    """The long prompts that the plain way accepts."""
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    windows = np.lib.stride_tricks.sliding_window_view(sequences, 5, axis=1).reshape(-1, 5).astype(np.int64)
    accepted: set[tuple[int, ...]] = set()
    for long_ids in torch.from_numpy(windows).split(_BATCH):
        short = model(input_ids=long_ids[:, 1:]).logits[:, -1]
        long = model(input_ids=long_ids).logits[:, -1]
        log_s, log_l = short.log_softmax(-1), long.log_softmax(-1)
        p_s, p_l = short.softmax(-1), long.softmax(-1)
        divergence = ((p_s * (log_s - log_l)).sum(-1) + (p_l * (log_l - log_s)).sum(-1)) / 2
        _ = (long - short).amax(-1), (short - long).amax(-1), (p_s - p_l).abs().amax(-1), p_s.amax(-1)
        keep = (p_l.amax(-1) > 0.5) & (divergence > 0.5)
        accepted |= {tuple(ids) for ids in long_ids[keep].tolist()}
    return accepted


def compare(catalogue: tc.Catalogue, part: np.ndarray, accepted: set[tuple[int, ...]]) -> None:
    """Both must accept the same prompts of the part, but for a few at the very threshold."""
    windows = np.lib.stride_tricks.sliding_window_view(part, 5, axis=1).reshape(-1, 5)
    looked_at = {tuple(ids) for ids in windows.tolist()}
    ours = {tuple(ids) for (ids,) in catalogue.sql("SELECT long_ids FROM scan_4").fetchall()}
    different = len((ours & looked_at) ^ accepted)
    if different > len(accepted) // 500:
        raise SystemExit(f"{different} of {len(accepted)} accepted prompts differ")
    print(f"{len(accepted):,} prompts accepted in the part that both scanned, {different} differ")


if __name__ == "__main__":
    main()
