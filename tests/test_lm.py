"""Prefix running against the plain forward pass, over several architectures; measures against float64."""

import ctypes
import json
import os
import resource
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM

from helpers import float64_measures
from models import ARCHITECTURES, VOCABULARY, save_model
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.lm.forward import PromptRunner
from taskcatalog.lm.linear import filled_up, linear
from taskcatalog.lm.load import find_model, label_of
from taskcatalog.lm.measures import Measured, States, answers, best_tokens, changes
from taskcatalog.lm.memory import kept_memory
from taskcatalog.lm.model import ModelName, TransformersModel
from taskcatalog.lm.prefix_tree import PrefixTree, prefix_tree
from taskcatalog.sizes import resident_memory


@settings(max_examples=60, deadline=None)
@given(
    length=st.integers(1, 4),
    rows=st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=40),
)
def test_branches_spell_the_prompts(length: int, rows: list[list[int]]) -> None:
    prompts = np.unique(np.array(rows, np.uint16)[:, :length], axis=0)
    tree = prefix_tree(prompts)
    assert np.column_stack([tree.ids[tree.branches], tree.leaf_ids]).tolist() == prompts.tolist()
    for depth, level in enumerate(tree.levels, 1):
        assert tree.ids[level].tolist() == sorted(map(list, {tuple(row) for row in prompts[:, :depth].tolist()}))
        assert (tree.depths[level] == np.arange(depth)).all()
    n_prefixes = sum(len({tuple(row) for row in prompts[:, :depth].tolist()}) for depth in range(1, length + 1))
    assert tree.n_positions == n_prefixes


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(request.param, tmp_path_factory.mktemp("models") / str(request.param))


@pytest.mark.parametrize("length", [1, 2, 5, 9])
@pytest.mark.parametrize("bos_id", [None, 1])
def test_last_hidden_states_give_the_models_logits(folder: Path, length: int, bos_id: int | None) -> None:
    generator = np.random.default_rng(length)
    prompts = np.unique(generator.integers(0, 8, (300, length)).astype(np.uint16), axis=0)
    model = find_model(str(folder)).load()
    found = model.logits(PromptRunner(model, length, bos_id).last_hidden(prompts))
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    whole = prompts.astype(np.int64) if bos_id is None else np.insert(prompts.astype(np.int64), 0, bos_id, axis=1)
    with torch.inference_mode():
        expected = plain(input_ids=torch.from_numpy(whole), use_cache=False).logits[:, -1]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_only_attention_that_cannot_be_replaced_is_run_level_by_level(folder: Path) -> None:
    assert find_model(str(folder)).load().way == ("level by level" if folder.name == "bloom" else "packed")


def test_models_with_an_unknown_head_give_their_own_logits(tmp_path: Path) -> None:
    """Such a model gives logits in place of hidden states."""
    folder = save_model("llama", tmp_path / "m")
    expected = find_model(str(folder)).load()
    raw: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    raw.lm_head = torch.nn.Sequential(raw.lm_head, torch.nn.Tanh())
    raw.get_output_embeddings = lambda: raw.lm_head[0]
    model = TransformersModel(raw, expected.name)
    prompts = np.array([[3, 4], [3, 6], [5, 6]])
    found = PromptRunner(model, 2).last_hidden(prompts)
    logits = expected.logits(PromptRunner(expected, 2).last_hidden(prompts)).tanh()
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-5)


def test_published_greedy_text(stories: Path) -> None:
    """Our loading and our passes continue the story as its author published it."""
    golden = json.loads((stories / "golden_greedy.json").read_text())["ids"]
    model = find_model(str(stories)).load()
    ids = golden[:1]
    with torch.inference_mode():
        while len(ids) < len(golden):
            hidden = PromptRunner(model, len(ids)).last_hidden(np.array([ids]))
            ids.append(int(best_tokens(model, hidden).ids[0]))
    assert ids == golden


class ShortOfMemory:
    """A model that has no memory for more than ten prompts at once."""

    def __init__(self, model: TransformersModel) -> None:
        self._model = model
        self.tried: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def last_hidden(self, tree: PrefixTree) -> torch.Tensor:
        self.tried.append(len(tree.leaf_ids))
        if len(tree.leaf_ids) > 10:
            torch.empty(1 << 60)
        return self._model.last_hidden(tree)

    def logits(self, hidden: torch.Tensor, columns: slice) -> torch.Tensor:
        self.tried.append(len(hidden))
        if len(hidden) > 10:
            torch.empty(1 << 60)
        return self._model.logits(hidden, columns)


