"""How often tasks occur in the whole store, beside the tokens that were scanned."""

from pathlib import Path
from typing import Any

import pytest

import taskcatalog as tc
from helpers import library_texts, write_jsonl


@pytest.fixture(scope="module")
def store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    write_jsonl(folder / "a.jsonl", library_texts(12))
    tc.tokenize([folder / "a.jsonl"], folder / "store", str(demo_data), tc.TokenizeSettings(sequence_length=128))
    return folder / "store"


def tasks(store: Path, model: Path, out: Path, settings: tc.ScanSettings) -> list[dict[str, Any]]:
    assert tc.scan(store, str(model), out, settings).tasks > 20
    assert tc.verify(out) == []
    with tc.Catalog(out) as catalog:
        rows = catalog.sql("SELECT long_ids, count, corpus_count, documents FROM scan_4").to_arrow_table().to_pylist()
    return list(rows)


def test_a_scan_of_all(store: Path, demo_data: Path, tmp_path: Path) -> None:
    found = tasks(store, demo_data, tmp_path / "c", tc.ScanSettings(min_divergence=0.1))
    assert [row["corpus_count"] for row in found] == [row["count"] for row in found]
    assert any(row["documents"] != 1 for row in found)


def test_a_scan_of_a_part(store: Path, demo_data: Path, tmp_path: Path) -> None:
    found = tasks(store, demo_data, tmp_path / "c", tc.ScanSettings(min_divergence=0.1, start=2_000, max_tokens=2_000))
    counted = tc.count_prompts(store, [row["long_ids"] for row in found])
    assert [row["corpus_count"] for row in found] == counted["count"].to_pylist()
    assert [row["documents"] for row in found] == counted["documents"].to_pylist()
    assert any(row["corpus_count"] != row["count"] for row in found)


def test_a_scan_of_a_small_part(
    store: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a store of so many times the tokens, it would take long to count in all of it."""
    monkeypatch.setattr("taskcatalog.tasks.describe.MOST_CORPUS", 2)
    found = tasks(store, demo_data, tmp_path / "c", tc.ScanSettings(min_divergence=0.1, max_tokens=1_000))
    assert {(row["corpus_count"], row["documents"]) for row in found} == {(None, None)}
    assert "corpus_count and documents are left out" in capsys.readouterr().err
