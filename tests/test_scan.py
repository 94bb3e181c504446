"""``scan`` against the plain way: every prompt run on its own, measures in float64."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import taskcatalog as tc
from helpers import make_store, texts_of, write_jsonl
from models import ARCHITECTURES, save_model
from naive_scan import END, TOLERANCE, assert_equal_scans, naive_scan, near
from taskcatalog.errors import ConflictError, SettingsError
from taskcatalog.lm.load import Dtype
from taskcatalog.tables.measures import Divergence
from taskcatalog.tasks import prompts


def test_scan_of_a_real_model(shared: Path, stories: Path, tmp_path: Path) -> None:
    """Web text in the tokens of another model than the demo's."""
    texts = texts_of(shared / "corpus/c4_sample.jsonl.gz", 60)
    store = make_store(write_jsonl(tmp_path / "c4.jsonl", texts), stories, tmp_path / "store", 250)
    found = tc.scan(store.path, str(stories), tmp_path / "c", tc.ScanSettings(max_tokens=11_000))
    expected = naive_scan(store, stories, 44, 4)
    assert found.tokens == 11_000
    assert found.windows == 44 * 246 == sum(row["count"] for row in expected.values())
    assert found.prompts == len(expected)
    compared = assert_equal_scans(tc.Catalog(tmp_path / "c"), "scan_4", expected, 0.5, 0.5)
    assert compared == found.tasks > 200
    assert tc.verify(tmp_path / "c") == []


