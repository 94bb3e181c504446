"""Where the tests find real data, and small real models."""

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
