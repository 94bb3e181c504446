"""Settings of every kind: any value of any type is taken and in its range, or refused in one line."""

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import taskcatalog as tc
from taskcatalog.documents.source import DatasetChoice
from taskcatalog.runs.files import write_json
from taskcatalog.settings import Settings
from taskcatalog.sizes import parse_size, worker_count

pytest.importorskip("torch", reason="the settings of a scan need torch")


def is_text(value: Any) -> bool:
    return isinstance(value, str) and value.encode() is not None and "\0" not in value


def is_whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def is_share(value: Any) -> bool:
    return type(value) is float and 0 <= value < 1


def one_of(*words: str) -> Callable[[Any], bool]:
    return lambda value: value in words


def or_none(rule: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or rule(value)


COUNT, LENGTH = is_whole(0, 2**63 - 1), is_whole(1, 2**31 - 1)
POSITIVE = is_whole(1, 2**63 - 1)
RULES: dict[type[Settings], dict[str, Callable[[Any], bool]]] = {
    tc.TokenizeSettings: {
        "sequence_length": LENGTH,
        "separator": one_of("end", "both", "none"),
        "end_of_text": or_none(is_text),
        "field": is_text,
        "meta": or_none(is_text),
        "on_error": one_of("stop", "skip"),
        "subset": or_none(is_text),
        "split": is_text,
    },
    tc.StoreOptions: {
        "tokenizer": or_none(is_text),
        "sequence_length": or_none(LENGTH),
        "id_dtype": or_none(one_of("uint16", "int32", "uint32", "int64", "uint64")),
        "column": or_none(is_text),
    },
    tc.ConvertSettings: {
        "format": one_of("mds", "flat"),
        "compression": or_none(is_text),
        "hashes": or_none(one_of("xxh64", "sha1", "none")),
        "size_limit": or_none(is_whole(1, 2**32 - 1)),
    },
    tc.NgramSettings: {
        "n": lambda value: len(value) > 0 and all(type(n) is int and 1 <= n <= 5 for n in value),
        "min_prefix_count": COUNT,
        "min_share": is_share,
        "start": COUNT,
        "max_tokens": or_none(POSITIVE),
    },
    tc.ScanSettings: {
        "prompt_length": is_whole(1, 16),
        "min_probability": is_share,
        "min_divergence": lambda value: type(value) is float and math.isfinite(value),
        "divergence": one_of("jeffreys", "jsd"),
        "start": COUNT,
        "max_tokens": or_none(POSITIVE),
        "all_measures": lambda value: type(value) is bool,
        "bos": lambda value: type(value) is bool,
    },
    tc.Machine: {
        "cores": or_none(is_whole(1, 1_024)),
        "memory": or_none(lambda value: 1 <= parse_size(value) <= 10**18),
        "disk_rate": or_none(POSITIVE),
    },
    DatasetChoice: {"subset": or_none(is_text), "split": is_text},
}
NUMBERS = st.one_of(
    st.integers(-3, 20),
    st.integers(),
    st.sampled_from([2**31, 2**32, 2**63, 10**30, -(10**30), 10**5_000]),
    st.floats(),
    st.sampled_from([0.0, 1.0, 0.5, 1.5, math.nan, math.inf, -math.inf, 1e308]),
    st.booleans(),
    st.sampled_from([np.int64(3), np.uint8(0), np.float32(0.5), np.float64("nan"), np.bool_(True)]),
    st.sampled_from([Decimal(1), Fraction(1, 2), 1j, Fraction(10**400, 3)]),
)
WORDS = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=5),
    st.sampled_from([
        "2", "0.5", "yes", "none", "end", "jsd", "mds", "bin", "xxh64", "zstd", "zstd:" + "9" * 5_000, "gz:0", ":",
        "\ud800", "\udcff", "a\0b", "uint16", "8GB", "-1", "1e400",
    ]),
)  # fmt: skip
ODD = st.sampled_from(
    [None, b"end", (), (2, 3), [2, 2], {3}, (6,), (0, 2), [True], {}, {"a": 1}, object(), int, Path()]
)
VALUES = st.one_of(
    NUMBERS, WORDS, ODD, st.lists(NUMBERS, max_size=3), st.sampled_from([np.array([2, 3]), np.array(["end"] * 2)])
)


def test_every_field_has_a_rule() -> None:
    for kind, rules in RULES.items():
        assert {field.name for field in fields(kind)} == rules.keys()  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", RULES, ids=lambda kind: kind.__name__)
@hypothesis_settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_value_of_any_field(kind: type[Settings], data: st.DataObject, tmp_path_factory: Any) -> None:
    """A few fields at a time, so that what one of them refuses does not hide the others."""
    names = data.draw(st.lists(st.sampled_from(list(RULES[kind])), min_size=1, max_size=2, unique=True))
    values = {name: data.draw(VALUES) for name in names}
    if kind is tc.ConvertSettings:
        values = {"format": "mds"} | values
    try:
        made = kind(**values)
    except tc.SettingsError as error:
        assert "\n" not in str(error)  # noqa: PT017 one of two right ends
        return
    for name, rule in RULES[kind].items():
        assert rule(getattr(made, name)), (name, getattr(made, name))
    write_json(tmp_path_factory.getbasetemp() / "settings.json", asdict(made))  # type: ignore[call-overload]


def test_a_refusal_names_the_field_the_value_and_the_rule() -> None:
    with pytest.raises(tc.SettingsError, match=r"^min share is nan: it must be a number from 0 to below 1$") as caught:
        tc.NgramSettings(min_share=math.nan)
    assert caught.value.setting == "min_share"
    with pytest.raises(tc.SettingsError, match="n is 2: it must be one or more, each a whole number from 1 to 5"):
        tc.NgramSettings(n=2)  # type: ignore[arg-type]
    with pytest.raises(tc.SettingsError, match="bos is 'no': it must be True or False"):
        tc.ScanSettings(bos="no")  # type: ignore[arg-type]
    with pytest.raises(
        tc.SettingsError, match="sequence length is 0: it must be a whole number from 1 to 2,147,483,647"
    ):
        tc.StoreOptions(sequence_length=0)
    assert tc.NgramSettings(n=[3, 2, 3]).n == (2, 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, -1, 10**9, 1.5, True, "2", math.nan, np.array([1, 2])])
def test_workers(workers: Any) -> None:
    with pytest.raises(tc.SettingsError, match="workers is"):
        worker_count(workers)
    assert worker_count(np.int64(2)) == 2  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "-1", "nan", "inf", "1e9", "9" * 400 + "TB", "8 G B", None, "8GB\0", b"1"])
def test_sizes(text: Any) -> None:
    with pytest.raises(tc.SettingsError, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize("settings", [{"n": 2}, [], "", 0, tc.ScanSettings()])
def test_settings_of_another_kind(settings: Any, tmp_path: Path) -> None:
    with pytest.raises(tc.SettingsError, match=r"settings are .*: give NgramSettings\(…\), or leave them out"):
        tc.ngrams(tmp_path, tmp_path / "c", settings)


def test_an_empty_name_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a variable of a shell that was not set: it does not mean the folder where one happens to be."""
    monkeypatch.chdir(tmp_path)
    for call in (lambda: tc.tokenize("", "s", "t"), lambda: tc.ngrams("", "c"), lambda: tc.tokenize("a", "", "t")):
        with pytest.raises(tc.InputError, match="'' is no name of a file or folder"):
            call()
