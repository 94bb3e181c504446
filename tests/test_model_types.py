"""Every type of causal model that ``transformers`` knows: right, or refused."""

from pathlib import Path
from typing import Any

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"

DOZEN = {
    "llama": "packed",
    "gpt_oss": "packed",  # attention sinks
    "deepseek_v3": "packed",  # values of another width than keys
    "gemma4_text": "packed",  # heads of other widths from layer to layer
    "gemma2": "packed",
    "bart": "level by level",  # the decoder of a model of two halves
    "bloom": "level by level",
    "gptj": "level by level",
    "deepseek_v32": "whole prompts",  # sees some of the tokens
    "mamba": "whole prompts",
    "rwkv": "whole prompts",
    "openai-gpt": "whole prompts",
    "bert": "refused",
}


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import make_model_verdicts

    return make_model_verdicts


@pytest.mark.parametrize("model_type", DOZEN)
def test_a_type_of_each_way(scripts: Any, model_type: str, tmp_path: Path) -> None:
    verdict = scripts.verdict_of(scripts.small_model(model_type), tmp_path / "m")
    assert (verdict.kind, verdict.reason) == (DOZEN[model_type], verdict.reason)
    assert verdict.kind != "refused" or "is not causal" in verdict.reason


def test_an_encoder_as_decoder(scripts: Any, tmp_path: Path) -> None:
    assert scripts.verdict_of(scripts.small_model("bert", is_decoder=True), tmp_path / "m").kind == "packed"


@pytest.mark.slow
def test_every_type_is_right_or_refused(scripts: Any) -> None:
    found = dict(scripts.verdicts(scripts.all_types()))
    assert {name: verdict for name, verdict in found.items() if verdict.kind not in scripts.KINDS} == {}
    rows = [line.split("|") for line in scripts.PAGE.read_text().splitlines() if line.startswith("| `")]
    documented = {name.strip(" `"): kind.strip() for _, name, kind, *_ in rows}
    del documented["model_type"]
    assert documented == {name: verdict.kind for name, verdict in found.items()}
