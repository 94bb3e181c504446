"""Write ``docs/model_types.md``: how each causal ``model_type`` of ``transformers`` is run here.

    python scripts/make_model_verdicts.py [MODEL_TYPE...]

A tiny model of each type is made with random weights, each in a process of its own. What we say of prompts is
compared with what the model itself says of them whole, in float32. With names, only their verdicts are printed.
"""

import inspect
import logging
import multiprocessing
import os
import resource
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

KINDS = ("packed", "level by level", "whole prompts", "refused", "cannot be made")
PAGE = Path(__file__).parents[1] / "docs/model_types.md"
N_IDS = 96
_SECONDS = 600
_MOST_BYTES = 6 << 30
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
_MAMBA = dict.fromkeys(("mamba_n_heads", "mamba_num_heads", "mamba_d_head", "mamba_head_dim", "n_mamba_heads"), 8)
_MLA = {"num_key_value_heads": 4, "head_dim": 8, "qk_rope_head_dim": 8, "qk_head_dim": 16}
_OTHER: list[dict[str, Any]] = [
    # Tried in turn, on top of the small numbers, until a model can be made and run.
    {},
    _MLA,
    _MLA | {"head_dim": 16, "index_head_dim": 16},
    _MAMBA | {"num_heads": 8, "head_dim": 8, "attn_layer_indices": [1]},
    _MAMBA | {"mamba_n_heads": 4, "mamba_num_heads": 4, "mamba_d_head": 16, "mamba_head_dim": 16, "n_mamba_heads": 2},
    {"num_experts_per_tok": 1, "is_decoder": True, "default_language": "en_XX", "axial_pos_shape": [8, 8]}
    | {"axial_pos_embds_dim": [16, 16], "attention_types": [[["global", "local"], 1]], "attention_layers": None},
    {"layer_types": None, "mlp_layer_types": None, "num_hidden_layers": 6, "n_layer": 6},
    {"layer_types": None, "head_dim": None},
]
_ZAMBA = {"layers_block_type": ["linear_attention", "hybrid", "hybrid"], "num_hidden_layers": 3} | {
    "num_key_value_heads": 4,
    "attention_hidden_size": 64,
    "attention_head_dim": 16,
}
_INDEXER = {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8, "indexer_budget": 4} | {
    "indexer_compress_ratio": 2,
    "hc_lowrank": 8,
    "hc_count": 2,
}
_ASSISTANT = {
    "text_config": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_kv_shared_layers": 2}
    | {"hidden_size_per_layer_input": 0, "vocab_size_per_layer_input": 0, "vocab_size": N_IDS, "num_attention_heads": 4}
    | {"num_key_value_heads": 2, "head_dim": 8, "global_head_dim": 8, "sliding_window": 3}
    | {"layer_types": ["sliding_attention", "full_attention"]}
}
_BY_HAND: dict[str, dict[str, Any]] = {
    # Types whose numbers depend on one another in a way of their own.
    "bailing_hybrid": _MLA | {"num_expert_group": 1, "linear_head_dim": 8, "linear_num_heads": 4},
    "blt": {"hidden_size_global": 32},
    "cohere_compass_text": {
        "num_key_value_heads": 4,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 10000.0}},
    },
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"hidden_size": 32, "ffn_hidden_size": 48, "moe_num_experts": 4, "moe_top_k": 2},
    },
    "dots3_note": _MLA
    | {"head_dim": 16, "index_head_dim": 16, "adapter_in_dim": 32, "adapter_out_dim": 32, "adapter_input_size": 32},
    "emu3": {"base_channels": 32, "codebook_size": 4, "image_token_id": 5}
    | {
        "vocabulary_map": {"<image>": 5, "<|extra_200|>": 6, "<|visual token 000000|>": 7, "<|visual token 000001|>": 8}
    },
    "falcon_h1": {"mamba_d_ssm": 32, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_chunk_size": 8},
    "gemma3n_text": {
        "num_hidden_layers": 4,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "num_kv_shared_layers": 2,
        "intermediate_size": [48] * 4,
        "activation_sparsity_pattern": [0.5, 0.0, 0.0, 0.0],
        "hidden_size_per_layer_input": 16,
    },
    "gemma4_assistant": _ASSISTANT,
    "gemma4_unified_assistant": _ASSISTANT,
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]], "window_size": 3}
    | {"attention_layers": ["global", "local"]},
    "granitemoehybrid": {"mamba_n_heads": 8, "mamba_d_head": 8, "mamba_chunk_size": 8, "num_hidden_layers": 2}
    | {"layer_types": ["linear_attention", "full_attention"]},
    "hrm_text": {"num_layers_per_stack": 1, "num_hidden_layers": 8},
    "kimi_linear": _MLA | {"num_expert_group": 1, "linear_head_dim": 8, "linear_num_heads": 4},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"]},
    "mllama": {"cross_attention_layers": [1], "vision_output_dim": 64, "intermediate_layers_indices": [0]}
    | {"attention_heads": 4, "num_global_layers": 1, "image_size": 28},
    "musicgen": {},
    "musicgen_melody": {},
    "qwen4_exp": _INDEXER,
    "qwen4_exp_text": _INDEXER,
    "xlstm": {"hidden_size": 128, "embedding_dim": 128},
    "zamba": _ZAMBA | {"mamba_dt_rank": 4, "use_mamba_kernels": False},
    "zamba2": _ZAMBA
    | {"n_mamba_heads": 8, "mamba_headdim": 8, "kv_channels": 8, "num_query_groups": 4}
    | {"hybrid_layer_ids": [1, 2], "chunk_size": 8, "use_mamba_kernels": False},
}
_MADE_AS = {"emu3": "AutoModelForImageTextToText", "mllama": "AutoModelForImageTextToText"}
"""What checkpoints of these types hold, where that is not what they are loaded as here."""


