"""Models of a known shape with random weights, which are as fast as trained ones."""

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig

_SHAPES = {
    "pythia-70m": {"hidden_size": 512, "num_hidden_layers": 6, "num_attention_heads": 8, "vocab_size": 50_304},
    "pythia-160m": {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 50_304},
    "pythia-2.8b": {"hidden_size": 2_560, "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 50_304},
}
NAMES = list(_SHAPES)
_CONFIDENT = 0.15
"""Share of prompts whose next token has a probability above a half, about that of trained models."""


@torch.inference_mode()
def made_model(name: str, dtype: torch.dtype = torch.float32, device: str = "cpu") -> PreTrainedModel:
    """A GPT-NeoX of this shape; its output layer is scaled so that ``_CONFIDENT`` of its predictions are confident."""
    torch.manual_seed(0)
    shape = _SHAPES[name]
    config = AutoConfig.for_model("gpt_neox", intermediate_size=4 * shape["hidden_size"], rotary_pct=0.25, **shape)
    with torch.device(device):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
    output = model.get_output_embeddings()
    assert output is not None
    prompts = torch.randint(0, shape["vocab_size"], (256, 5), device=device)
    logits = model(input_ids=prompts, logits_to_keep=1).logits[:, -1].float()
    low, high = 1.0, 1_000.0
    for _ in range(30):
        scale = (low * high) ** 0.5
        confident = ((logits * scale).softmax(-1).amax(-1) > 0.5).float().mean().item()
        low, high = (scale, high) if confident < _CONFIDENT else (low, scale)
    output.weight *= scale
    return model


def save_made_model(name: str, folder: Path) -> Path:
    made_model(name).save_pretrained(folder)
    return folder
