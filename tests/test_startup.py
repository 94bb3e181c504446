"""Short commands are mostly start-up, so each imports what it needs and no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import taskcatalog as tc

HEAVY = {
    "duckdb", "fsspec", "gigatoken", "huggingface_hub", "isal", "numba", "numpy", "orjson", "pandas", "pyarrow",
    "tokenizers", "torch", "tqdm", "transformers", "upath", "yaml",
}  # fmt: skip
SCRIPT = """
import sys, json
from taskcatalog.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code, end.code
json.dump(sorted({name.partition(".")[0] for name in sys.modules}), sys.stderr)
"""


@pytest.fixture(scope="module")
def folder(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("startup")
    (folder / "a.txt").write_text("import os\nimport sys\n" * 200)
    tc.tokenize([str(folder / "a.txt")], folder / "store", str(demo_data))
    tc.ngrams(folder / "store", folder / "catalog")
    return folder


@pytest.mark.parametrize(
    ("arguments", "needed"),
    [
        ("--help", set()),
        ("ngrams --help", set()),
        (
            "tokenize a.txt --out new-store --tokenizer DATA --quiet",
            {"isal", "numpy", "orjson", "pyarrow", "tokenizers", "tqdm"},
        ),
        (
            "ngrams store --out new-catalog --quiet",
            {"numpy", "pyarrow", "tokenizers", "tqdm", "numba", "duckdb", "yaml", "isal"},
        ),
        ("sql catalog SELECT+1", {"numpy", "pyarrow", "duckdb", "tqdm", "tokenizers"}),
        ("complete catalog import", {"numpy", "pyarrow", "duckdb", "tqdm", "tokenizers", "pandas"}),
    ],
)
def test_what_is_imported(arguments: str, needed: set[str], folder: Path, demo_data: Path) -> None:
    words = [word.replace("DATA", str(demo_data)).replace("+", " ") for word in arguments.split()]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], cwd=folder, capture_output=True, text=True, check=True
    )
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert imported & HEAVY <= needed
