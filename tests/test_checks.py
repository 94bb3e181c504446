"""What a command refuses to ask of a model, and what rounding leaves in doubt."""

from pathlib import Path

import numpy as np
import pytest

import taskcatalog as tc
from models import save_model
from taskcatalog.errors import InputError, SettingsError
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
