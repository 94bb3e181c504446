"""``predict`` of prompts that are given, and with a token in front, against the plain way: every prompt on its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from helpers import answer, make_store, refusal, tree
from models import save_model
from naive_scan import TOLERANCE, last_logits
from taskcatalog.errors import ConflictError, InputError, SettingsError

END = 0


@pytest.fixture(scope="module")
def catalog(code_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict") / "c"
    tc.ngrams(code_store, folder, tc.NgramSettings(n=(2, 3), min_prefix_count=5))
    return folder


def naive(model: Path, ids: list[int], front: tuple[int, ...] = ()) -> dict[str, float]:
    logits = last_logits(model, [(*front, *ids[:-1])])[0].astype(np.float64)
    p = np.exp(logits - logits.max())
    p /= p.sum()
    entropy = float(-(p * np.log(p)).sum())
    return {"p": p[ids[-1]], "rank": 1 + (p > p[ids[-1]]).sum(), "best_p": p.max(), "entropy": entropy}


def assert_said(table: pa.Table, model: Path, prompts: list[list[int]], front: tuple[int, ...] = ()) -> None:
    """A row for each prompt, in their order, with what the model says of it."""
    rows = table.to_pylist()
    assert [row["ids"] for row in rows] == prompts
    assert [row["row"] for row in rows] == list(range(len(prompts)))
    for row in rows:
        expected = naive(model, row["ids"], front)
        assert row["rank"] == pytest.approx(expected.pop("rank"), abs=1)
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=TOLERANCE, abs=1e-9), (name, row)


def prompts_of(store: Path) -> list[list[int]]:
    """Of all lengths, in no order, some twice, some with the same prefix."""
    tokens = tc.open_store(store).read(0, 3).tokens.tolist()
    generator = np.random.default_rng(5)
    spans = zip(generator.integers(0, 700, 60).tolist(), generator.integers(2, 9, 60).tolist(), strict=True)
    prompts = [tokens[start : start + n] for start, n in spans]
    return [*prompts, prompts[3], [*prompts[3][:-1], 17], [*prompts[5][:-1], 18]]


def test_ids_however_they_are_given(catalog: Path, code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    prompts = prompts_of(code_store)
    before = tree(catalog)
    said = tc.predict_prompts(catalog, str(demo_data), prompts=prompts)
    assert_said(said, demo_data, prompts)
    assert set(said["model"].to_pylist()) == {"data"}
    with tc.Catalog(catalog) as opened:
        assert said["text"].to_pylist() == [opened.text(ids) for ids in prompts]
    table = pa.table({"other": range(len(prompts)), "ids": prompts})
    pq.write_table(table, tmp_path / "prompts.parquet")
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in prompts))
    for given in (table, table["ids"], table.to_pandas(), tmp_path / "prompts.parquet", tmp_path / "prompts.jsonl"):
        assert tc.predict_prompts(catalog, str(demo_data), prompts=given).equals(said)
    pairs = np.array([ids[:2] for ids in prompts])
    assert_said(tc.predict_prompts(catalog, str(demo_data), prompts=pairs), demo_data, pairs.tolist())
    assert tree(catalog) == before


def test_texts(catalog: Path, demo_data: Path) -> None:
    texts = ["import os", "    return self.name", "for i in range(", "import os"]
    said = tc.predict_prompts(catalog, str(demo_data), prompts=texts)
    with tc.Catalog(catalog) as opened:
        assert opened.vocabulary is not None
        assert_said(said, demo_data, opened.vocabulary.encode_batch(texts))
    assert said["text"].to_pylist() == texts


def test_a_query_over_the_catalog(catalog: Path, demo_data: Path) -> None:
    """The top table's rows get the numbers that they have in the catalog."""
    query = "SELECT id0, id1, id2, p_data FROM top_trigrams ORDER BY seq"
    tc.predict(catalog, str(demo_data))
    said = tc.predict_prompts(catalog, str(demo_data), sql=query)
    with tc.Catalog(catalog) as opened:
        rows = opened.sql(query).fetchall()
    assert len(rows) > 100
    assert said["ids"].to_pylist() == [list(row[:3]) for row in rows]
    np.testing.assert_allclose(said["p"].to_numpy(), [row[3] for row in rows], rtol=1e-5)
    some = tc.predict_prompts(
        catalog, str(demo_data), sql="SELECT id0, id1 FROM bigrams ORDER BY count, id0, id1 LIMIT 50"
    )
    assert_said(some, demo_data, some["ids"].to_pylist())
    none = tc.predict_prompts(catalog, str(demo_data), sql="SELECT id0, id1 FROM bigrams WHERE count < 0")
    assert (none.num_rows, none.schema) == (0, some.schema)