def test_scan_of_the_demo_model(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    settings = tc.ScanSettings(max_tokens=2_000)
    found = tc.scan(code_store, str(demo_data), tmp_path / "c", settings, label="demo")
    expected = naive_scan(tc.open_store(code_store), demo_data, 8, 4)
    assert found.windows == 8 * 246 == sum(row["count"] for row in expected.values())
    assert found.prompts == len(expected)
    assert any(row["crosses_document"] for row in expected.values())
    compared = assert_equal_scans(tc.Catalog(tmp_path / "c"), "scan_4", expected, 0.5, 0.5)
    assert compared == found.tasks > 60
    assert tc.verify(tmp_path / "c") == []


@pytest.mark.parametrize(("length", "divergence", "bos"), [(1, "jsd", False), (2, "jeffreys", True), (7, "jsd", True)])
def test_scan_with_other_settings(
    code_store: Path, demo_data: Path, tmp_path: Path, length: int, divergence: Divergence, bos: bool
) -> None:
    settings = tc.ScanSettings(
        prompt_length=length,
        min_probability=0.3,
        min_divergence=0.2,
        divergence=divergence,
        max_tokens=1_500,
        bos=bos,
    )
    tc.scan(code_store, str(demo_data), tmp_path / "c", settings)
    expected = naive_scan(tc.open_store(code_store), demo_data, 6, length, (0,) if bos else ())
    column = {"jsd": "jsd", "jeffreys": "JS"}[divergence]
    table = f"scan_{length}"
    assert assert_equal_scans(tc.Catalog(tmp_path / "c"), table, expected, 0.3, 0.2, column) > 10


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_scan_of_other_architectures(tmp_path: Path, architecture: str) -> None:
    """On flat files of random ids, without a tokenizer."""
    np.random.default_rng(1).integers(0, 9, 3_000).astype(np.uint16).tofile(tmp_path / "flat.bin")
    model = save_model(architecture, tmp_path / "m")
    options = tc.StoreOptions(sequence_length=100)
    settings = tc.ScanSettings(min_probability=0.05, min_divergence=0.05)
    tc.scan(tmp_path / "flat.bin", str(model), tmp_path / "c", settings, options=options)
    expected = naive_scan(tc.open_store(tmp_path / "flat.bin", options), model, 30, 4)
    rows = tc.Catalog(tmp_path / "c").table("scan_4").to_arrow_table().to_pylist()
    accepted = {ids for ids, row in expected.items() if row["p_long"] > 0.05 and row["JS"] > 0.05}
    assert len(rows) > 100
    for ids in accepted ^ {tuple(row["long_ids"]) for row in rows}:
        assert near(expected[ids]["p_long"], 0.05) or near(expected[ids]["JS"], 0.05)
    for row in rows:
        truth = expected[tuple(row["long_ids"])]
        assert row["JS"] == pytest.approx(truth["JS"], rel=TOLERANCE)
        assert row["count"] == truth["count"]
        assert (row["text"], row["crosses_document"]) == (None, None)


def test_scan_in_parts_is_the_same(
    code_store: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts of 500 prompts; sums may be rounded differently, but nothing more."""
    settings = tc.ScanSettings(max_tokens=3_000)
    tc.scan(code_store, str(demo_data), tmp_path / "whole", settings)
    monkeypatch.setattr("taskcatalog.tasks.collect.PROMPTS_PER_PART", 500)
    monkeypatch.setattr("taskcatalog.tasks.collect._IDS_AT_ONCE", 5_000)
    tc.scan(code_store, str(demo_data), tmp_path / "parts", settings)
    whole, parts = (
        {
            tuple(row.pop("long_ids")): row
            for row in tc.Catalog(tmp_path / name).table("scan_4").to_arrow_table().to_pylist()
        }
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    for ids, row in whole.items():
        for name, value in row.items():
            assert parts[ids][name] == (pytest.approx(value, rel=1e-4) if isinstance(value, float) else value)


def test_all_measures_from_a_place_in_the_store(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    """Those of every distinct prompt, and tasks as without them, with their places in the whole store."""
    store = tc.open_store(code_store)
    settings = tc.ScanSettings(prompt_length=2, start=1_100, max_tokens=1_000, all_measures=True)
    found = tc.scan(code_store, str(demo_data), tmp_path / "c", settings)
    whole, before = naive_scan(store, demo_data, 8, 2), naive_scan(store, demo_data, 4, 2)
    catalog = tc.Catalog(tmp_path / "c")
    rows = catalog.table("measures_2").to_arrow_table().to_pylist()
    assert len(rows) == found.prompts > 500
    for row in rows:
        ids = tuple(row[f"id{i}"] for i in range(3))
        assert row["model"] == "data"
        assert row["count"] == whole[ids]["count"] - (before[ids]["count"] if ids in before else 0)
        for name in ("p_short", "p_long", "JS", "jsd", "p_delta_max", "logit_excite_max", "logit_inhibit_max"):
            assert row[name] == pytest.approx(whole[ids][name], rel=TOLERANCE, abs=1e-6), (ids, name)
    new = {ids: row for ids, row in whole.items() if ids not in before}
    tasks = {tuple(row["long_ids"]): row for row in catalog.table("scan_2").to_arrow_table().to_pylist()}
    assert len(tasks) > 50
    for ids in tasks.keys() & new.keys():
        assert {name: tasks[ids][name] for name in ("sample", "start")} == {
            name: new[ids][name] for name in ("sample", "start")
        }
    assert tc.verify(tmp_path / "c") == []
    with pytest.raises(SettingsError, match="start is 10000000: "):
        tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(start=10_000_000))


@pytest.mark.slow
def test_several_devices_give_the_same_bytes(
    code_store: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process each, here on the CPU."""
    monkeypatch.setattr("taskcatalog.tasks.collect.PROMPTS_PER_PART", 300)
    monkeypatch.setattr("taskcatalog.tasks.predict.PROMPTS_PER_PART", 100)
    settings = tc.ScanSettings(max_tokens=2_000)
    for name, device in (("one", "cpu"), ("two", "cpu,cpu")):
        tc.ngrams(code_store, tmp_path / name, tc.NgramSettings(n=(2,)))
        tc.scan(code_store, str(demo_data), tmp_path / name, settings, device=device)
        tc.predict(tmp_path / name, str(demo_data), device=device)
    written = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.parquet")}
        for name in ("one", "two")
    ]
    assert len(written[0]) > 5
    assert written[0] == written[1]


def test_scans_of_two_models_side_by_side(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    other = save_model("gpt2", tmp_path / "other", vocabulary=8_192)
    settings = tc.ScanSettings(prompt_length=1, max_tokens=4_000)
    accepted = {}
    for label, model in (("demo", demo_data), ("other", other)):
        tc.scan(code_store, str(model), tmp_path / "c", settings, label=label)
        rows = tc.Catalog(tmp_path / "c").sql(f"SELECT long_ids, p_long FROM scan_1 WHERE model = '{label}'").fetchall()
        accepted[label] = {tuple(ids): p for ids, p in rows}
    assert "scan_1_models" in tc.Catalog(tmp_path / "c").tables
    compared = tc.Catalog(tmp_path / "c").sql("SELECT long_ids, n_models, p_long_demo, p_long_other FROM scan_1_models")
    found = {tuple(ids): columns for ids, *columns in compared.fetchall()}
    assert found == {
        ids: [
            sum(ids in tasks for tasks in accepted.values()),
            accepted["demo"].get(ids),
            accepted["other"].get(ids),
        ]
        for ids in accepted["other"].keys() | accepted["demo"].keys()
    }
    assert len(accepted["demo"].keys() - accepted["other"].keys()) > 0


def test_a_tokenizer_that_begins_every_text_is_told_of(
    demo_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = json.loads((demo_data / "tokenizer.json").read_text())
    (tmp_path / "a.txt").write_text("import os\n" * 100)
    for kind, told in ((None, False), ("TemplateProcessing", True)):
        single = [{"SpecialToken": {"id": END, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        special = {END: {"id": END, "ids": [0], "tokens": [END]}}
        post = {"type": kind, "single": single, "pair": [*single, *single[1:]], "special_tokens": special}
        named = tmp_path / f"{kind}.json"
        named.write_text(json.dumps(tokenizer | {"post_processor": post if kind else None}))
        make_store(tmp_path / "a.txt", named, tmp_path / f"store of {kind}", 250)
        tc.scan(tmp_path / f"store of {kind}", str(demo_data), tmp_path / str(kind))
        assert ("--bos yes" in capsys.readouterr().err) == told


@pytest.mark.parametrize(
    ("max_tokens", "told"), [(1, "all 250 tokens"), (249, "all 250 tokens"), (250, None), (999, None)]
)
def test_less_than_a_sequence_is_told_of(
    code_store: Path, demo_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], max_tokens: int,
    told: str | None,
) -> None:  # fmt: skip
    found = tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=max_tokens))
    assert found.tokens == max(250, max_tokens // 250 * 250)
    said = capfd.readouterr().err
    assert ("--max-tokens" in said) == (told is not None)
    assert told is None or f"--max-tokens {max_tokens} is less than one sequence: {told} of one are taken" in said


def test_sixteen_bits_accept_what_float32_accepts(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    """Tasks in doubt are settled in float32."""
    settings = tc.ScanSettings(max_tokens=750)
    accepted = {}
    dtypes: list[Dtype] = ["float32", "bfloat16", "float16"]
    for dtype in dtypes:
        tc.scan(code_store, str(demo_data), tmp_path / dtype, settings, dtype=dtype)
        rows = tc.Catalog(tmp_path / dtype).sql("SELECT long_ids FROM scan_4").fetchall()
        accepted[dtype] = {tuple(ids) for (ids,) in rows}
    assert len(accepted["float32"]) > 20
    assert accepted["float32"] == accepted["bfloat16"] == accepted["float16"]


def test_rows_that_are_not_finite_are_counted(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    """A model with one broken embedding: prompts with that token are left out and counted."""
    store = tc.open_store(code_store)
    frequent = int(np.bincount(store.read(0, 8).tokens).argmax())
    broken: Any = AutoModelForCausalLM.from_pretrained(demo_data, dtype=torch.float32, tie_word_embeddings=False)
    torch.nn.init.normal_(broken.lm_head.weight, std=0.3)
    with torch.no_grad():
        broken.gpt_neox.embed_in.weight[frequent] = float("nan")
    broken.config.tie_word_embeddings = False
    broken.save_pretrained(tmp_path / "m")
    found = tc.scan(code_store, str(tmp_path / "m"), tmp_path / "c", tc.ScanSettings(max_tokens=2_000))
    expected = {tuple(row[i : i + 5]) for row in store.read(0, 8).tokens.reshape(8, 250).tolist() for i in range(246)}
    assert found.prompts == len(expected)
    assert 0 < found.not_finite == sum(frequent in ids for ids in expected) < len(expected)
    query = f"SELECT list_contains(long_ids, {frequent}), count(*) FROM scan_4 GROUP BY ALL"
    assert [broken for broken, n in tc.Catalog(tmp_path / "c").sql(query).fetchall() if n] == [False]


def test_a_scan_made_differently_is_refused(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=500))
    tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=500))
    with pytest.raises(ConflictError, match=r"max_tokens was 500, not 1000.*--force"):
        tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=1_000))
    found = tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=1_000), force=True)
    assert found.tokens == 1_000


