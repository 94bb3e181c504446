"""What is no path or name, where one is wanted in Python: one line that says so, whatever is called."""

from collections.abc import Callable
from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import refusal

NO_PATHS = (None, 3, 1.5, b"x", True, object(), ["x"])
CALLS: dict[str, Callable[[object], object]] = {
    "open_store": lambda odd: tc.open_store(odd),  # type: ignore[arg-type]
    "Catalog": lambda odd: tc.Catalog(odd),  # type: ignore[arg-type]
    "verify": lambda odd: tc.verify(odd),  # type: ignore[arg-type]
    "plan": lambda odd: tc.plan(odd),  # type: ignore[arg-type]
    "ngrams": lambda odd: tc.ngrams(odd, "c"),  # type: ignore[arg-type]
    "ngrams, out": lambda odd: tc.ngrams("flat.bin", odd, memory="1GB"),  # type: ignore[arg-type]
    "convert": lambda odd: tc.convert(odd, "m", tc.ConvertSettings(format="mds")),  # type: ignore[arg-type]
    "convert, out": lambda odd: tc.convert("flat.bin", odd, tc.ConvertSettings(format="mds")),  # type: ignore[arg-type]
    "convert, flat": lambda odd: tc.convert("flat.bin", odd, tc.ConvertSettings(format="flat")),  # type: ignore[arg-type]
    "tokenize": lambda odd: tc.tokenize(odd, "s", "t.json"),  # type: ignore[arg-type]
    "tokenize, each": lambda odd: tc.tokenize([odd], "s", "t.json"),  # type: ignore[list-item]
    "tokenize, out": lambda odd: tc.tokenize("flat.bin", odd, "t.json"),  # type: ignore[arg-type]
    "tokenize, MDS": lambda odd: tc.tokenize("flat.bin", odd, "t.json", format="mds"),  # type: ignore[arg-type]
    "tokenizer": lambda odd: tc.tokenize("a.txt", "s", odd),  # type: ignore[arg-type]
    "staging": lambda odd: tc.tokenize("a.txt", "memory://s", "t.json", staging=odd or 5),  # type: ignore[arg-type]
    "predict": lambda odd: tc.predict(odd, "m"),  # type: ignore[arg-type]
    "predict, model": lambda odd: tc.predict("c", odd),  # type: ignore[arg-type]
    "predict, each": lambda odd: tc.predict("c", [odd]),  # type: ignore[list-item]
    "scan": lambda odd: tc.scan(odd, "m", "c"),  # type: ignore[arg-type]
    "scan, model": lambda odd: tc.scan("flat.bin", odd, "c"),  # type: ignore[arg-type]
    "write_duckdb": lambda odd: tc.write_duckdb(odd, "c.duckdb"),  # type: ignore[arg-type]
    "write_duckdb, out": lambda odd: tc.write_duckdb("c", odd),  # type: ignore[arg-type]
    "demo": lambda odd: tc.demo(odd),  # type: ignore[arg-type]
}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small store and its catalog: what is odd is not looked at last."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "flat.bin").write_bytes(bytes(range(200)) * 4)
    tc.ngrams(folder / "flat.bin", folder / "c", options=tc.StoreOptions(sequence_length=8))
    (folder / "a.txt").write_text("one two")
    return folder


@pytest.mark.parametrize("call", sorted(CALLS))
def test_no_path(here: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    monkeypatch.chdir(here)
    for odd in NO_PATHS:
        if isinstance(odd, list) and call in ("tokenize", "predict, model"):  # these take several
            continue
        with pytest.raises((tc.InputError, tc.SettingsError), match=r"not |give |it must be") as raised:
            CALLS[call](odd)
        assert "\n" not in str(raised.value)
        assert len(str(raised.value)) < 300


class Named:
    """A path of another library."""

    def __fspath__(self) -> str:
        return "flat.bin"


def test_any_path_of_a_text_will_do(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    assert tc.open_store(Named()).n_tokens == 400


def test_a_catalog_is_on_this_machine(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    calls: list[Callable[[str], object]] = [
        tc.Catalog,
        lambda url: tc.ngrams("flat.bin", url, options=tc.StoreOptions(sequence_length=8)),
        lambda url: tc.predict(url, "m"),
        lambda url: tc.write_duckdb("c", url),
    ]
    for call in calls:
        with pytest.raises(tc.InputError, match="memory://catalog: is a URL: give a folder or a file on this machine"):
            call("memory://catalog")


@pytest.mark.parametrize("url", ["s3://", "https://", "memory:///"])
def test_a_url_of_nothing(here: Path, url: str) -> None:
    message = f"{url}: names no bucket or server"
    assert message in refusal("tokenize", url, "--tokenizer", "t", "--out", here / "s")
    assert message in refusal("ngrams", url, "--out", here / "new")
    assert message in refusal("convert", here / "flat.bin", "--format", "mds", "--out", url)
