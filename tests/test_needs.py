"""The memory that asking a model is said to need, against what it takes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import taskcatalog as tc
from helpers import invoke, tree
from models import ARCHITECTURES, save_model
from taskcatalog.errors import SettingsError
from taskcatalog.lm.load import find_model
from taskcatalog.lm.needs import count_weights, needs, prompts_at_once
from taskcatalog.tasks.predict import predict_needs
from taskcatalog.tasks.scan import ScanSettings, scan_needs

_PEAK = """
import sys, taskcatalog as tc
from taskcatalog.sizes import peak_memory
store, tokenizer, model, out, memory = sys.argv[1:]
options = tc.StoreOptions(tokenizer=tokenizer, id_dtype="uint32")
tc.scan(store, model, out, tc.ScanSettings(prompt_length=8), options=options, memory=memory)
print(peak_memory())
"""


def megabytes(least: int) -> str:
    return f"{-(-least // 10**6)}MB"


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """Ids at random: no two prompts share much."""
    path = tmp_path / "flat.bin"
    np.random.default_rng(0).integers(0, 8_192, 6_000).astype("<u4").tofile(path)
    return path


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_weights_are_counted_without_loading_them(architecture: str, tmp_path: Path) -> None:
    folder = save_model(architecture, tmp_path / "m")
    model = AutoModelForCausalLM.from_pretrained(folder)
    held = sum(one.numel() for one in (*model.parameters(), *model.buffers()))
    assert count_weights(find_model(str(folder)).config) == held


def test_only_what_lies_on_a_processor_counts(demo_data: Path) -> None:
    found = find_model(str(demo_data))
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    assert needs(found.config, (gpu, gpu), {"float32"}, (4, 5), 1 << 16).least == 0
    one, two = (needs(found.config, (cpu,) * n, {"float32"}, (4, 5), 1 << 16) for n in (1, 2))
    assert two.least > 2 * one.least
    both = needs(found.config, (cpu,), {"bfloat16", "float32"}, (4, 5), 1 << 16)
    assert both.held - one.held == 2 * count_weights(found.config)
    assert prompts_at_once(10**9, 5, cpu) == 64
    assert prompts_at_once(1, 5, cpu) == 16_384


def test_less_than_a_model_needs_is_refused_before_anything_is_touched(
    demo_data: Path, flat: Path, tmp_path: Path
) -> None:
    found = find_model(str(demo_data))
    out, store = tmp_path / "c", (flat, "--tokenizer", demo_data, "--id-dtype", "uint32")
    before = tree(tmp_path)
    least = megabytes(scan_needs(found, ScanSettings()).least)
    for memory in ("300MB", f"{int(least[:-2]) - 1}MB"):
        refused = invoke("scan", *store, "--model", demo_data, "--out", out, "--memory", memory)
        assert (refused.exit_code, refused.stderr.count("\n")) == (2, 1)
        assert f"scanning with model {found.name.label} needs --memory {least} or more" in refused.stderr
        assert tree(tmp_path) == before
        assert not out.exists()
    assert invoke("ngrams", *store, "--out", out, "--min-prefix-count", 0).exit_code == 0
    with pytest.raises(SettingsError, match="predicting with model data needs --memory"):
        tc.predict(out, str(demo_data), memory="300MB")
    assert not (out / "predictions").exists()
    tc.predict(out, str(demo_data), memory=megabytes(predict_needs(found, (2, 3)).least))


@pytest.mark.slow
def test_a_scan_keeps_within_the_least_memory(demo_data: Path, flat: Path, tmp_path: Path) -> None:
    """With blocks that are full and share nothing; the same bytes as with more memory."""
    least = scan_needs(find_model(str(demo_data)), ScanSettings(prompt_length=8)).least
    scans = []
    for memory in (megabytes(least), "8GB"):
        out = tmp_path / memory
        command = [sys.executable, "-c", _PEAK, str(flat), str(demo_data), str(demo_data), str(out), memory]
        peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        [folder] = (out / "scan_8").iterdir()
        assert json.loads((folder / "ledger.json").read_text())["facts"]["prompts"] > 5_000
        scans.append((peak, tree(folder)))
    (peak, found), (_, expected) = scans
    assert peak < least
    assert found["tasks.parquet"] == expected["tasks.parquet"]
