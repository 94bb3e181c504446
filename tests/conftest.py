"""Where the tests find real data, and small real models."""

import json
import os
from pathlib import Path

import pytest

# Nothing in the tests needs the hub; a test of what happens without it must not wait for a network.
os.environ["HF_HUB_OFFLINE"] = "1"
# The models are tiny: more threads would only wait for each other, here and in the commands that tests start.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real test data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip("the folder ../shared/data with real test data is not here")
    return SHARED


@pytest.fixture(scope="session")
def stories(shared: Path) -> Path:
    """A small real pretrained Llama with its tokenizer."""
    return shared / "models" / "stories260K"


@pytest.fixture(scope="session")
def demo_data() -> Path:
    """The tokenizer and model that come with the package."""
    import taskcatalog.embedded

    return Path(taskcatalog.embedded.__file__).parent / "data"


@pytest.fixture(scope="session")
def code_store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source code in the tokens of the demo's model, in many documents."""
    from helpers import make_store, write_jsonl

    folder = tmp_path_factory.mktemp("code")
    text = "".join(path.read_text() for path in sorted(Path(json.__file__).parent.glob("*.py")))
    documents = [text[i : i + 2_000] for i in range(0, len(text), 2_000)]
    make_store(write_jsonl(folder / "code.jsonl", documents), demo_data, folder / "store", 250)
    return folder / "store"


@pytest.fixture(scope="session")
def two_models(code_store: Path, demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``store``, the source code of ``code_store``, and ``catalog``: n-grams of 2, 3 and 5, and what two
    models say, ``demo`` and ``small``, which is the first without its last two layers."""
    import shutil

    from transformers import AutoModelForCausalLM

    import taskcatalog as tc

    folder = tmp_path_factory.mktemp("two-models")
    store = Path(shutil.copytree(code_store, folder / "store"))
    tc.ngrams(store, folder / "catalog", tc.NgramSettings(n=(2, 3, 5), min_prefix_count=3))
    smaller = AutoModelForCausalLM.from_pretrained(demo_data, num_hidden_layers=2)
    smaller.save_pretrained(folder / "small_model")
    for label, model in (("demo", demo_data), ("small", folder / "small_model")):
        tc.predict(folder / "catalog", str(model), label=label)
        tc.scan(store, str(model), folder / "catalog", tc.ScanSettings(max_tokens=3_000), label=label)
    return folder
