"""What ``import taskcatalog as tc`` offers: its names, its page of reference, and the examples there."""

import builtins
import doctest
import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import taskcatalog as tc

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def here(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("here")
    (folder / "a.txt").write_text("import os\nimport sys\nimport os\n\tprint(os)\n" * 50)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)  # the examples name the text so
        tc.tokenize("a.txt", "store", tokenizer=str(demo_data))
    tc.ngrams(folder / "store", folder / "catalog", tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    return folder


def test_names_are_shown_and_are_there() -> None:
    assert dir(tc) == sorted(tc.__all__)
    assert len(set(tc.__all__)) == len(tc.__all__)
    for name in tc.__all__:
        assert getattr(tc, name) is not None
    assert set(tc._HOMES) == set(tc.__all__) - {"__version__"}


def test_a_star_import_shadows_no_builtin() -> None:
    assert set(tc.__all__).isdisjoint(dir(builtins))
    script = "from taskcatalog import *\nimport builtins\nassert Catalog and not set(globals()) & SHOWN"
    ours = {name for name in dir(builtins) if not name.startswith("__")}
    script = script.replace("SHOWN", f"set({sorted(ours)!r})")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_page_is_made_from_the_docstrings() -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        from make_api_docs import PAGE, api_docs
    finally:
        sys.path.pop(0)
    assert PAGE.read_text() == api_docs()


def test_examples_print_what_they_say(here: Path, demo_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    known = {name: getattr(tc, name) for name in tc.__all__}
    known |= {"tokenizer": str(demo_data), "catalog": tc.Catalog("catalog")}
    tried, finder = 0, doctest.DocTestFinder()
    runner = doctest.DocTestRunner(verbose=False)
    for name in tc.__all__:
        what: Any = getattr(tc, name)
        if inspect.isfunction(what) or inspect.isclass(what):
            for found in finder.find(what, name, importlib.import_module(what.__module__), globs=dict(known)):
                tried += len(found.examples)
                assert runner.run(found).failed == 0, found.name
    assert tried >= 12


def test_stages_take_what_is_open(here: Path, tmp_path: Path, demo_data: Path) -> None:
    with tc.Catalog(here / "catalog") as catalog:
        assert tc.verify(catalog) == []
        assert tc.write_duckdb(catalog, tmp_path / "c.duckdb")["bigrams"] == 12
        again = tc.ngrams(tc.open_store(here / "store"), catalog, tc.NgramSettings(min_prefix_count=10), memory=2**30)
        assert again.rows["bigrams"] == 12
        assert again.seconds > 0
    np.arange(3_000, dtype=np.uint32).tofile(tmp_path / "flat.bin")
    store = tc.open_store(tmp_path / "flat.bin", tokenizer=demo_data, sequence_length=100, id_dtype="uint32")
    made = tc.ngrams(store, tmp_path / "c")
    assert (made.tokens, made.rows["bigrams"]) == (3_000, 2_970)
    assert made.catalog.folder.open_store().identity == store.identity
    assert tc.verify(store) == []
    assert tc.convert(store, tmp_path / "mds", tc.ConvertSettings(format="mds")).store.n_tokens == 3_000
    assert tc.find(store, [5, 6]).count == 1
    with pytest.raises(tc.SettingsError, match="this one is open"):
        tc.ngrams(store, tmp_path / "c", options=tc.StoreOptions(sequence_length=7))
    with pytest.raises(tc.SettingsError, match="is given beside options"):
        tc.open_store(tmp_path / "flat.bin", tc.StoreOptions(), sequence_length=7)
    for odd in ("long", 0, 1.5):
        with pytest.raises(tc.SettingsError, match="sequence length is"):
            tc.open_store(tmp_path / "flat.bin", sequence_length=odd)  # type: ignore[arg-type]


def test_amounts_of_memory_may_be_numbers(here: Path) -> None:
    assert tc.Catalog(here / "catalog", memory=2 * 10**9).sql("SELECT 1").fetchall() == [(1,)]
    for odd in (0, -1, 1.5, True, 10**19, "8", object(), [1]):
        with pytest.raises(tc.SettingsError, match="is not a size") as raised:
            tc.Catalog(here / "catalog", memory=odd)  # type: ignore[arg-type]
        assert "\n" not in str(raised.value)
