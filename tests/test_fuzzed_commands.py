"""Every option and argument of every command with hostile values: an exit code and a line, never a traceback."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from helpers import invoke, write_jsonl
from taskcatalog.cli import main

WORDS = [
    "", " ", "-", "--", "0", "1", "-1", "2", "6", "1e400", "nan", "-inf", "inf", "1.5", "99999999999999999999",
    "9" * 5_000, "10**30", "true", "yes", "no", "null", "none", "auto", "x", "a,b", "2,3", "2,,3", "1GB", "0GB", "-5MB",
    "uint16", "mds", "bin", "flat", "csv", "json", "zstd", "zstd:99", "cpu", "cuda:99", "float16", "jsd",
    ".", "..", "/", "/dev/null", "/dev/zero", "/nowhere/at/all", "nowhere://x", "file:///nowhere", "~", "*", "[", "**",
    "\x1b[31m", "\u202e", "\udcff", "\udce9t\udce9", "a\nb", "\t", "\ufeff", "\U0001f600", "%", "'; DROP",
    "SELECT 1", "SELECT", "SELECT * FROM tokens", "x" * 300, "x" * 5_000, "org/name", "a/b/c", "pythia",
]  # fmt: skip
LEFT_OUT = {"demo", "plan"}
"""Which take no hostile value but a folder, and seconds."""


@pytest.fixture(scope="module")
def things(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """One of each kind of thing that a command takes."""
    folder = tmp_path_factory.mktemp("things")
    source = write_jsonl(folder / "a.jsonl", ["import os\nimport sys\n"] * 5)
    assert invoke("tokenize", source, "--out", folder / "store", "--tokenizer", demo_data).exit_code == 0
    assert invoke("ngrams", folder / "store", "--out", folder / "catalog").exit_code == 0
    assert invoke("convert", folder / "store", "--out", folder / "flat.bin", "--format", "flat").exit_code == 0
    return [str(folder / name) for name in ("a.jsonl", "store", "catalog", "flat.bin")] + [str(demo_data)]


def commands(generator: random.Random, things: list[str]) -> Iterator[list[str]]:
    """Commands that are nearly right: most values are of the kind that is wanted, a few are anything."""
    source, store, catalog, flat, tokenizer = things
    usual: dict[str, list[str]] = {
        "source": [source], "store": [store, flat], "catalog": [catalog], "path": [store, catalog, flat],
        "tokenizer": [tokenizer], "models": ["nowhere"], "model": ["nowhere"], "query": ["SELECT 1"],
        "text": ["import"], "where": [store, catalog, flat], "ids": ["5,6"], "prompts": [source],
        "out": ["out", "out.bin", "s/out"], "workers": ["1"], "memory": ["1GB"],
    }  # fmt: skip
    names = sorted(main.commands.keys() - LEFT_OUT)
    while True:
        name = generator.choice(names)
        arguments, options = [name], []
        for parameter in main.commands[name].params:
            assert parameter.name is not None
            if parameter.name in ("help", "config", "verbose"):  # verbose shows where an error came from
                continue
            is_hostile = generator.random() < 0.25
            value = generator.choice(WORDS if is_hostile or parameter.name not in usual else usual[parameter.name])
            if isinstance(parameter, click.Argument):
                arguments.append(value)
            elif parameter.required or generator.random() < 0.2:
                is_flag = isinstance(parameter, click.Option) and parameter.is_flag
                options += [parameter.opts[0]] if is_flag else [parameter.opts[0], value]
        yield arguments + options


def options_in_yaml(generator: random.Random) -> Any:
    values: list[Any] = [*WORDS, None, True, 3, -1, 0.5, float("nan"), 10**30, [], [1, "a"], {"a": 1}, [[2]]]
    values = [
        value for value in values if not (isinstance(value, str) and any("\ud800" <= c < "\ue000" for c in value))
    ]
    keys = [
        "out",
        "n",
        "workers",
        "memory",
        "min-share",
        "min_prefix_count",
        "force",
        "tokenizer",
        "store",
        "x",
        3,
        None,
    ]
    return {generator.choice(keys): generator.choice(values) for _ in range(generator.randint(1, 3))}


def check(arguments: list[str]) -> None:
    result = invoke(*arguments)
    assert result.exit_code in (0, 1, 2), (arguments, result.output, result.exception)
    assert "Traceback" not in result.stderr, (arguments, result.output)
    assert result.exit_code != 1 or "defect" not in result.output
    if result.exit_code:
        *notes, last = result.stderr.splitlines()
        assert last.startswith("taskcatalog: "), (arguments, result.output)
        assert [line for line in notes if not line.startswith("taskcatalog: ")] == []
        assert last.isprintable()


def fuzz(things: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, n: int, seed: int) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    generator = random.Random(seed)
    hostile = commands(generator, things)
    for _ in range(n):
        check(next(hostile))
        content = options_in_yaml(generator)
        Path("c.yaml").write_text(yaml.safe_dump(content, allow_unicode=True))
        check(["ngrams", things[1], "--config", "c.yaml"])


def test_hostile_commands(things: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(things, tmp_path, monkeypatch, 150, seed=1)


@pytest.mark.slow
def test_many_hostile_commands(things: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuzz(things, tmp_path, monkeypatch, 3_000, seed=2)
