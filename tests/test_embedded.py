"""The demo, whole: what people see first."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

import taskcatalog as tc
from taskcatalog.embedded import pipeline
from taskcatalog.embedded.pipeline import DATA
from taskcatalog.embedded.standard_library import standard_library_sources


def test_the_corpus_is_source_code_without_tests() -> None:
    sources = standard_library_sources()
    assert len(sources) > 300
    assert sources == sorted(sources)
    assert {"test", "tests", "site-packages", "encodings"}.isdisjoint(part for path in sources for part in path.parts)


def test_assets_are_small() -> None:
    assert (DATA / "model.safetensors").stat().st_size < 12_000_000


@pytest.mark.parametrize(
    ("one_in", "least", "examples"), [(10, 50, 3), pytest.param(1, 1_000, 15, marks=pytest.mark.slow)]
)
def test_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_in: int, least: int, examples: int) -> None:
    """Whole, and on every tenth file."""
    sources = standard_library_sources()[::one_in]
    assert pipeline.SCAN.max_tokens is not None
    fewer = replace(pipeline.SCAN, max_tokens=pipeline.SCAN.max_tokens // one_in)
    monkeypatch.setattr(pipeline, "standard_library_sources", lambda: sources)
    monkeypatch.setattr(pipeline, "SCAN", fewer)
    said: list[str] = []
    catalog = tc.demo(tmp_path / "demo", said.append)
    text = "\n".join(said)
    sizes = dict(re.findall(r"^  (\w+) +([\d,]+)$", text, re.M))
    for table in (
        "bigrams",
        "bigram_prefixes",
        "top_bigrams",
        "trigrams",
        "trigram_prefixes",
        "top_trigrams",
        "scan_4",
    ):
        [(rows,)] = catalog.sql(f"SELECT count(*) FROM {table}").fetchall()
        assert sizes[table] == f"{rows:,}"
        assert rows > least
    for title in ("frequent bigrams", "frequent trigrams", "prompts whose meaning changes"):
        start = next(i for i, line in enumerate(said) if title in line)
        assert [line.startswith("  ") for line in said[start + 1 : start + examples + 2]] == [True] * (examples + 1)
    learned = re.findall(r"^  (top_\w+) +(\d+)% +(\d+)%$", text, re.M)
    assert [name for name, _, _ in learned] == ["top_bigrams", "top_trigrams"]
    # The model learned this very text: it must know much of what is frequent.
    assert all(int(of_occurrences) > 50 for _, _, of_occurrences in learned)
    assert tc.verify(tmp_path / "demo/store") == []
    assert tc.verify(tmp_path / "demo/catalog") == []
    again: list[str] = []
    tc.demo(tmp_path / "demo", again.append)
    untimed = [line for line in said if not re.search(r"\d\.\d$", line)]
    assert [line for line in again if not re.search(r"\d\.\d$", line)] == untimed


def test_demo_does_not_write_over_other_things(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "mine").write_text("precious")
    with pytest.raises(tc.ConflictError, match="choose another output folder"):
        tc.demo(tmp_path)