def test_blocks_and_several_models(
    catalog: Path, code_store: Path, demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many prompts are worked on at once, and one model after the other."""
    prompts = prompts_of(code_store)
    other = save_model("gpt2", tmp_path / "other", vocabulary=8_192)
    models = [demo_data, other]
    whole = tc.predict_prompts(catalog, models, prompts=prompts)
    monkeypatch.setattr("taskcatalog.tasks.predict_prompts._PROMPTS_AT_ONCE", 7)
    pieces = tc.predict_prompts(catalog, models, prompts=prompts)
    for i, model in enumerate(models):
        for table in (whole, pieces):
            assert_said(table.slice(i * len(prompts), len(prompts)), model, prompts)
    assert whole["model"].to_pylist() == ["data"] * len(prompts) + ["other"] * len(prompts)
    by_sql = tc.predict_prompts(catalog, str(demo_data), sql="SELECT id0, id1 FROM bigrams ORDER BY 1, 2 LIMIT 30")
    assert_said(by_sql, demo_data, by_sql["ids"].to_pylist())


def test_the_command(catalog: Path, code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    prompts = prompts_of(code_store)
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps({"ids": ids}) + "\n" for ids in prompts))
    command = ["predict", catalog, "--model", demo_data]
    given = [*command, "--prompts", tmp_path / "prompts.jsonl"]
    assert "out.parquet: complete" in answer(*given, "--out", tmp_path / "out.parquet")
    said = tc.predict_prompts(catalog, str(demo_data), prompts=prompts)
    assert pq.read_table(tmp_path / "out.parquet").to_pylist() == said.to_pylist()
    assert "is there already" in refusal(*given, "--out", tmp_path / "out.parquet")
    rows = json.loads(answer(*command, "--sql", "SELECT [id0, id1] AS ids FROM bigrams LIMIT 3", "--json"))
    assert [len(row["ids"]) for row in rows] == [2, 2, 2]
    assert "┌" in answer(*command, "--sql", "SELECT 'import os' AS text")
    assert "--format are for --prompts or --sql" in refusal(*command, "--out", tmp_path / "x.csv")
    assert "give one or the other" in refusal(*given, "--sql", "SELECT 1")


def test_what_is_no_prompt(catalog: Path, demo_data: Path, tmp_path: Path) -> None:
    def ask(**given: Any) -> Any:
        return tc.predict_prompts(catalog, str(demo_data), **given)

    with pytest.raises(SettingsError, match="prompt 1: has one token: the last is the completion"):
        ask(prompts=[[3, 4], [5]])
    with pytest.raises(SettingsError, match="prompt 0: has the id 8192"):
        ask(prompts=[[8_192, 4]])
    with pytest.raises(SettingsError, match="prompts are the text 'import os'"):
        ask(prompts="import os")
    with pytest.raises(SettingsError, match="prompts have the columns token, bytes: name one 'ids'"):
        ask(sql="SELECT token, bytes FROM tokens")
    with pytest.raises(SettingsError, match="not all integers"):
        ask(sql="SELECT 1 AS id0, NULL::INT AS id1")
    with pytest.raises(SettingsError, match="only reads"):
        ask(sql="DROP TABLE bigrams")
    with pytest.raises(InputError, match="takes prompts of at most 18 tokens, and 30 are asked"):
        ask(prompts=[[5] * 31])
    with pytest.raises(SettingsError, match="give one or the other"):
        ask(out=tmp_path / "x.csv")
    with pytest.raises(ConflictError, match="is inside"):
        ask(prompts=[[1, 2]], out=catalog / "x.csv")


def test_a_token_in_front(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    """Of the top tables and of given prompts; whether there is one is part of the ledger."""
    folder = tmp_path / "c"
    tc.ngrams(code_store, folder, tc.NgramSettings(n=(2,)))
    tc.predict(folder, str(demo_data), bos=True, label="with_bos")
    with tc.Catalog(folder) as opened:
        rows = opened.sql("SELECT ids, p, entropy FROM predictions ORDER BY ids LIMIT 40").fetchall()
    for ids, p, entropy in rows:
        expected = naive(demo_data, ids, (END,))
        assert (p, entropy) == pytest.approx((expected["p"], expected["entropy"]), rel=TOLERANCE, abs=1e-9)
    prompts = prompts_of(code_store)
    assert_said(tc.predict_prompts(folder, str(demo_data), prompts=prompts, bos=True), demo_data, prompts, (END,))
    with pytest.raises(ConflictError, match="bos"):
        tc.predict(folder, str(demo_data), label="with_bos")
    tc.predict(folder, str(demo_data), label="without")
    ledger = json.loads((folder / "predictions/without/ledger.json").read_text())
    assert ledger["settings"]["bos"] is False


def test_auto_asks_the_tokenizer(code_store: Path, demo_data: Path, tmp_path: Path) -> None:
    """As ``transformers`` itself has it: add_bos_token of tokenizer_config.json, else the post-processor."""
    model = save_model("llama", tmp_path / "model", vocabulary=8_192)  # its bos_token_id is 1
    plain = json.loads((demo_data / "tokenizer.json").read_text())
    name = next(token for token, id_ in plain["model"]["vocab"].items() if id_ == 1)
    prompts = [[5, 6, 7], [9, 8]]
    tc.ngrams(code_store, tmp_path / "c", tc.NgramSettings(n=(2,)))

    def post(token: str, id_: int) -> dict[str, Any]:
        single = [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
        special = {token: {"id": token, "ids": [id_], "tokens": [token]}}
        return {
            "type": "TemplateProcessing",
            "single": single,
            "pair": [*single, *single[1:]],
            "special_tokens": special,
        }

    own, another = post(name, 1), post("<|endoftext|>", 0)
    cases: list[tuple[dict[str, Any] | None, dict[str, Any] | None, bool]] = [
        (None, None, False),
        (None, own, True),
        (None, another, False),
        ({"bos_token": name}, own, True),
        ({"bos_token": name}, None, False),
        ({"add_bos_token": True}, None, True),
        ({"add_bos_token": False}, own, False),
    ]
    for config, processor, is_put in cases:
        (model / "tokenizer.json").write_text(json.dumps(plain | {"post_processor": processor}))
        (model / "tokenizer_config.json").unlink(missing_ok=True)
        if config is not None:
            (model / "tokenizer_config.json").write_text(json.dumps(config))
        said = tc.predict_prompts(tmp_path / "c", str(model), prompts=prompts, bos="auto")
        assert_said(said, model, prompts, (1,) if is_put else ())
    (model / "tokenizer_config.json").write_text(json.dumps({"add_bos_token": True}))
    answer("predict", tmp_path / "c", "--model", model, "--bos", "auto")
    settings = tc.ScanSettings(prompt_length=2, max_tokens=250, bos="auto")
    tc.scan(code_store, str(model), tmp_path / "c", settings)
    for stage in ("predictions/model", "scan_2/model"):
        assert json.loads((tmp_path / "c" / stage / "ledger.json").read_text())["settings"]["bos"] is True
    # The same run, said in other words.
    tc.scan(code_store, str(model), tmp_path / "c", tc.ScanSettings(prompt_length=2, max_tokens=250, bos=True))
    with pytest.raises(SettingsError, match="bos is 'maybe': it must be True or False or auto"):
        tc.ScanSettings(bos="maybe")  # type: ignore[arg-type]


def test_a_model_that_comes_without_a_tokenizer(demo_data: Path, tmp_path: Path) -> None:
    """The corpus's tells."""
    model = save_model("llama", tmp_path / "model", vocabulary=8_192)
    plain = json.loads((demo_data / "tokenizer.json").read_text())
    name = next(token for token, id_ in plain["model"]["vocab"].items() if id_ == 1)
    single = [{"SpecialToken": {"id": name, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    special = {name: {"id": name, "ids": [1], "tokens": [name]}}
    processor = {"type": "TemplateProcessing", "single": single, "pair": [*single, *single[1:]]}
    tokenizer = plain | {"post_processor": processor | {"special_tokens": special}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer))
    (tmp_path / "a.txt").write_text("import os\n" * 100)
    make_store(tmp_path / "a.txt", tmp_path / "tokenizer.json", tmp_path / "store", 50)
    tc.ngrams(tmp_path / "store", tmp_path / "c", tc.NgramSettings(n=(2,)))
    said = tc.predict_prompts(tmp_path / "c", str(model), prompts=[[5, 6, 7]], bos="auto")
    assert_said(said, model, [[5, 6, 7]], (1,))


def test_a_real_model_that_needs_its_first_token(stories: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Once upon a time, there was a boy named Ben. " * 50)
    make_store(tmp_path / "a.txt", stories, tmp_path / "store", 100)
    tc.ngrams(tmp_path / "store", tmp_path / "c", tc.NgramSettings(n=(2,)))
    shutil.copytree(stories, tmp_path / "says_so")
    config = json.loads((stories / "tokenizer_config.json").read_text())
    (tmp_path / "says_so/tokenizer_config.json").write_text(json.dumps(config | {"add_bos_token": True}))
    text = ["Ben"]
    said = {
        bos: tc.predict_prompts(tmp_path / "c", str(tmp_path / "says_so"), prompts=text, bos=bos).to_pylist()[0]
        for bos in (False, True, "auto")
    }
    assert said["auto"] == said[True]
    assert said[False]["p"] < 0.3 < 0.7 < said[True]["p"]
    for bos, front in ((False, ()), (True, (1,))):
        assert said[bos]["p"] == pytest.approx(naive(stories, said[bos]["ids"], front)["p"], rel=TOLERANCE)
