"""A path that is given in the place of another: the message says what it is, and what to do."""

from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import refusal


@pytest.fixture(scope="module")
def catalog(code_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mistaken") / "c"
    tc.ngrams(code_store, folder, tc.NgramSettings(n=(2,), max_tokens=500))
    return folder


def test_one_for_another(code_store: Path, catalog: Path, demo_data: Path, tmp_path: Path) -> None:
    out, model = ("--out", tmp_path / "out"), ("--model", demo_data)
    assert "is a catalog, and a store is wanted here: name it where" in refusal("ngrams", catalog, *out)
    assert "is a catalog, and a store is wanted here" in refusal("scan", catalog, *model, *out)
    for command in (("sql", code_store), ("predict", code_store, *model), ("complete", code_store, "import")):
        said = refusal(*command)
        assert "is a token store, and a catalog is wanted here: name it where the command has STORE" in said
        assert "'taskcatalog ngrams STORE --out CATALOG' makes a catalog" in said
    assert "is a model, and a store is wanted here: name it with --model" in refusal(
        "scan", demo_data, "--model", code_store, *out
    )
    assert "is a model, and a catalog is wanted here" in refusal("sql", demo_data)
    assert "is a token store, and a model is wanted" in refusal("scan", code_store, "--model", code_store, *out)
    assert "is a catalog, and a model is wanted" in refusal("predict", catalog, "--model", catalog)


def test_documents_for_a_store(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts/a.txt").write_text("import os")
    said = refusal("ngrams", tmp_path / "texts", "--out", tmp_path / "out")
    assert f"if it holds documents, 'taskcatalog tokenize {tmp_path / 'texts'} --out STORE' makes a token store" in said