@dataclass(frozen=True)
class Verdict:
    """How a type is run, or why not."""

    kind: str
    """One of KINDS, or WRONG or TRACEBACK, which must not be."""
    reason: str = ""


def small_config(model_type: str, other: dict[str, Any], fill: bool) -> Any:
    """A configuration of a tiny model; with ``fill``, also of what its class leaves open."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    made = CONFIG_MAPPING[model_type]
    by_hand = _BY_HAND.get(model_type, {})
    values = {} if "text_config" in by_hand else made().to_dict()  # that is all, and there may be no defaults
    return made.from_dict(_smaller(values, other | by_hand, fill) | by_hand)


def _smaller(values: dict[str, Any], other: dict[str, Any], fill: bool) -> dict[str, Any]:
    n_layers = next((values[name] for name in ("num_hidden_layers", "n_layer") if values.get(name)), None)
    types = [value for value in values.values() if _is_by_layer(value, n_layers) and isinstance(value[0], str)]
    # One layer of each kind.
    kinds = list(zip(*types, strict=True))
    layers = sorted({kinds.index(kind) for kind in kinds})
    layers = layers if len(layers) > 1 else [0, 1]
    small: dict[str, Any] = {}
    for name, value in values.items():
        if name in ("transformers_version", "architectures", "dtype"):
            continue
        if name in other and (value is not None or fill):
            small[name] = other[name]
        elif name == "per_layer_config" and value:
            kept = {layers.index(int(layer)): of_layer for layer, of_layer in value.items() if int(layer) in layers}
            small[name] = {layer: _smaller(of_layer, other, fill) for layer, of_layer in kept.items()}
        elif isinstance(value, dict) and name.endswith("config"):
            small[name] = _smaller(value, other, fill)
        elif name in ("num_hidden_layers", "n_layer") and types:
            small[name] = len(layers)
        elif _is_by_layer(value, n_layers):
            small[name] = [
                _SMALL_OF.get(name, value[layer]) if not isinstance(value[layer], str) else value[layer]
                for layer in layers
            ]
        elif name in _SMALL_OF and (isinstance(value, int | float) or (value is None and fill)):
            small[name] = _SMALL_OF[name]
        elif name.endswith(("token_id", "token_index")) and isinstance(value, int):
            special = [name.startswith(kind) for kind in _SPECIAL_IDS]
            small[name] = special.index(True) if any(special) else min(value, N_IDS - 1)
        else:
            small[name] = value
    return small


def _is_by_layer(value: Any, n_layers: int | None) -> bool:
    return isinstance(value, list) and len(value) == n_layers and n_layers > 0


def small_model(model_type: str, **flags: Any) -> Any:
    """A tiny model with random weights that can be run. Raises ValueError where none of the tries makes one."""
    import torch
    import transformers

    maker = getattr(transformers, _MADE_AS.get(model_type, "AutoModelForCausalLM"))
    reasons = []
    for other, fill in [({}, True)] if model_type in _BY_HAND else product(_OTHER, (False, True)):
        torch.manual_seed(11)
        try:
            config = small_config(model_type, other | flags, fill)
            for name, value in flags.items():
                setattr(config, name, value)
            model = maker.from_config(config, dtype=torch.float32).eval()
            _make_confident(model)
            if model_type not in _BY_HAND:
                _check_runs(model)
            return model
        except Exception as error:  # anything, from any of nearly two hundred modules
            reasons.append(error)
    raise ValueError(f"{type(reasons[0]).__name__}: {' '.join(str(reasons[0]).split())}") from reasons[0]


def _check_runs(model: Any) -> None:
    """Raises what a model does of unsuitable numbers."""
    import torch

    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[7, 8, 9, 10, 11], [7, 8, 20, 30, 40]])).logits
    if not logits.isfinite().all():
        raise ValueError("gives no finite numbers")


def _make_confident(model: Any) -> None:
    import torch

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear | torch.nn.Embedding):
                module.weight.normal_(0, _WEIGHT)


def verdict_of(model: Any, folder: Path) -> Verdict:
    """How a model is run here, once it is saved in ``folder``, and whether what comes out is right."""
    try:
        model.save_pretrained(folder)
    except Exception as error:
        return Verdict("cannot be made", f"cannot be saved: {type(error).__name__}: {error}")
    return verdict_of_folder(folder)


def verdict_of_folder(folder: Path) -> Verdict:
    """How the model of a folder is run here, and whether what comes out is right."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM

    from taskcatalog.errors import InputError
    from taskcatalog.lm.forward import PromptRunner
    from taskcatalog.lm.load import find_model

    try:
        ours = find_model(str(folder), label="m").load()
    except InputError as error:
        return Verdict("refused", str(error).removeprefix("model m: ").removeprefix(f"model {folder}: "))
    plain: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    generator = np.random.default_rng(5)
    n_ids = min(ours.n_embeddings, ours.output_width, N_IDS)
    for length in (1, 3, 5, ours.longest_prompt):
        few = generator.choice(n_ids, 6, replace=False)
        prompts = np.unique(few[generator.integers(0, 6, (12, length))], axis=0)
        found = ours.logits(PromptRunner(ours, length).last_hidden(prompts))
        with torch.inference_mode():
            # With its cache, RWKV mixes up prompts of one token.
            options = {"use_cache": False} if "use_cache" in inspect.signature(plain.forward).parameters else {}
            expected = plain(input_ids=torch.from_numpy(prompts), **options).logits[:, -1]
        largest = (found - expected).abs().max().item()
        if not largest <= 1e-3 * expected.std().item():
            return Verdict("WRONG", f"{ours.way}: logits of {length} tokens differ by {largest:.2g}")
    return Verdict(ours.way)


