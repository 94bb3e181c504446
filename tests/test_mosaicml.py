"""Against the real mosaicml-streaming, in the environment that ``scripts/check_mosaicml.py`` makes."""

import os
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[1] / "scripts"


def test_both_read_what_the_other_writes(tmp_path: Path) -> None:
    sys.path.insert(0, str(SCRIPTS))
    try:
        from check_mosaicml import COMPRESSIONS, ENVIRONMENT, IDS, check, finished_python
    finally:
        sys.path.pop(0)
    python = finished_python(Path(os.environ.get("TASKCATALOG_MOSAICML", ENVIRONMENT)))
    if python is None:
        pytest.skip("no environment with mosaicml-streaming: scripts/check_mosaicml.py makes one (6 GB)")
    said: list[str] = []
    check(python, tmp_path, said.append)
    assert len(said) == len(IDS) * len(COMPRESSIONS)
