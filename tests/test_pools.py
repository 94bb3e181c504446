"""Every stage by a pool of another kind, that shares nothing but files with it: the same bytes."""

import pickle
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest

import taskcatalog as tc
from file_pool import FilePool
from helpers import library_texts, tree, write_jsonl
from taskcatalog.converting.stage import ConvertSettings, convert
from taskcatalog.stores.reference import StoreReference


@pytest.fixture
def folders(tmp_path: Path) -> list[tuple[Path, dict[str, Any]]]:
    """One by a stage's own pool, one by the other; each in turn under the same name, as ledgers name their sources."""
    (tmp_path / "files").mkdir()
    return [(tmp_path / "out", {"workers": 2}), (tmp_path / "out", {"pool": FilePool(tmp_path / "files")})]


def set_aside(out: Path) -> dict[str, str]:
    """What was made, which makes room for the next."""
    made = tree(out)
    shutil.rmtree(out)
    return made


@pytest.mark.slow
def test_tokenizing_and_counting(demo_data: Path, tmp_path: Path, folders: list[tuple[Path, dict[str, Any]]]) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", library_texts(12))
    made = []
    for out, how in folders:
        tc.tokenize(source, out / "store", str(demo_data), tc.TokenizeSettings(sequence_length=64), **how)
        tc.ngrams(out / "store", out / "catalog", tc.NgramSettings(min_prefix_count=5), memory="8GB", **how)
        made.append(set_aside(out))
    assert len(made[0]) > 10
    assert made[0] == made[1]
    assert list((tmp_path / "files").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("format_", ["mds", "flat"])
def test_converting(
    demo_data: Path,
    tmp_path: Path,
    folders: list[tuple[Path, dict[str, Any]]],
    format_: Literal["mds", "flat"],
) -> None:
    """A flat file, whose reader must be told what it is, and a token store, which knows its documents."""
    source = write_jsonl(tmp_path / "a.jsonl", library_texts(40))
    tc.tokenize(source, tmp_path / "store", str(demo_data), tc.TokenizeSettings(sequence_length=64))
    convert(tmp_path / "store", tmp_path / "flat.bin", ConvertSettings(format="flat"))
    told = tc.StoreOptions(tokenizer=str(demo_data), sequence_length=64)
    made = []
    for out, how in folders:
        convert(tmp_path / "store", out / "of a store", ConvertSettings(format=format_), **how)
        convert(tmp_path / "flat.bin", out / "of a file", ConvertSettings(format=format_), options=told, **how)
        made.append(set_aside(out))
    assert made[0] == made[1]


@pytest.mark.slow
def test_asking_a_model(
    demo_data: Path, tmp_path: Path, folders: list[tuple[Path, dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taskcatalog.tasks.collect.PROMPTS_PER_PART", 700)
    source = write_jsonl(tmp_path / "a.jsonl", library_texts(12))
    tc.tokenize(source, tmp_path / "store", str(demo_data), tc.TokenizeSettings(sequence_length=64))
    tc.ngrams(tmp_path / "store", tmp_path / "counted", tc.NgramSettings(n=(2,)))
    settings = tc.ScanSettings(max_tokens=1_500, all_measures=True)
    made = []
    for out, how in folders:
        shutil.copytree(tmp_path / "counted", out)
        pool = how.get("pool")
        tc.predict(out, str(demo_data), label="m", pool=pool)
        tc.scan(tmp_path / "store", str(demo_data), out, settings, label="m", pool=pool)
        made.append(set_aside(out))
    assert len([name for name in made[0] if "measures" in name]) > 1
    assert made[0] == made[1]


def test_a_store_that_was_changed(demo_data: Path, tmp_path: Path) -> None:
    """A job that opens it anew finds what its stage has not seen."""
    source = write_jsonl(tmp_path / "a.jsonl", library_texts(2))
    path = tmp_path / "flat.bin"
    tc.tokenize(source, tmp_path / "store", str(demo_data))
    convert(tmp_path / "store", path, ConvertSettings(format="flat"))
    reference = StoreReference.of(tc.open_store(path), path, None)
    path.write_bytes(path.read_bytes()[:-2])
    elsewhere = pickle.loads(pickle.dumps(reference))
    with pytest.raises(tc.InputError, match=r"flat.bin: was changed while it was read"):
        elsewhere.store.read(0, 1)
