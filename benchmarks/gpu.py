"""Scans real text on a GPU with the shape of a large model, against the plain way, in one run.

    python benchmarks/gpu.py --store STORE [--model pythia-2.8b] [--dtype float16] [--tokens 1048576]

The weights are random, made on the spot: nothing is downloaded. Prints the rate of both ways, the share of the
card's peak that ours reaches in the model's layers and output, and what 112.5 million tokens (the original's scan of
The Pile: 19 hours on an A6000) would take at that rate.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from made_models import NAMES, made_model
from ngrams import write_tokens
from real_text import SEQUENCE_LENGTH
from scan import compare, plain_scan

import taskcatalog as tc

_PILE_TOKENS = 112_500_000


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--store", help="a token store of 16-bit ids; Python source otherwise")
    arguments.add_argument("--tokens", type=int, default=1 << 20)
    arguments.add_argument("--plain-tokens", type=int, default=1 << 15)
    arguments.add_argument("--model", choices=NAMES, default="pythia-2.8b")
    arguments.add_argument("--dtype", default="float16", choices=["float32", "bfloat16", "float16"])
    arguments.add_argument("--device", default="cuda")
    options = arguments.parse_args()
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_tokens, tokenizer = write_tokens(folder / "flat.bin", options.store, options.tokens, grow=False)
        model = made_model(options.model, dtype, options.device)
        model.save_pretrained(folder / "model")
        tokens = np.fromfile(folder / "flat.bin", np.uint16).reshape(-1, SEQUENCE_LENGTH)
        part = tokens[: max(1, options.plain_tokens // SEQUENCE_LENGTH)]
        plain_scan(model, part[:, :512])
        started = time.perf_counter()
        accepted = plain_scan(model, part)
        plain = (time.perf_counter() - started) / part.size
        output = model.get_output_embeddings()
        assert output is not None
        n_head = output.weight.numel()
        n_layers = sum(weight.numel() for weight in model.parameters()) - 2 * n_head
        del model, output
        started = time.perf_counter()
        found = tc.scan(
            folder / "flat.bin",
            str(folder / "model"),
            folder / "catalog",
            label="model",
            device=options.device,
            dtype=options.dtype,
            options=tc.StoreOptions(tokenizer=str(tokenizer)),
        )
        ours = (time.perf_counter() - started) / n_tokens
        if options.dtype == "float32":
            compare(tc.Catalog(folder / "catalog"), part, accepted)
        peak = peak_rate(dtype, options.device)
    work = 2 * (found.positions * n_layers + found.prompts * n_head) / n_tokens
    print(card(options.device))
    print(f"{n_tokens:,} tokens, {found.prompts:,} prompts, {found.positions / n_tokens:.2f} positions a "
          f"token, {found.tasks:,} tasks")  # fmt: skip
    print(f"taskcatalog {1 / ours:,.0f} tokens/s, plain way {1 / plain:,.0f}, ratio {plain / ours:.2f}")
    print(f"{work / ours / 1e12:.0f} TFLOP/s of {peak / 1e12:.0f} that a large product reaches here; "
          f"{_PILE_TOKENS:,} tokens: {_PILE_TOKENS * ours / 3_600:.2f} hours")  # fmt: skip


@torch.inference_mode()
def peak_rate(dtype: torch.dtype, device: str) -> float:
    """Floating-point operations a second in a product of large matrices."""
    size = 8_192 if device.startswith("cuda") else 1_024
    one = torch.randn(size, size, device=device).to(dtype)
    seconds = []
    for _ in range(10):
        started = time.perf_counter()
        float((one @ one)[0, 0])  # waits for the device
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / min(seconds)


def card(device: str) -> str:
    if not device.startswith("cuda"):
        return device
    return f"{torch.cuda.get_device_name()}, torch {torch.__version__}"


if __name__ == "__main__":
    main()