def test_blocks_that_do_not_fit_the_memory_are_halved(tmp_path: Path) -> None:
    model = find_model(str(save_model("gpt_neox", tmp_path / "m"))).load()
    short: Any = ShortOfMemory(model)
    prompts = np.unique(np.random.default_rng(0).integers(0, 8, (60, 3)), axis=0)
    runner = PromptRunner(short, 3)
    torch.testing.assert_close(runner.last_hidden(prompts), PromptRunner(model, 3).last_hidden(prompts))
    assert short.tried[0] == len(prompts)
    assert all(n <= 8 for n in short.tried[short.tried.index(8) :])


def test_rows_that_do_not_fit_the_memory_are_halved(tmp_path: Path) -> None:
    model = find_model(str(save_model("gpt_neox", tmp_path / "m"))).load()
    hidden = PromptRunner(model, 1).last_hidden(np.arange(40)[:, None])
    short: Any = ShortOfMemory(model)
    found, expected = (answers(one, hidden, torch.arange(40)) for one in (short, model))
    for field_ in fields(expected):
        torch.testing.assert_close(getattr(found, field_.name), getattr(expected, field_.name))
    assert short.tried[0] == 40
    assert set(short.tried[short.tried.index(10) :]) == {10}


@dataclass
class GivenLogits:
    """A model whose hidden states are its logits."""

    output_width: int
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    name: ModelName = field(default_factory=lambda: ModelName(label="given", revision="", dtype="float32"))
    n_embeddings: int = 0
    longest_prompt: int = 0
    bytes_per_token: int = 1

    def n_positions(self, tree: PrefixTree) -> int:
        raise NotImplementedError

    def last_hidden(self, tree: PrefixTree) -> torch.Tensor:
        raise NotImplementedError

    def logits(self, hidden_BD: torch.Tensor, columns: slice) -> torch.Tensor:
        return hidden_BD[:, columns].clone()


def compare(short: torch.Tensor, long: torch.Tensor) -> Measured:
    model = GivenLogits(short.shape[1])
    return changes(model, States.of(model, short), torch.arange(len(short)), States.of(model, long))


@pytest.mark.parametrize("scale", [0.1, 1, 10, 40])
@pytest.mark.parametrize("width", [2, 512, 50_304])
def test_measures(scale: float, width: int) -> None:
    generator = torch.Generator().manual_seed(width)
    short = torch.randn(40, width, generator=generator) * scale
    long = short + torch.randn(40, width, generator=generator) * scale
    found = compare(short, long)
    for name, expected in float64_measures(short.numpy(), long.numpy()).items():
        np.testing.assert_allclose(found[name].numpy(), expected, rtol=1e-4, atol=1e-6, err_msg=name)


def test_measures_have_their_bounds() -> None:
    """Certain of different tokens: the Jensen-Shannon divergence is ln 2, half the Jeffreys divergence far more."""
    one, other = torch.zeros(1, 9), torch.zeros(1, 9)
    one[0, 2] = other[0, 5] = 200
    found = compare(one, other)
    assert found["jsd"].item() == pytest.approx(np.log(2), abs=1e-6)
    assert found["JS"].item() == pytest.approx(200)
    assert found["p_delta_max"].item() == pytest.approx(1)
    same = compare(one, one)
    assert (same["JS"].item(), same["jsd"].item(), same["logit_excite_max"].item()) == (0, 0, 0)


def test_best_tokens() -> None:
    """Across tiles; of equals the smallest id is taken."""
    logits = torch.randn(70, 5_000, generator=torch.Generator().manual_seed(0)) * 4
    logits[0, [17, 4_000]] = 60
    logits[1, 4_999] = torch.nan
    logits[2, :2_048] = -torch.inf
    found = best_tokens(GivenLogits(5_000), logits)
    expected = logits.double().softmax(-1).max(-1)
    rows = torch.arange(70) != 1
    assert found.ids[rows].tolist() == expected.indices[rows].tolist()
    assert found.ids[0] == 17
    torch.testing.assert_close(found.p[rows], expected.values[rows].float(), rtol=1e-5, atol=0)
    assert found.p[1].isnan()


@pytest.mark.parametrize("scale", [0.1, 1, 10, 100])
def test_answers(scale: float) -> None:
    """Across tiles, of which some have no probability."""
    logits = torch.randn(70, 5_000, generator=torch.Generator().manual_seed(3)) * scale
    logits[0, :2_048] = logits[1, 2_048:] = logits[2, 7:4_900] = -torch.inf
    logits[3, 4_999] = torch.nan
    completions = torch.arange(70) * 70
    found = answers(GivenLogits(5_000), logits, completions)
    exact = logits.double().log_softmax(-1)
    p = exact.exp()
    rows = torch.arange(70) != 3
    asked = logits[torch.arange(70), completions]
    expected = {
        "p": p[torch.arange(70), completions],
        "best_p": p.max(-1).values,
        "entropy": -(p * exact.clamp(min=-1e300)).sum(-1),
    }
    for name, values in expected.items():
        least = 1e-6 if name == "entropy" else 1e-9  # nats; float32 gives no small difference to 1 better
        torch.testing.assert_close(getattr(found, name)[rows], values[rows].float(), rtol=1e-4, atol=least)
        assert getattr(found, name)[3].isnan()
    assert found.rank[rows].tolist() == [1 + int(n) for n in (logits > asked[:, None]).sum(-1)[rows]]
    assert found.best_id[rows].tolist() == logits.argmax(-1)[rows].tolist()