def judged(model_type: str) -> Verdict:
    """The verdict on one type, in this process."""
    import transformers

    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = small_model(model_type)
    except ValueError as error:
        if model_type in _BY_HAND:  # so it is not for unsuitable numbers
            return _verdict_without_weights(model_type)
        return Verdict("cannot be made", _one_line(str(error)))
    with tempfile.TemporaryDirectory() as folder:
        verdict = verdict_of(model, Path(folder) / "m")
        if verdict.kind == "refused" and getattr(model.config, "is_decoder", None) is False:
            as_decoder = verdict_of(small_model(model_type, is_decoder=True), Path(folder) / "decoder")
            reason = f"{as_decoder.kind} {as_decoder.reason}".strip()
            verdict = Verdict(verdict.kind, f"{verdict.reason}; with `is_decoder`: {reason}")
    return Verdict(verdict.kind, _one_line(verdict.reason))


def _verdict_without_weights(model_type: str) -> Verdict:
    """What becomes of a checkpoint of a type whose models cannot even be made."""
    import torch
    from safetensors.torch import save_file

    with tempfile.TemporaryDirectory() as folder:
        small_config(model_type, {}, fill=True).save_pretrained(folder)
        save_file({"none": torch.zeros(1)}, Path(folder) / "model.safetensors", {"format": "pt"})
        verdict = verdict_of_folder(Path(folder))
    return Verdict(verdict.kind, _one_line(verdict.reason))


