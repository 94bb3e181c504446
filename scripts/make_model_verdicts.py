"""Write ``docs/model_types.md``: how each causal ``model_type`` of ``transformers`` is run here.

    python scripts/make_model_verdicts.py [MODEL_TYPE...]

A tiny model of each type is made with random weights, each in a process of its own. What we say of prompts is compared with
what the model itself says of each of them whole, in float32. With names, only their verdicts are printed.
"""

import json
import logging
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs/model_types.md"
N_IDS = 96
_SECONDS = 240
_MOST_PARAMETERS = 30_000_000
_WEIGHT = 0.2
"""Standard deviation of weights: more than a new model's, so that what is wrong shows."""

_SMALL = {
    32: "hidden_size d_model n_embd dim emb_dim embedding_size n_embed embed_dim word_embed_proj_dim lru_width "
    "attention_hidden_size mamba_hidden_size cross_attention_hidden_size embedding_dim",
    48: "intermediate_size ffn_dim encoder_ffn_dim decoder_ffn_dim d_ff n_inner ffn_hidden_size dff feed_forward_size "
    "dim_ff mlp_hidden_size intermediate_size_mlp d_inner hidden_dim dense_intermediate_size",
    2: "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers num_decoder_layers "
    "num_encoder_layers num_blocks num_key_value_heads num_kv_heads multi_query_num num_experts_per_tok "
    "num_experts_per_token moe_k moe_topk top_k_experts swa_num_key_value_heads num_global_key_value_heads",
    4: "num_attention_heads n_head n_heads num_heads encoder_attention_heads decoder_attention_heads "
    "num_decoder_attention_heads num_encoder_attention_heads swa_num_attention_heads linear_num_value_heads "
    "linear_num_key_heads num_experts num_local_experts n_routed_experts moe_num_experts num_moe_experts "
    "index_n_heads index_topk state_size mamba_d_state conv_kernel mamba_d_conv laurel_rank",
    8: "head_dim attention_head_size kv_channels qk_nope_head_dim v_head_dim global_head_dim linear_key_head_dim "
    "linear_value_head_dim swa_head_dim swa_v_head_dim d_kv d_head rotary_dim qk_rope_head_dim",
    16: "q_lora_rank kv_lora_rank moe_intermediate_size shared_expert_intermediate_size shared_intermediate_size "
    "moe_shared_expert_intermediate_size moe_ffn_hidden_size expert_ffn_size expert_ffn_hidden_size time_step_rank "
    "ssm_state_size hidden_size_per_layer_input o_lora_rank index_head_dim",
    1: "n_group topk_group num_shared_experts n_shared_experts moe_num_shared_experts first_k_dense_replace n_groups "
    "mamba_n_groups num_dense_layers",
    3: "sliding_window attention_chunk_size",
    64: "max_position_embeddings n_positions n_ctx max_target_positions max_source_positions max_sequence_length "
    "max_seq_len seq_length",
    N_IDS: "vocab_size vocab_size_per_layer_input n_vocab text_vocab_size n_words encoder_hash_byte_group_vocab",
}
_SMALL_OF = {name: value for value, names in _SMALL.items() for name in names.split()}
_SPECIAL_IDS = ("pad", "bos", "eos", "decoder_start", "sep", "unk", "mask", "cls")
_BY_LAYER = ("layer_types", "mlp_layer_types", "layers_block_type", "per_layer_config", "block_types")
_MAMBA = {f"{prefix}{name}": 8 for prefix in ("", "mamba_") for name in ("num_heads", "n_heads", "head_dim", "d_head")}
_TRIES: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    # What else to set, and what to leave to the configuration's own defaults. The first that makes a model is taken.
    ({}, _BY_LAYER),
    ({}, ()),
    ({"qk_rope_head_dim": 8, "head_dim": 8, "num_key_value_heads": 4}, _BY_LAYER),
    ({"qk_rope_head_dim": 4, "head_dim": 4, "num_key_value_heads": 4}, _BY_LAYER),
]
