"""Loads any causal model that ``transformers`` knows, by hub name or from a local folder."""

import hashlib
import logging
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from huggingface_hub import hf_hub_download
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.quantizers.auto import AutoHfQuantizer

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.find_tokenizer import find_tokenizer
from taskcatalog.lm.memory import is_out_of_memory
from taskcatalog.lm.model import ModelName, TransformersModel
from taskcatalog.runs.files import read_json, sha256_of_file
from taskcatalog.storage import name_of
from taskcatalog.stores.kinds import mistaken
from taskcatalog.vocabulary import Vocabulary

PYTHIA = [f"EleutherAI/pythia-{size}-deduped" for size in ("70m", "160m", "410m", "1b", "1.4b", "2.8b", "6.9b", "12b")]
"""What the name ``pythia`` stands for."""

_DTYPES = ("float32", "bfloat16", "float16")
Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def label_of(name: str, revision: str | None = None) -> str:
    """The label of a model: the size for Pythia, else the last part of its name in safe characters."""
    last = Path(name).name or name
    pythia = re.fullmatch(r"pythia-([\d.]+[mb])(?:-deduped)?", last)
    label = pythia[1] if pythia else last
    return checked_label(re.sub(r"[^0-9a-z.]+", "_", f"{label}-{revision}" if revision else label, flags=re.I).lower())


def checked_label(label: str) -> str:
    """``label``; raises SettingsError unless it can name a column and a folder."""
    if not re.fullmatch(r"\w[\w.]*", label):
        raise SettingsError(f"label {label!r} is not letters, digits, '_' and '.', beginning with none of '.'")
    return label


@dataclass(frozen=True)
class FoundModel:
    """A model that is there, not yet loaded."""

    path: str
    hub_commit: str | None
    """None for a local folder."""
    devices: tuple[torch.device, ...]
    """Where it is to run, a copy on each."""
    config: PreTrainedConfig = field(compare=False)
    name: ModelName

    def load(self, dtype: str | None = None, device: torch.device | None = None) -> TransformersModel:
        """Reads the weights, as ``dtype`` if that differs from the name's, to the first of its devices if no other is
        given. Raises InputError if they are damaged."""
        _silence()  # here too, as this may be another process
        chosen = dtype or self.name.dtype
        try:
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                self.path,
                revision=self.hub_commit,
                config=self.config,
                dtype=getattr(torch, chosen),
                output_loading_info=True,
                trust_remote_code=False,
                weights_only=True,  # a pickle may hold code, too
                ignore_mismatched_sizes=True,  # they are told below, with names
            )
        except Exception as error:  # transformers raises many kinds for what is one thing to a user
            if is_out_of_memory(error):
                raise
            raise _unusable(self.path, error, self.config.to_dict()) from error
        model, loading = loaded
        if missing := sorted(loading["missing_keys"]):
            raise InputError(f"model {self.path}: its files lack weights ({missing[0]} …): get them anew")
        for weight, there, expected in sorted(loading["mismatched_keys"]):
            raise InputError(
                f"model {self.path}: its weights have {weight} of shape {tuple(there)}, and config.json makes it "
                f"{tuple(expected)}: one of them was changed, get it anew"
            )
        return TransformersModel(model.to(device or self.devices[0]), replace(self.name, dtype=chosen))

    def vocabulary(self) -> Vocabulary | None:
        """The tokens of the ``tokenizer.json`` that comes with the model, where one that can be read does."""
        try:
            return Vocabulary.read(find_tokenizer(self.path, self.hub_commit))
        except InputError:
            return None