def _one_line(text: str) -> str:
    return " ".join(text.replace("|", "/").split())[:200]


def verdicts(model_types: Sequence[str], workers: int = 2) -> Iterator[tuple[str, Verdict]]:
    """The verdict on each type, each from a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["taskcatalog.lm.load", "taskcatalog.lm.forward", "transformers.modeling_utils"])
    with ThreadPoolExecutor(workers) as threads:
        found = threads.map(lambda model_type: _judged_elsewhere(context, model_type), model_types)
        yield from zip(model_types, found, strict=True)


def _judged_elsewhere(context: ForkServerContext, model_type: str) -> Verdict:
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_judge, args=(model_type, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(_SECONDS):
            return Verdict("cannot be made", f"takes longer than {_SECONDS} seconds")
        verdict: Verdict = ours.recv()
        return verdict
    except EOFError:
        return Verdict("TRACEBACK", "its process died")
    finally:
        process.kill()
        process.join()


def _judge(model_type: str, connection: Connection) -> None:
    import torch

    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    try:
        verdict = judged(model_type)
    except Exception as error:
        verdict = Verdict("TRACEBACK", _one_line(f"{type(error).__name__}: {error}"))
    connection.send(verdict)


def all_types() -> list[str]:
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def page(found: dict[str, Verdict]) -> str:
    """The text of ``docs/model_types.md``."""
    import transformers

    counts = Counter(verdict.kind for verdict in found.values())
    rows = [f"| `{name}` | {verdict.kind} | {verdict.reason} |" for name, verdict in sorted(found.items())]
    return "\n".join(
        [
            "# Types of models\n",
            "Made by `scripts/make_model_verdicts.py`: of each `model_type` that `AutoModelForCausalLM` of "
            f"transformers {transformers.__version__} knows, a tiny model with random weights is made, asked in the "
            "way that is chosen when it is loaded ([models.md](models.md)), and compared with what it says itself of "
            "each prompt whole, in float32.\n",
            ", ".join(f"{kind}: {counts[kind]}" for kind in [*KINDS, *sorted(counts.keys() - set(KINDS))]) + ".\n",
            "| `model_type` | run | why |",
            "|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    names = sys.argv[1:]
    found = {}
    for name, verdict in verdicts(names or all_types(), int(os.environ.get("WORKERS", "2"))):
        found[name] = verdict
        print(f"{name}: {verdict.kind} {verdict.reason}", flush=True)
    if not names:
        PAGE.write_text(page(found))


if __name__ == "__main__":
    main()
