"""Make the demo's tokenizer and model: ``src/taskcatalog/embedded/data/``.

Both learn one text, the standard library of the Python that runs this script (the demo's corpus, see
``taskcatalog.embedded.standard_library``): a byte-level BPE of 8,192 ids, and a GPT-NeoX (the architecture of
Pythia) of 5.3M parameters, saved in float16 as 10.5 MB.

The windows that the model learns from are short (64 tokens at random places), so that one position in
sixteen has at most four tokens before it: those contexts are what a catalog asks about. The hidden
matrices are trained with Muon, the rest with AdamW; the learning rate falls linearly to zero over the last
half. Products run in bfloat16, weights stay in float32.

    python scripts/make_demo_assets.py [--steps 2400] [--threads 2]

Seeded: the tokenizer comes out the same each time; the weights to within floating-point rounding.
The losses that the shipped weights reached stand in ``src/taskcatalog/embedded/data/README.md``, which this
script writes. Two cores take about one and a half hours.
"""

import argparse
import platform
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from taskcatalog.embedded.standard_library import standard_library_sources

DATA = Path(__file__).parents[1] / "src/taskcatalog/embedded/data"
END_OF_TEXT = "<|endoftext|>"
VOCABULARY = 8_192
WINDOW = 64
BATCH = 128  # windows a step
MICRO_BATCH = 32  # windows at once: their logits stay near the cache
SEED = 20_23


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--steps", type=int, default=2_400)
    arguments.add_argument("--threads", type=int, default=2)
    options = arguments.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(SEED)

    texts = [path.read_text("utf-8") for path in standard_library_sources()]
    tokenizer = train_tokenizer(texts)
    tokens = encode(tokenizer, texts)
    n_bytes = sum(len(text.encode()) for text in texts)
    print(f"{len(texts)} files, {n_bytes:,} bytes, {len(tokens):,} tokens", flush=True)

    model = new_model()
    started = time.monotonic()
    train(model, tokens, options.steps)
    minutes = (time.monotonic() - started) / 60
    model.half().save_pretrained(DATA)
    by_length = losses_by_context(GPTNeoXForCausalLM.from_pretrained(DATA, dtype=torch.float32), tokens)
    write_readme(len(texts), n_bytes, tokens, options.steps, minutes, by_length)


def train_tokenizer(texts: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    DATA.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(DATA / "tokenizer.json"), pretty=False)
    return tokenizer


def encode(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    end = tokenizer.get_vocab()[END_OF_TEXT]
    ids: list[int] = []
    for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        ids += [*encoding.ids, end]
    return torch.tensor(ids)


def new_model() -> GPTNeoXForCausalLM:
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            num_hidden_layers=4,
            num_attention_heads=8,
            intermediate_size=1_024,
            max_position_embeddings=2_048,
            tie_word_embeddings=True,
            bos_token_id=0,
            eos_token_id=0,
        )
    )


def train(model: GPTNeoXForCausalLM, tokens: torch.Tensor, steps: int) -> None:
    matrices = [w for name, w in model.gpt_neox.layers.named_parameters() if w.ndim == 2]
    chosen = {id(w) for w in matrices}
    others = [w for w in model.parameters() if id(w) not in chosen]
    optimizers = [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0, momentum=0.95),
        torch.optim.AdamW(others, lr=4e-3, betas=(0.9, 0.98), weight_decay=0.0),
    ]
    schedules = [
        torch.optim.lr_scheduler.LambdaLR(o, lambda step: min(1.0, (step + 1) / 50, 2 * (1 - step / steps)))
        for o in optimizers
    ]
    started, running = time.monotonic(), None
    for step in range(steps):
        starts = torch.randint(len(tokens) - WINDOW, (BATCH,))
        batch = tokens[starts[:, None] + torch.arange(WINDOW + 1)]
        loss = 0.0
        for windows in batch.split(MICRO_BATCH):
            with torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(windows[:, :-1]).logits
            part = cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten()) * len(windows) / BATCH
            part.backward()
            loss += part.item()
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
        running = loss if running is None else 0.98 * running + 0.02 * loss
        if step % 20 == 0 or step == steps - 1:
            speed = (step + 1) * BATCH * WINDOW / (time.monotonic() - started)
            print(f"step {step:5d}  loss {running:.4f}  {speed:,.0f} tokens/s", flush=True)


@torch.inference_mode()
def losses_by_context(model: GPTNeoXForCausalLM, tokens: torch.Tensor) -> torch.Tensor:
    """Mean loss in nats by number of tokens of context, 1 to 64, over every 40th window of the text."""
    windows = tokens[: len(tokens) // (WINDOW + 1) * (WINDOW + 1)].view(-1, WINDOW + 1)[::40]
    total = torch.zeros(WINDOW)
    for batch in windows.split(MICRO_BATCH):
        logits = model(batch[:, :-1]).logits
        total += cross_entropy(logits.transpose(1, 2), batch[:, 1:], reduction="none").sum(0)
    return total / len(windows)


def write_readme(
    n_files: int, n_bytes: int, tokens: torch.Tensor, steps: int, minutes: float, losses: torch.Tensor
) -> None:
    seen = steps * BATCH * WINDOW
    rows = "\n".join(f"| {n} | {losses[n - 1]:.3f} |" for n in (1, 2, 3, 4, 8, 16, 32, 64))
    (DATA / "README.md").write_text(
        f"""# The demo's tokenizer and model

Made by `scripts/make_demo_assets.py` from the standard library of Python {platform.python_version()}:
{n_files} files, {n_bytes:,} bytes, {len(tokens):,} tokens ({n_bytes / len(tokens):.2f} bytes a token).

`tokenizer.json` is a byte-level BPE of {VOCABULARY:,} ids. `model.safetensors` is a GPT-NeoX of 4 layers,
256 wide, 8 heads, tied embeddings, in float16. It saw {seen:,} tokens ({seen / len(tokens):.1f} times the text)
in {steps:,} steps, {minutes:.0f} minutes on two cores.

Loss on the text it learned, in nats a token, by the tokens of context before the predicted one
(every 40th window, weights as shipped):

| context | loss |
|---|---|
{rows}
| mean of 1 to {WINDOW} | {losses.mean():.3f} |
"""
    )


if __name__ == "__main__":
    main()