def test_answers_of_a_model(folder: Path) -> None:
    model = find_model(str(folder)).load()
    hidden = PromptRunner(model, 1).last_hidden(np.arange(40)[:, None])
    found = answers(model, hidden, torch.arange(40).flip(0))
    logits = model.logits(hidden)
    p = logits.double().softmax(-1)
    asked = torch.arange(40), torch.arange(40).flip(0)
    torch.testing.assert_close(found.p.double(), p[asked], rtol=1e-4, atol=0)
    torch.testing.assert_close(found.entropy.double(), torch.special.entr(p).sum(-1), rtol=1e-4, atol=0)
    assert found.rank.tolist() == [1 + int(n) for n in (logits > logits[asked][:, None]).sum(-1)]


@pytest.mark.parametrize("shape", [(1, 7, 24), (300, 24), (0, 24), (1, 24)])
@pytest.mark.parametrize("has_bias", [False, True])
def test_linear(shape: tuple[int, ...], has_bias: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    inputs, weight = torch.randn(shape, generator=generator), torch.randn(130, 24, generator=generator)
    bias = torch.randn(130, generator=generator)[17:87] if has_bias else None
    found = linear(inputs, weight[17:87], bias)
    expected = inputs.double() @ weight[17:87].double().T + (0 if bias is None else bias)
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=1e-5)


def test_rows_are_filled_up_to_few_numbers() -> None:
    assert [filled_up(n) for n in range(17)] == list(range(17))
    assert len({filled_up(n) for n in range(1_025, 2_049)}) == 8
    assert all(n <= filled_up(n) < n * 9 / 8 for n in range(1, 5_000))


def _faults_and_given_back(size: int) -> tuple[int, int]:
    """Page faults of memory that is asked for again and again, and the bytes that go back at the end."""
    with kept_memory():
        for _ in range(2):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
            b"1" * size
        faults, kept = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, resident_memory()
    return faults, kept - resident_memory()


def test_freed_memory_is_kept_and_given_back() -> None:
    if not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library is not glibc")
    size = 100 << 20
    # In a process of its own: where memory was ever refused, as in tests above, glibc looks for it elsewhere.
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        faults, given_back = process.submit(_faults_and_given_back, size).result()
    assert faults < size // resource.getpagesize() // 10
    assert given_back > size // 2


def test_labels() -> None:
    assert label_of("EleutherAI/pythia-2.8b-deduped") == "2.8b"
    assert label_of("EleutherAI/pythia-70m") == "70m"
    assert label_of("EleutherAI/pythia-70m-deduped", "step1000") == "70m_step1000"
    assert label_of("/data/My Model-v2/") == "my_model_v2"


def test_models_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    broken = save_model("llama", tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    for name, message in (
        (str(tmp_path / "missing"), r"missing: no such folder"),
        (str(tmp_path / "empty"), r"empty: cannot be loaded"),
        (str(broken), r"broken: cannot be loaded"),
        ("EleutherAI/not-there", r"not-there: cannot be loaded"),
    ):
        with pytest.raises(InputError, match=message):
            find_model(name).load()
    lacking = save_model("llama", tmp_path / "lacking")
    config = json.loads((lacking / "config.json").read_text())
    (lacking / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(InputError, match="lack weights"):
        find_model(str(lacking)).load()
    good = save_model("llama", tmp_path / "good")
    with pytest.raises(SettingsError, match="dtype is 'int8'"):
        find_model(str(good), dtype="int8")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="device 'warp'"):
        find_model(str(good), device="warp")
    with pytest.raises(SettingsError, match=r"label '\.\./x'"):
        find_model(str(good), label="../x")
    assert find_model(str(good)).load().n_embeddings == VOCABULARY


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"hidden_act": "odd"},
            r"cannot be loaded: config.json has hidden_act 'odd', which transformers does not know",
        ),
        ({"rope_scaling": {"type": "odd", "factor": 2.0}}, r"config.json has type 'odd', which transformers does not"),
        ({"vocab_size": 77}, rf"embed_tokens.weight of shape \({VOCABULARY}, .*config.json makes it \(77, "),
        ({"quantization_config": {"quant_method": "odd"}}, "quantization_config of the kind 'odd', which .* not know"),
        ({"quantization_config": 5}, "quantization_config of the kind 5, which .* not know"),
    ],
)
def test_odd_configurations(tmp_path: Path, change: dict[str, object], message: str) -> None:
    model = save_model("llama", tmp_path / "m")
    _change_config(model, **change)
    with pytest.raises(InputError, match=rf"model {model}: .*{message}"):
        find_model(str(model)).load()


