"""``scan`` and ``predict`` against the plain way: every prompt run on its own, measures in float64."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

import taskcatalog as tc
from helpers import float64_measures, texts_of, write_jsonl
from models import ARCHITECTURES, save_model
from taskcatalog.catalog.database import quoted
from taskcatalog.errors import ConflictError, InputError, SettingsError
from taskcatalog.lm.load import Dtype
from taskcatalog.stores.store import Store
from taskcatalog.tables.measures import Divergence
from taskcatalog.tables.names import top_table
from taskcatalog.tasks import prompts

TOLERANCE = 1e-4
END = "<|endoftext|>"
Row = dict[str, Any]


def last_logits(model: Path, prompts: list[tuple[int, ...]]) -> np.ndarray:
    """The logits after each prompt, whole prompts at a time, no cache."""
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    batches = torch.tensor(prompts).split(512)
    with torch.inference_mode():
        return torch.cat([plain(input_ids=batch, use_cache=False).logits[:, -1] for batch in batches]).numpy()


def naive_scan(
    store: Store, model: Path, n_sequences: int, length: int, front: tuple[int, ...] = ()
) -> dict[tuple[int, ...], Row]:
    """What the table must say of each distinct long prompt, accepted or not."""
    rows: dict[tuple[int, ...], Row] = {}
    read = store.read(0, n_sequences)
    tokens = read.tokens.tolist()
    documents = set(read.document_starts.tolist()) if read.document_starts is not None else None
    begin = 0
    for sequence, end in enumerate(read.ends.tolist()):
        for i in range(begin, end - length):
            ids = tuple(tokens[i : i + length + 1])
            if ids in rows:
                rows[ids]["count"] += 1
                continue
            rows[ids] = {
                "count": 1,
                "batch": sequence // 128,
                "sample": sequence % 128,
                "start": i + 1 - begin,
                "context_ids": tokens[max(begin, i + 1 - 5) : min(end, i + 1 + length + 5)],
                "true_next_id": tokens[i + length + 1] if i + length + 1 < end else None,
                "crosses_document": None
                if documents is None
                else any(i + j in documents for j in range(1, length + 1)),
            }
        begin = end
    order = list(rows)
    long = last_logits(model, [front + ids for ids in order])
    short = last_logits(model, [front + ids[1:] for ids in order])
    measures = float64_measures(short, long)
    for name, logits in (("short", short), ("long", long)):
        p = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
        measures[f"p_{name}"] = p.max(-1) / p.sum(-1)
        measures[f"{name}_max_id"] = logits.argmax(-1)
    for i, ids in enumerate(order):
        rows[ids].update({name: values[i] for name, values in measures.items()})
        ties = [np.sort(logits[i])[-2:] for logits in (short[i : i + 1], long[i : i + 1]) for i in (0,)]
        rows[ids]["near_tie"] = any(b - a < TOLERANCE * max(1, abs(b)) for a, b in ties)
    return rows


def near(value: float, threshold: float) -> bool:
    return abs(value - threshold) <= TOLERANCE * max(1.0, abs(threshold))


def assert_equal_scans(
    catalog: tc.Catalog, table: str, expected: dict[tuple[int, ...], Row], p: float, d: float, kind: str = "JS"
) -> int:
    """Every column of the table, and which rows are in it; returns how many were compared."""
    found = {tuple(row["long_ids"]): row for row in catalog.table(table).to_arrow_table().to_pylist()}
    accepted = {ids for ids, row in expected.items() if row["p_long"] > p and row[kind] > d}
    for ids in accepted ^ found.keys():
        assert near(expected[ids]["p_long"], p) or near(expected[ids][kind], d), expected[ids]
    vocabulary = catalog.vocabulary
    assert vocabulary is not None
    for ids in accepted & found.keys():
        row, truth = found[ids], expected[ids]
        for name in ("count", "batch", "sample", "start", "context_ids", "true_next_id", "crosses_document"):
            assert row[name] == truth[name], (ids, name)
        for name in ("p_short", "p_long", "JS", "jsd", "p_delta_max", "logit_excite_max", "logit_inhibit_max"):
            assert row[name] == pytest.approx(truth[name], rel=TOLERANCE, abs=1e-6), (ids, name)
        if not truth["near_tie"]:
            assert (row["short_max_id"], row["long_max_id"]) == (truth["short_max_id"], truth["long_max_id"])
        assert row["corpus_count"] >= row["documents"] >= 1
        assert row["text"] == f"[{vocabulary.text(ids[:1])}]{vocabulary.text(ids[1:])}"
        assert row["token_short"] == vocabulary.text([row["short_max_id"]])
        assert row["token_long"] == vocabulary.text([row["long_max_id"]])
        assert row["context"] == vocabulary.text(truth["context_ids"])
    order = [(-row["p_long"], ids) for ids, row in found.items()]
    assert order == sorted(order)
    assert len({row["task_id"] for row in found.values()}) == len(found)
    return len(found)


def make_store(sources: Path, tokenizer: Path, out: Path, length: int) -> Store:
    return tc.tokenize(sources, out, str(tokenizer), tc.TokenizeSettings(sequence_length=length))


@pytest.fixture(scope="module")
def code_store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source code in the tokens of the demo's model, in many documents."""
    folder = tmp_path_factory.mktemp("code")
    text = "".join(path.read_text() for path in sorted(Path(json.__file__).parent.glob("*.py")))
    documents = [text[i : i + 2_000] for i in range(0, len(text), 2_000)]
    make_store(write_jsonl(folder / "code.jsonl", documents), demo_data, folder / "store", 250)
    return folder / "store"


