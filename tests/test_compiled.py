"""Compiled functions, also where nothing of them can be kept."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numba
import pytest

import taskcatalog as tc
from helpers import library_texts, write_jsonl
from taskcatalog.compiled import compiled, is_kept


def test_code_that_has_no_place() -> None:
    """As in a container, whose package is root's and whose user has no home: Numba finds nowhere to keep it."""
    made: dict[str, Any] = {}
    exec("def double(number):\n    return 2 * number", made)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(made["double"])
    loop = compiled(made["double"])
    assert not is_kept(loop)
    assert loop(21) == 42


@pytest.mark.slow
def test_compiling_is_said_once(demo_data: Path, tmp_path: Path) -> None:
    """A line before some seconds in which nothing seems to happen, and none the next time."""
    tc.tokenize(write_jsonl(tmp_path / "a.jsonl", library_texts(2)), tmp_path / "store", str(demo_data))
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": os.pathsep.join(sys.path)}
    said = []
    for name in ("a", "b"):
        command = [sys.executable, "-m", "taskcatalog", "ngrams", f"{tmp_path}/store", "--out", f"{tmp_path}/{name}"]
        said.append(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stderr)
    assert ["compiled first" in text for text in said] == [True, False]
