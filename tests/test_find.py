"""From a prompt or a task to its places: in Python, on the command line, and for lists."""

import csv
import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import taskcatalog as tc
from helpers import answer, library_texts, refusal, write_jsonl
from mds_sets import write_ids
from taskcatalog.errors import InputError, SettingsError

TEXTS = 40


@pytest.fixture(scope="module")
def made(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store and the catalog of its bigrams and of a scan."""
    folder = tmp_path_factory.mktemp("made")
    write_jsonl(folder / "a.jsonl", library_texts(TEXTS))
    settings = tc.TokenizeSettings(sequence_length=256)
    tc.tokenize([folder / "a.jsonl"], folder / "store", str(demo_data), settings)
    tc.ngrams(folder / "store", folder / "catalog", tc.NgramSettings(n=(2,)))
    scanned = tc.ScanSettings(max_tokens=8_000, min_divergence=0.1, min_probability=0.3)
    assert tc.scan(folder / "store", str(demo_data), folder / "catalog", scanned).tasks > 5
    return folder


def ids_of(folder: Path) -> list[int]:
    store = tc.open_store(folder / "store")
    return [int(id_) for id_ in store.read(0, store.n_sequences).tokens]


def naive_places(tokens: list[int], prompt: list[int], length: int = 256) -> list[int]:
    n = len(prompt)
    return [i for i in range(len(tokens)) if tokens[i : i + n] == prompt and i % length + n <= length]


@pytest.mark.parametrize("name", ["store", "catalog"])
def test_every_place_of_a_text(made: Path, name: str) -> None:
    texts, tokens = library_texts(TEXTS), ids_of(made)
    found = tc.find(made / name, "import os", limit=1_000, context=5)
    places = naive_places(tokens, found.ids)
    assert len(places) > 5
    rows = found.table.to_pylist()
    assert (found.count, [row["token"] for row in rows]) == (len(places), places)
    assert found.documents == len({row["document"] for row in rows})
    for row in rows:
        assert (row["text"], Path(row["source"]).name) == ("import os", "a.jsonl")
        around = row["before"] + row["text"] + row["after"]
        assert around.partition("<|endoftext|>")[0] in texts[row["place"] - 1]
        begin = row["token"] // 256 * 256
        assert (row["sequence"], row["start"]) == (row["token"] // 256, row["token"] - begin)
        assert row["before_ids"] == tokens[max(begin, row["token"] - 5) : row["token"]]
        after = row["token"] + len(found.ids)
        assert row["after_ids"] == tokens[after : min(begin + 256, after + 5)]
    few = tc.find(made / name, found.ids, limit=2, context=0)
    assert (few.count, few.documents, few.table["token"].to_pylist()) == (found.count, found.documents, places[:2])
    assert few.table["before"].to_pylist() == ["", ""]


def test_a_task_leads_to_its_places(made: Path) -> None:
    """The first place of a task is the one that the scan tells."""
    with tc.Catalog(made / "catalog") as catalog:
        tasks = catalog.sql("SELECT task_id, long_ids, batch, sample, start, count FROM scan_4").fetchall()
        for task, ids, batch, sample, start, count in tasks[:4]:
            found = tc.find(catalog, task=task)
            assert found.ids == ids
            assert found.table["token"][0].as_py() == (batch * 128 + sample) * 256 + start - 1
            assert found.count >= count
        said = answer("find", made / "catalog", "--task", tasks[0][0], "--limit", 1)
        assert f"{','.join(map(str, tasks[0][1]))}: " in said
        with pytest.raises(SettingsError, match="task 'none': is in no scan of"):
            tc.find(catalog, task="none")
    assert "is no catalog" in refusal("find", made / "store", "--task", tasks[0][0])


def test_the_table_on_the_screen(made: Path) -> None:
    lines = answer("find", made / "catalog", "--text", "import os", "--limit", 3, "--context", 4).splitlines()
    assert lines[0].endswith("documents; the first 3:")
    assert lines[1].split() == ["token", "document", "source", "line", "meta", "text"]
    assert len(lines) == 5
    assert all("[import·os]" in line and "a.jsonl" in line for line in lines[2:])
    assert answer("find", made / "catalog", "--ids", "5,5,5,5,5,5").splitlines() == [
        "5,5,5,5,5,5: 0 occurrences in 0 documents"
    ]


def test_formats(made: Path, tmp_path: Path) -> None:
    expected = tc.find(made / "store", "import os", limit=4)
    rows = json.loads(answer("find", made / "store", "--text", "import os", "--limit", 4, "--format", "json"))
    assert rows == expected.table.to_pylist()
    answer("find", made / "store", "--text", "import os", "--limit", 4, "--out", tmp_path / "f.parquet")
    assert pq.read_table(tmp_path / "f.parquet").to_pylist() == rows
    assert "is there already" in refusal("find", made / "store", "--text", "x", "--out", tmp_path / "f.parquet")


def test_a_list_of_prompts(made: Path) -> None:
    """Texts and ids, arrays of NumPy and Arrow say the same."""
    tokens = ids_of(made)
    rows = [tokens[i : i + 3] for i in range(0, 3_000, 100)] + [[4, 4, 4]]
    expected = [
        {"count": len(places), "first": min(places, default=None), "places": places[:3]}
        for places in (naive_places(tokens, row) for row in rows)
    ]
    forms: list[Any] = [
        rows,
        np.array(rows, np.int64),
        pa.array(rows),
        pa.chunked_array([pa.array(rows[:5]), pa.array(rows[5:])]),
        pa.array(rows, pa.list_(pa.uint16(), 3)),
    ]
    for prompts in forms:
        counted = tc.count_prompts(made / "catalog", prompts, places=3)
        assert counted.select(["count", "first", "places"]).to_pylist() == expected
        assert counted.column_names == ["count", "documents", "first", "places"]
    texts = ["import os", "def ", "\n"]
    counted = tc.count_prompts(made / "store", texts)
    assert tc.count_prompts(made / "store", pa.array(texts)).equals(counted)
    assert counted["count"].to_pylist() == [tc.find(made / "store", text).count for text in texts]
    assert counted["documents"].to_pylist() == [tc.find(made / "store", text).documents for text in texts]
    assert tc.count_prompts(made / "store", []).num_rows == 0


def test_files_of_prompts(made: Path, tmp_path: Path) -> None:
    rows = [[5, 6], [100], [7, 8, 9]]
    texts = ["import os", 'a "quoted",\ntext', " the"]
    by_ids, by_text = (tc.count_prompts(made / "store", prompts) for prompts in (rows, texts))
    pq.write_table(pa.table({"ids": rows, "text": texts, "x": [1, 2, 3]}), tmp_path / "i.parquet")
    pq.write_table(pa.table({"text": texts}), tmp_path / "t.parquet")
    (tmp_path / "i.jsonl").write_text("".join(json.dumps({"ids": row}) + "\n" for row in rows))
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "t.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "i.csv").write_text('x,ids\n1,"5,6"\n2, 100\n3,7 8  9\n')
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    for name in ("i.parquet", "t.parquet", "i.jsonl", "t.jsonl.gz", "i.csv", "t.csv"):
        out = tmp_path / f"{name}.out.parquet"
        answer("find", made / "catalog", "--prompts", tmp_path / name, "--out", out)
        given, counted = (rows, by_ids) if name.startswith("i") else (texts, by_text)
        table = pq.read_table(out)
        assert table.column(0).to_pylist() == given
        assert table.column_names[1:] == ["count", "documents", "first"]
        assert table.drop_columns(table.column_names[:1]).to_pylist() == counted.to_pylist()
    printed = answer("find", made / "store", "--prompts", tmp_path / "t.csv", "--format", "csv")
    assert [row["text"] for row in csv.DictReader(io.StringIO(printed))] == texts


def test_prompt_files_that_are_none(made: Path, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("prompt\nx\n")
    (tmp_path / "b.csv").write_text("ids\n5 x\n")
    (tmp_path / "c.txt").write_text("text\n")
    (tmp_path / "d.parquet").write_text("text\n")
    (tmp_path / "e.jsonl").write_text('{"ids": [5, null]}\n')
    (tmp_path / "f.jsonl").write_text('{"ids": [5]}\n{"ids": null}\n')
    (tmp_path / "g.jsonl").write_text('{"text": 5}\n')
    for name, problem in {
        "a.csv": "has no column 'ids' or 'text' (its columns are prompt)",
        "b.csv": "cannot be read as csv",
        "c.txt": "its name tells no format",
        "d.parquet": "cannot be read as parquet",
        "e.jsonl": "have nulls",
        "f.jsonl": "prompt 1: is null",
        "g.jsonl": "are of type int64",
        "none.csv": "does not exist",
    }.items():
        assert problem in refusal("find", made / "store", "--prompts", tmp_path / name)


def test_prompts_that_can_be_nowhere(made: Path) -> None:
    top = tc.open_store(made / "store").identity.vocabulary_size
    for prompts, problem in (
        ([[5], []], "prompt 1: is empty"),
        ([[5], [5, top]], f"prompt 1: has the id {top}: the ids of .* are 0 to {top - 1}"),
        ([[-1]], "prompt 0: has the id -1"),
        ([[1.5]], "prompt 0: is neither text nor a row of integer ids"),
        ([[[1]]], "prompt 0: is neither"),
        ([["a"]], "prompt 0: is neither"),
        ([""], "prompt 0: is empty"),
        ([[2**70]], "prompt 0: is neither"),
        (np.array([[2**64 - 1]], np.uint64), "prompt 0: has the id"),
        (np.array([[1.0]]), "must be integers"),
    ):
        with pytest.raises(SettingsError, match=problem):
            tc.count_prompts(made / "store", prompts)
    assert "exactly one of them" in refusal("find", made / "store")
    assert "exactly one of them" in refusal("find", made / "store", "--text", "a", "--ids", "5")
    with pytest.raises(SettingsError, match="limit is 0"):
        tc.find(made / "store", "a", limit=0)
    with pytest.raises(SettingsError, match="a prompt or the id of a task"):
        tc.find(made / "store", "a", task="b")


def test_a_store_that_moved(made: Path, tmp_path: Path, demo_data: Path) -> None:
    """A catalog knows where its store was; what it is about is checked, wherever that is now."""
    shutil.copytree(made / "store", tmp_path / "store")
    shutil.copytree(made / "catalog", tmp_path / "c")
    tc.ngrams(tmp_path / "store", tmp_path / "c", tc.NgramSettings(n=(2,)))  # complete, but from there now
    expected = tc.find(made / "store", "import os").table
    assert tc.find(tmp_path / "c", "import os").table.equals(expected)
    (tmp_path / "store").rename(tmp_path / "moved")
    line = refusal("find", tmp_path / "c", "--text", "import os")
    assert f"{tmp_path / 'store'}: is gone, the store of {tmp_path / 'c'}: --store PATH says where it is now" in line
    assert tc.find(tmp_path / "c", "import os", store=tmp_path / "moved").table.equals(expected)
    write_jsonl(tmp_path / "b.jsonl", library_texts(3))
    tc.tokenize([tmp_path / "b.jsonl"], tmp_path / "store", str(demo_data), tc.TokenizeSettings(sequence_length=256))
    assert "is not the store of this catalog, which was made from another store" in refusal(
        "find", tmp_path / "c", "--text", "a"
    )
    (tmp_path / "c/store.json").unlink()
    with pytest.raises(InputError, match="is missing, which says where the store is: --store PATH names it"):
        tc.find(tmp_path / "c", "import os")
    [problem] = tc.verify(tmp_path / "c")
    assert problem.startswith(f"{tmp_path / 'c/store.json'}: is missing")
    tc.ngrams(tmp_path / "moved", tmp_path / "c", tc.NgramSettings(n=(2,)))
    assert tc.verify(tmp_path / "c") == []
    assert tc.find(tmp_path / "c", "import os").table.equals(expected)
    assert "is no catalog" in refusal("find", tmp_path / "moved", "--text", "a", "--store", made / "store")


def test_a_location_that_was_changed(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made / "catalog", tmp_path / "c")
    location = tmp_path / "c/store.json"
    location.write_text(location.read_text().replace("store", "other"))
    assert "store.json: is not as it was written" in refusal("find", tmp_path / "c", "--text", "a")
    [problem] = tc.verify(tmp_path / "c")
    assert problem.startswith(f"{location}: is not as it was written")
    tc.ngrams(made / "store", tmp_path / "c", tc.NgramSettings(n=(2,)))
    assert tc.verify(tmp_path / "c") == []


def test_stores_that_must_be_told_things(tmp_path: Path, demo_data: Path) -> None:
    """A catalog opens a flat file, and a set of samples, as they were opened when it was made."""
    text = np.random.default_rng(0).integers(0, 9, 1_000).astype(np.uint32)
    text.tofile(tmp_path / "flat.bin")
    options = tc.StoreOptions(tokenizer=str(demo_data), id_dtype="uint32", sequence_length=100)
    tc.ngrams(tmp_path / "flat.bin", tmp_path / "c", options=options)
    prompt = text[40:43].tolist()
    found = tc.find(tmp_path / "c", prompt, limit=1_000)
    assert found.table["token"].to_pylist() == naive_places(text.tolist(), prompt, 100)
    assert found.documents == len(set(np.cumsum(text == 0)[found.table["token"].to_numpy() - 1].tolist()))
    assert found.table["source"].null_count == found.count
    bare = tc.find(tmp_path / "flat.bin", prompt, options=tc.StoreOptions(id_dtype="uint32", sequence_length=100))
    assert (bare.count, bare.documents, bare.table["before"][0].as_py()) == (found.count, None, None)
    said = answer("find", tmp_path / "flat.bin", "--id-dtype", "uint32", "--ids", ",".join(map(str, prompt)))
    assert f"[{','.join(map(str, prompt))}]" in said
    assert "--tokenizer names one" in refusal("find", tmp_path / "flat.bin", "--text", "a", "--id-dtype", "uint32")

    samples = [text[i : i + i % 7].astype(np.uint16) for i in range(0, 500, 5)]
    write_ids(tmp_path / "m", samples, per_shard=10)
    tc.ngrams(tmp_path / "m", tmp_path / "cm", options=tc.StoreOptions(tokenizer=str(demo_data)))
    found = tc.find(tmp_path / "cm", samples[5][:2], limit=1_000)
    expected = [
        (number, start)
        for number, sample in enumerate(samples)
        for start in range(len(sample) - 1)
        if sample[start : start + 2].tolist() == samples[5][:2].tolist()
    ]
    assert [*zip(*(found.table[name].to_pylist() for name in ("sequence", "start")), strict=True)] == expected
    assert found.table["place"].to_pylist() == [number % 10 + 1 for number, _ in expected]