def find_model(
    name: str, *, revision: str | None = None, device: str = "auto", dtype: Dtype = "auto", label: str | None = None
) -> FoundModel:
    """The model of this hub name or local folder.

    ``device`` is one or several with commas between them (``cuda:0,cuda:1``); ``auto`` is all of CUDA's where there are
    any. ``dtype`` ``auto`` is float32. Raises InputError where there is no such model, SettingsError for a device or
    dtype that is not to be had.
    """
    name = name_of(name, "model")
    label = label_of(name, revision) if label is None else checked_label(label)
    if dtype not in ("auto", *_DTYPES):
        raise SettingsError(f"dtype is {dtype!r}: it must be auto, {', '.join(_DTYPES)}")
    targets = _devices(device)
    folder = Path(name)
    if not folder.is_dir() and (folder.is_absolute() or name.startswith(".") or name.count("/") > 1):
        raise InputError(f"model {name}: no such folder")
    if not (folder / "config.json").exists() and (mistake := mistaken(folder, "a model")):
        raise InputError(f"model {name}: {mistake}")
    _silence()
    if (folder / "config.json").is_file():
        _check_object(folder / "config.json")
    content: dict[str, Any] = {}
    try:
        content = PreTrainedConfig.get_config_dict(name, revision=revision)[0]
        _check_content(name, content)
        config = AutoConfig.from_pretrained(name, revision=revision, trust_remote_code=False)
        # What is read later is of the same commit, whatever a branch of the hub comes to mean.
        commit = None if folder.is_dir() else Path(hf_hub_download(name, "config.json", revision=revision)).parent.name
        n_layers = getattr(config.get_text_config(), "num_hidden_layers", None)  # which of several may not be clear
    except InputError:
        raise
    except Exception as error:
        raise _unusable(name, error, content) from error
    if n_layers == 0:
        raise InputError(f"model {name}: has no layers (num_hidden_layers in config.json is 0)")
    chosen = "float32" if dtype == "auto" else dtype
    identity = ModelName(label=label, revision=commit or _content_hash(folder), dtype=chosen)
    return FoundModel(name, commit, targets, config, identity)


def _silence() -> None:
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every try to reach the hub


def _check_object(path: Path) -> None:
    """Raises InputError where config.json holds no settings."""
    try:
        content = read_json(path)
    except InputError as error:
        raise InputError(f"model {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"model {path}: is no object of settings: get it anew")


def _check_content(name: str, content: dict[str, Any]) -> None:
    """Raises InputError where config.json asks for what would not be done, or not without a word."""
    if content.get("auto_map"):
        raise InputError(
            f"model {name}: comes with code of its own (auto_map in config.json), and code beside a model is not "
            "run: use a checkpoint for transformers' own classes"
        )
    if (quantization := content.get("quantization_config")) is None:
        return
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    # transformers loads the weights of a kind that it does not know as if they were plain numbers.
    if not isinstance(quantization, dict) or not AutoHfQuantizer.supports_quant_method(quantization):
        raise InputError(
            f"model {name}: config.json has a quantization_config of the kind {method!r}, which transformers does not "
            "know: use a checkpoint of plain weights"
        )


def _unusable(name: str, error: Exception, content: dict[str, Any]) -> InputError:
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):  # what transformers has no class or function for
        parts = [content, *(part for part in content.values() if isinstance(part, dict))]
        said = [f"{key} {value!r}" for part in parts for key, value in part.items() if error.args == (value,)]
        if said:
            reason = f"config.json has {said[0]}, which transformers does not know: give one that it knows"
    return InputError(f"model {name}: cannot be loaded: {reason[:300]}")


def _devices(names: str) -> tuple[torch.device, ...]:
    if names == "auto":
        n_cuda = torch.cuda.device_count()
        return tuple(torch.device("cuda", i) for i in range(n_cuda)) or (torch.device("cpu"),)
    return tuple(_device(name.strip()) for name in names.split(","))


def _device(name: str) -> torch.device:
    try:
        target = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(
            f"device {name!r} is none that torch knows: use auto, cpu, cuda or cuda:0,cuda:1"
        ) from error
    if target.type == "cpu" and target.index is None:
        return target
    try:
        n_devices = 0 if target.type in ("cpu", "meta") else int(getattr(torch, target.type).device_count())
        if (target.index or 0) >= n_devices:
            raise RuntimeError("no such device")
        torch.ones(1, device=target).sum().item()
    except Exception as error:  # each kind of device has its own for not being there
        here = ", ".join(["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))])
        raise SettingsError(f"device {name!r}: torch cannot compute on one here: use --device {here}") from error
    return target


def _content_hash(folder: Path) -> str:
    """Names a local model by its configuration and weights."""
    files = sorted(path for path in folder.iterdir() if path.name == "config.json" or path.suffix in _WEIGHTS)
    digest = hashlib.sha256("".join(f"{path.name} {sha256_of_file(path)}\n" for path in files).encode())
    return f"sha256:{digest.hexdigest()[:16]}"


_WEIGHTS = {".safetensors", ".bin", ".pt"}