@pytest.mark.parametrize("bits", [1, 8, 13, 17, 32])
def test_distinct_rows(bits: int) -> None:
    generator = np.random.default_rng(bits)
    values = generator.integers(0, 2**bits, 3)
    rows = values[generator.integers(0, 3, (500, 5))].astype(np.uint32)
    found = prompts.distinct_rows(rows, bits)
    expected, first, inverse, counts = np.unique(
        rows, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    assert found.rows.tolist() == expected.tolist()
    assert found.first.tolist() == first.tolist()
    assert found.inverse.tolist() == inverse.ravel().tolist()
    assert found.counts.tolist() == counts.tolist()
    assert len(prompts.distinct_rows(rows[:0], bits).rows) == 0


def test_settings_are_checked() -> None:
    bad_settings: list[dict[str, Any]] = [
        {"prompt_length": 0},
        {"prompt_length": 17},
        {"min_probability": 1},
        {"divergence": "kl"},
        {"max_tokens": 0},
    ]
    for bad in bad_settings:
        with pytest.raises(SettingsError, match="it must be"):
            tc.ScanSettings(**bad)


def test_no_prompt_and_no_completion(demo_data: Path, tmp_path: Path) -> None:
    """Of sequences shorter than a prompt, and of empty top tables: tables that are there, and empty."""
    (tmp_path / "a.txt").write_text("import os\n" * 20)
    make_store(tmp_path / "a.txt", demo_data, tmp_path / "store", 3)
    catalog = tmp_path / "c"
    tc.ngrams(tmp_path / "store", catalog, tc.NgramSettings(n=(3,)))
    settings = tc.ScanSettings(all_measures=True)
    for model in (demo_data, save_model("gpt2", tmp_path / "other", vocabulary=8_192)):
        assert tc.scan(tmp_path / "store", str(model), catalog, settings).prompts == 0
        assert tc.predict(catalog, model).rows == {"predictions": 0}
    with tc.Catalog(catalog) as opened:
        assert {"predictions", "scan_4", "scan_4_models", "measures_4"} <= set(opened.tables)
        assert opened.damaged == {}
        for name in ("predictions", "scan_4", "scan_4_models", "measures_4", "top_trigrams"):
            assert opened.sql(f"SELECT count(*) FROM {name}").fetchall() == [(0,)]
        assert opened.sql("SELECT p_data, p_other FROM top_trigrams").fetchall() == []
        assert opened.complete("import os").sum_count > 0
    assert tc.verify(catalog) == []
    assert tc.write_duckdb(catalog, tmp_path / "c.duckdb")["scan_4"] == 0
