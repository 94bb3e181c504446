"""Small causal models of several architectures, with random weights, saved as folders."""

from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import AutoConfig

VOCABULARY = 96

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "gpt_neox": {"tie_word_embeddings": False},
    "gpt2": {},
    "llama": {"num_key_value_heads": 2, "tie_word_embeddings": True},
    "mistral": {"num_key_value_heads": 2, "sliding_window": 3},
    "bloom": {},  # ALiBi: its attention cannot be replaced
    "gemma2": {"num_key_value_heads": 2, "head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 30.0},
}


def save_model(
    architecture: str,
    folder: Path,
    vocabulary: int = VOCABULARY,
    positions: int = 32,
    layers: int = 2,
    width: int = 32,
) -> Path:
    """A model whose predictions are confident, as those of a trained one are; more so the wider it is."""
    torch.manual_seed(11)
    common = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": width * 3 // 2,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "max_position_embeddings": positions,
        "bos_token_id": 1,
        "eos_token_id": 0,
        "pad_token_id": None,
    }
    if architecture == "gpt2":
        common["n_positions"] = common.pop("max_position_embeddings")
    config = AutoConfig.for_model(architecture, **(common | ARCHITECTURES[architecture]))
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim == 2:
                weight.normal_(0, 0.4)
    model.save_pretrained(folder)
    return folder
