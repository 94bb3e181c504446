"""``predict`` against the plain way: every prompt run on its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskcatalog as tc
from models import save_model
from naive_scan import TOLERANCE, last_logits
from taskcatalog.catalog.database import quoted
from taskcatalog.errors import InputError
from taskcatalog.tables.names import top_table


def test_predict(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    tc.ngrams(code_store, folder, tc.NgramSettings(n=(2, 3, 4), min_prefix_count=5, min_share=0.3))
    asked = tc.predict(folder, str(demo_data))
    catalog = tc.Catalog(folder)
    total = 0
    for n in (2, 3, 4):
        ids = ", ".join(f"id{i}" for i in range(n))
        rows = catalog.sql(f"SELECT {ids}, p_data FROM {quoted(top_table(n))}").fetchall()
        grams = [row[:n] for row in rows]
        logits = last_logits(demo_data, [gram[:-1] for gram in grams]).astype(np.float64)
        p = np.exp(logits - logits.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        completions = np.array([gram[-1] for gram in grams])
        expected = p[np.arange(len(grams)), completions]
        np.testing.assert_allclose([row[n] for row in rows], expected, rtol=TOLERANCE, atol=1e-9)
        long = {
            tuple(row["ids"]): row
            for row in catalog.sql(f"SELECT * FROM predictions WHERE n = {n}").to_arrow_table().to_pylist()
        }
        assert long.keys() == set(grams)
        for i, gram in enumerate(grams):
            assert long[gram]["p"] == pytest.approx(expected[i], rel=TOLERANCE, abs=1e-9)
            assert long[gram]["best_p"] == pytest.approx(p[i].max(), rel=TOLERANCE)
            assert long[gram]["entropy"] == pytest.approx(-(p[i] * np.log(p[i])).sum(), rel=TOLERANCE)
            sure = (p[i] > expected[i] * (1 + TOLERANCE)).sum(), (p[i] > expected[i] * (1 - TOLERANCE)).sum()
            assert sure[0] < long[gram]["rank"] <= max(sure[1], sure[0] + 1)
        total += len(grams)
    assert asked.completions == {"data": total}
    assert asked.rows == {"predictions": total}
    assert total > 500
    assert tc.verify(folder) == []


def test_a_second_model_leaves_the_first_alone(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    tc.ngrams(code_store, folder, tc.NgramSettings(n=(2,)))
    tc.predict(folder, str(demo_data))
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    other = save_model("gpt2", tmp_path / "other", vocabulary=8_192)
    tc.predict(folder, str(other))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    catalog = tc.Catalog(folder)
    assert catalog.table("top_bigrams").columns[-2:] == ["p_data", "p_other"]
    [(nulls,)] = catalog.sql("SELECT count(*) FROM top_bigrams WHERE p_other IS NULL OR p_data IS NULL").fetchall()
    assert nulls == 0
    counts = [row[0] for row in catalog.sql("SELECT sum_count FROM top_bigrams").fetchall()]
    assert counts == sorted(counts, reverse=True)


@pytest.mark.slow
def test_revisions_of_a_hub_model(demo_data: Path, code_store: Path, tmp_path: Path) -> None:
    """Each checkpoint is another model; as a hub's cache holds them, and in a process that reads that cache."""
    cached = tmp_path / "hf" / "hub" / "models--EleutherAI--pythia-70m-deduped"
    (cached / "refs").mkdir(parents=True)
    folders = {}
    for step, architecture, commit in (("step1", "gpt_neox", "1" * 40), ("step512", "llama", "2" * 40)):
        folders[step] = save_model(architecture, cached / "snapshots" / commit, vocabulary=8_192)
        shutil.copy(demo_data / "tokenizer.json", folders[step])
        (cached / "refs" / step).write_text(commit)
    catalog = tmp_path / "c"
    tc.ngrams(code_store, catalog, tc.NgramSettings(n=(2,)))

    def predict(revisions: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "taskcatalog", "predict", str(catalog)]
        options = ["--model", "EleutherAI/pythia-70m-deduped", "--revisions", revisions]
        environment = os.environ | {"HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
        environment.pop("HF_HUB_CACHE", None)
        return subprocess.run([*command, *options], env=environment, capture_output=True, text=True)

    missing = predict("step1,step2")
    assert (missing.returncode, missing.stderr.count("\n")) == (2, 1)
    assert "model EleutherAI/pythia-70m-deduped: cannot be loaded" in missing.stderr
    done = predict("step1,step512")
    assert done.returncode == 0, done.stderr
    for step, folder in folders.items():
        tc.predict(catalog, str(folder), label=f"local_{step}")
    found = tc.Catalog(catalog)

    def answers(label: str) -> list[Any]:
        query = f"SELECT * EXCLUDE (model, revision) FROM predictions WHERE model = '{label}' ORDER BY ALL"
        return found.sql(query).fetchall()

    for step, folder in folders.items():
        assert answers(f"70m_{step}") == answers(f"local_{step}")
        revisions = found.sql(f"SELECT DISTINCT revision FROM predictions WHERE model = '70m_{step}'").fetchall()
        assert revisions == [(folder.name,)]
    assert len(answers("70m_step1")) == found.sql("SELECT count(*) FROM top_bigrams").fetchall()[0][0] > 100
    assert not set(map(str, answers("70m_step1"))) & set(map(str, answers("70m_step512")))


def test_predict_without_top_tables(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=500))
    with pytest.raises(InputError, match="has no finished top tables"):
        tc.predict(tmp_path / "c", str(demo_data))