@pytest.mark.parametrize("content", ["[]", "3", '"text"', "null"])
def test_a_configuration_that_is_no_object(tmp_path: Path, content: str) -> None:
    config = save_model("llama", tmp_path / "m") / "config.json"
    config.write_text(content)
    with pytest.raises(InputError, match=rf"model {config}: is no object of settings: get it anew"):
        find_model(str(config.parent))


def test_a_model_of_several_texts(tmp_path: Path) -> None:
    """What its layers are, ``transformers`` does not say."""
    model = save_model("llama", tmp_path / "m")
    _change_config(model, model_type="musicgen")
    with pytest.raises(InputError, match="cannot be loaded: Multiple valid text configs"):
        find_model(str(model))


@pytest.mark.parametrize("device", ["warp", "meta", "xpu", "cuda:7", "cpu:3", "mps:1", "", "cpu,,cpu"])
def test_devices_that_are_not_here(tmp_path: Path, device: str) -> None:
    if device == "cuda:7" and torch.cuda.device_count() > 7:
        pytest.skip("there are eight GPUs here")
    model = save_model("llama", tmp_path / "m")
    with pytest.raises(
        SettingsError, match=f"device '{device.split(',')[-2] if ',,' in device else device}'"
    ) as raised:
        find_model(str(model), device=device)
    assert "\n" not in str(raised.value)


def test_code_beside_a_model_is_not_run(tmp_path: Path) -> None:
    """Nor asked about; whether or not ``transformers`` has a class of its own for the type."""
    model = save_model("llama", tmp_path / "m")
    (model / "modeling_own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "modeling_own.Config", "AutoModelForCausalLM": "modeling_own.Model"}
    for model_type in ("llama", "own"):
        (model / "config.json").write_text(json.dumps(config | {"model_type": model_type}))
        with pytest.raises(InputError, match="code beside a model is not run"):
            find_model(str(model)).load()
    assert not (tmp_path / "ran").exists()


def _change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def _shards(folder: Path) -> list[Path]:
    AutoModelForCausalLM.from_pretrained(folder).save_pretrained(folder, max_shard_size="8KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    return sorted(folder.glob("model-*.safetensors"))


def _pickle_with_code(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"lm_head.weight": print}, folder / "pytorch_model.bin")


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "no shard": lambda folder: _shards(folder)[1].unlink(),
    "half a shard": lambda folder: os.truncate(_shards(folder)[1], 4_000),
    "a pointer in place of a shard": lambda folder: _shards(folder)[1].write_text("version git-lfs/v1"),
    "a broken index": lambda folder: (_shards(folder), (folder / "model.safetensors.index.json").write_text("{")),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "a pickle with code": _pickle_with_code,
    "no JSON": lambda folder: (folder / "config.json").write_text("{"),
    "a list": lambda folder: (folder / "config.json").write_text("[]"),
    "another type": lambda folder: _change_config(folder, model_type="gpt2"),
    "an unknown type": lambda folder: _change_config(folder, model_type="nothing"),
    "no type": lambda folder: _change_config(folder, model_type=None, architectures=None),
    "no layers": lambda folder: _change_config(folder, num_hidden_layers=0),
    "no vocabulary": lambda folder: _change_config(folder, vocab_size=0),
    "a smaller vocabulary": lambda folder: _change_config(folder, vocab_size=50),
    "a word for a number": lambda folder: _change_config(folder, hidden_size="many"),
    "no heads": lambda folder: _change_config(folder, num_attention_heads=0),
    "an encoder": lambda folder: _change_config(folder, model_type="t5"),
}  # fmt: skip


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_damaged_models(tmp_path: Path, damage: str) -> None:
    folder = save_model("llama", tmp_path / "m")
    find_model(str(folder)).load()
    DAMAGES[damage](folder)
    with pytest.raises(InputError, match=r"^model ") as raised:
        find_model(str(folder)).load()
    assert "\n" not in str(raised.value)


def test_shards(tmp_path: Path) -> None:
    folder = save_model("llama", tmp_path / "m")
    assert len(_shards(folder)) > 2
    assert find_model(str(folder)).load().way == "packed"
