"""What a command refuses to ask of a model, and what rounding leaves in doubt."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import taskcatalog as tc
from helpers import tree
from models import save_model
from taskcatalog.errors import ConflictError, InputError, SettingsError
from taskcatalog.lm.load import Dtype

FLAT = tc.StoreOptions(sequence_length=100)


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    np.random.default_rng(1).integers(0, 96, 1_500).astype(np.uint16).tofile(tmp_path / "flat.bin")
    return tmp_path / "flat.bin"


def test_labels_that_differ_in_case(flat: Path, tmp_path: Path) -> None:
    model, catalog = str(save_model("llama", tmp_path / "m")), tmp_path / "c"
    other = str(save_model("gpt2", tmp_path / "other" / "M"))
    tc.scan(flat, model, catalog, tc.ScanSettings(max_tokens=200), options=FLAT, label="m")
    before = sorted(catalog.rglob("*"))
    settings = tc.ScanSettings(prompt_length=2, max_tokens=200)
    with pytest.raises(SettingsError, match=r"label 'M': .* has a model 'm'"):
        tc.scan(flat, other, catalog, settings, options=FLAT, label="M")
    assert sorted(catalog.rglob("*")) == before
    tc.scan(flat, model, catalog, settings, options=FLAT, label="m")
    tc.ngrams(flat, tmp_path / "n", tc.NgramSettings(n=(2,), min_share=0.01), options=FLAT)
    tc.predict(tmp_path / "n", model, label="Name")
    with pytest.raises(SettingsError, match=r"label 'name': .* has a model 'Name'"):
        tc.predict(tmp_path / "n", other, label="name")


def test_prompts_longer_than_the_model_takes(flat: Path, tmp_path: Path) -> None:
    model = str(save_model("gpt2", tmp_path / "m", positions=6))
    tc.scan(flat, model, tmp_path / "c", tc.ScanSettings(prompt_length=5, max_tokens=300), options=FLAT)
    settings = tc.ScanSettings(prompt_length=5, bos=True)
    with pytest.raises(InputError, match="takes prompts of at most 6 tokens, and 7 are asked"):
        tc.scan(flat, model, tmp_path / "d", settings, options=FLAT)


def test_what_is_complete_needs_no_memory(flat: Path, tmp_path: Path) -> None:
    """Nor is a part of it left that could need any."""
    model, catalog = str(save_model("llama", tmp_path / "m")), tmp_path / "c"
    commands: list[Callable[[str | None, int], object]] = [
        lambda memory, n: tc.ngrams(flat, catalog, tc.NgramSettings(n=(n,)), options=FLAT, memory=memory),
        lambda memory, n: tc.predict(catalog, model, label=f"m{n}", memory=memory),
        lambda memory, n: tc.scan(
            flat, model, catalog, tc.ScanSettings(prompt_length=n, max_tokens=200), options=FLAT, memory=memory
        ),
    ]
    for command in commands:
        with pytest.raises(SettingsError, match="memory is 1 B"):
            command("1B", 2)
        made = command(None, 2)
        before = tree(catalog)
        assert command("1B", 2) == made
        with pytest.raises(SettingsError, match="memory is 1 B"):
            command("1B", 3)
        assert tree(catalog) == before


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["llama", "mistral"])
def test_doubt_is_as_large_as_rounding(flat: Path, tmp_path: Path, architecture: str) -> None:
    """On a confident model, whose probabilities a bfloat16 moves by several tenths."""
    model = str(save_model(architecture, tmp_path / "m", layers=4, width=128))
    accepted = {}
    dtypes: list[Dtype] = ["float32", "bfloat16", "float16"]
    for dtype in dtypes:
        settings = tc.ScanSettings(max_tokens=800)
        tc.scan(flat, model, tmp_path / dtype, settings, options=FLAT, dtype=dtype)
        rows = tc.Catalog(tmp_path / dtype).sql("SELECT long_ids FROM scan_4").fetchall()
        accepted[dtype] = {tuple(ids) for (ids,) in rows}
    assert len(accepted["float32"]) > 50
    assert accepted["float32"] == accepted["bfloat16"] == accepted["float16"]


def test_models_that_do_not_fit_the_store(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    tc.ngrams(code_store, tmp_path / "c", tc.NgramSettings(n=(2,)))
    small = save_model("llama", tmp_path / "small", vocabulary=100)
    before = sorted((tmp_path / "c").rglob("*"))
    with pytest.raises(InputError, match=r"top_bigrams.parquet: holds id \d+, but model small knows 100 ids"):
        tc.predict(tmp_path / "c", str(small))
    with pytest.raises(InputError, match=r"store: holds id \d+, but model small knows 100 ids"):
        tc.scan(code_store, str(small), tmp_path / "c")
    assert sorted((tmp_path / "c").rglob("*")) == before
    with pytest.raises(InputError, match="is a model, and a catalog is wanted here: name it with --model"):
        tc.predict(tmp_path / "small", str(demo_data))
    np.zeros(100, np.uint16).tofile(tmp_path / "flat.bin")
    with pytest.raises(ConflictError, match="made from another store"):
        tc.scan(tmp_path / "flat.bin", str(demo_data), tmp_path / "c")
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"bos_token_id": None}))
    with pytest.raises(SettingsError, match="has no beginning-of-sequence"):
        tc.scan(code_store, str(small), tmp_path / "c", tc.ScanSettings(bos=True))


def test_a_model_of_another_tokenizer(demo_data: Path, code_store: Path, tmp_path: Path) -> None:
    """Also where it knows as many ids; a few that stand for something else are a matter of versions."""
    model = save_model("gpt_neox", tmp_path / "model", vocabulary=8_192)
    tokenizer = json.loads((demo_data / "tokenizer.json").read_text())
    tokens = tokenizer["model"]["vocab"]
    names = {id_: token for token, id_ in tokens.items()}
    tc.ngrams(code_store, tmp_path / "c")
    for n_swapped, fits in ((20, True), (2_000, False)):
        swapped = {id_: names[id_ + 1 if id_ % 2 == 0 else id_ - 1] for id_ in range(6_000 - n_swapped, 6_000)}
        tokenizer["model"]["vocab"] = {token: id_ for id_, token in (names | swapped).items()}
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        with contextlib.nullcontext() if fits else pytest.raises(InputError, match=r"id 5999 is '.*' to the model: "):
            tc.scan(code_store, str(model), tmp_path / "s", tc.ScanSettings(max_tokens=500), label=str(n_swapped))
        with contextlib.nullcontext() if fits else pytest.raises(InputError, match=r"c: was made with another token"):
            tc.predict(tmp_path / "c", str(model), label=str(n_swapped))