def test_scan_of_a_real_model(shared: Path, stories: Path, tmp_path: Path) -> None:
    """Web text in the tokens of another model than the demo's."""
    texts = texts_of(shared / "corpus/c4_sample.jsonl.gz", 60)
    store = make_store(write_jsonl(tmp_path / "c4.jsonl", texts), stories, tmp_path / "store", 250)
    found = tc.scan(store.path, str(stories), tmp_path / "c", tc.ScanSettings(max_tokens=11_000))
    expected = naive_scan(store, stories, 44, 4)
    assert found["tokens"] == 11_000
    assert found["windows"] == 44 * 246 == sum(row["count"] for row in expected.values())
    assert found["prompts"] == len(expected)
    compared = assert_equal_scans(tc.Catalog(tmp_path / "c"), "scan_4", expected, 0.5, 0.5)
    assert compared == found["tasks"] > 200
    assert tc.verify(tmp_path / "c") == []


def test_scan_of_the_demo_model(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    settings = tc.ScanSettings(max_tokens=2_000)
    found = tc.scan(code_store, str(demo_data), tmp_path / "c", settings, label="demo")
    expected = naive_scan(tc.open_store(code_store), demo_data, 8, 4)
    assert found["windows"] == 8 * 246 == sum(row["count"] for row in expected.values())
    assert found["prompts"] == len(expected)
    assert any(row["crosses_document"] for row in expected.values())
    compared = assert_equal_scans(tc.Catalog(tmp_path / "c"), "scan_4", expected, 0.5, 0.5)
    assert compared == found["tasks"] > 60
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
    assert len(rows) == found["prompts"] > 500
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
    assert found["prompts"] == len(expected)
    assert 0 < found["not_finite"] == sum(frequent in ids for ids in expected) < len(expected)
    query = f"SELECT list_contains(long_ids, {frequent}), count(*) FROM scan_4 GROUP BY ALL"
    assert [broken for broken, n in tc.Catalog(tmp_path / "c").sql(query).fetchall() if n] == [False]


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
    assert asked == {"data": total}
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


def test_models_that_do_not_fit_the_store(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    tc.ngrams(code_store, tmp_path / "c", tc.NgramSettings(n=(2,)))
    small = save_model("llama", tmp_path / "small", vocabulary=100)
    before = sorted((tmp_path / "c").rglob("*"))
    with pytest.raises(InputError, match=r"top_bigrams.parquet: holds id \d+, but model small knows 100 ids"):
        tc.predict(tmp_path / "c", str(small))
    with pytest.raises(InputError, match=r"store: holds id \d+, but model small knows 100 ids"):
        tc.scan(code_store, str(small), tmp_path / "c")
    assert sorted((tmp_path / "c").rglob("*")) == before
    with pytest.raises(InputError, match="is not a catalog"):
        tc.predict(tmp_path / "small", str(demo_data))
    np.zeros(100, np.uint16).tofile(tmp_path / "flat.bin")
    with pytest.raises(ConflictError, match="made from another store"):
        tc.scan(tmp_path / "flat.bin", str(demo_data), tmp_path / "c")
    config = json.loads((small / "config.json").read_text())
    (small / "config.json").write_text(json.dumps(config | {"bos_token_id": None}))
    with pytest.raises(SettingsError, match="has no beginning-of-sequence"):
        tc.scan(code_store, str(small), tmp_path / "c", tc.ScanSettings(bos=True))


def test_a_model_of_another_tokenizer(demo_data: Path, code_store: Path, tmp_path: Path) -> None:
    """Also where it knows as many ids; a few that stand for something else are a matter of versions."""
    model = save_model("gpt_neox", tmp_path / "model", vocabulary=8_192)
    tokenizer = json.loads((demo_data / "tokenizer.json").read_text())
    tokens = tokenizer["model"]["vocab"]
    names = {id_: token for token, id_ in tokens.items()}
    tc.ngrams(code_store, tmp_path / "c")
    for n_swapped, fits in ((20, True), (2_000, False)):
        swapped = {id_: names[id_ + 1 if id_ % 2 == 0 else id_ - 1] for id_ in range(6_000 - n_swapped, 6_000)}
        tokenizer["model"]["vocab"] = {token: id_ for id_, token in (names | swapped).items()}
        (model / "tokenizer.json").write_text(json.dumps(tokenizer))
        with contextlib.nullcontext() if fits else pytest.raises(InputError, match=r"id 5999 is '.*' to the model: "):
            tc.scan(code_store, str(model), tmp_path / "s", tc.ScanSettings(max_tokens=500), label=str(n_swapped))
        with contextlib.nullcontext() if fits else pytest.raises(InputError, match=r"c: was made with another token"):
            tc.predict(tmp_path / "c", str(model), label=str(n_swapped))


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


def test_a_scan_made_differently_is_refused(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=500))
    tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=500))
    with pytest.raises(ConflictError, match=r"max_tokens was 500, not 1000.*--force"):
        tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=1_000))
    found = tc.scan(code_store, str(demo_data), tmp_path / "c", tc.ScanSettings(max_tokens=1_000), force=True)
    assert found["tokens"] == 1_000


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
        assert tc.scan(tmp_path / "store", str(model), catalog, settings)["prompts"] == 0
        assert list(tc.predict(catalog, model).values()) == [0]
    with tc.Catalog(catalog) as opened:
        assert {"predictions", "scan_4", "scan_4_models", "measures_4"} <= set(opened.tables)
        assert opened.damaged == {}
        for name in ("predictions", "scan_4", "scan_4_models", "measures_4", "top_trigrams"):
            assert opened.sql(f"SELECT count(*) FROM {name}").fetchall() == [(0,)]
        assert opened.sql("SELECT p_data, p_other FROM top_trigrams").fetchall() == []
        assert opened.complete("import os").sum_count > 0
    assert tc.verify(catalog) == []
    assert tc.write_duckdb(catalog, tmp_path / "c.duckdb")["scan_4"] == 0
