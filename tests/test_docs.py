"""The documentation tells the truth: its commands exist, and those of the cookbook run."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from taskcatalog.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
COOKBOOK = (ROOT / "docs/cookbook.md").read_text()
OF_OTHERS = {"--csv", "--plot", "--share", "--every"}
"""Options of the benchmarks and of the tests of faults, which the pages name too."""


def command_lines(page: Path) -> Iterator[list[str]]:
    """The words of each command that a page shows, after ``taskcatalog``, up to a pipe or a comment."""
    text = re.sub(r"\\\n *", " ", page.read_text())
    for line in re.findall(r"(?<![\w./-])taskcatalog ([a-z][^`\n]*)", text):
        try:
            words = shlex.split(line.replace("'", ""), comments=True)
        except ValueError:  # a quoted query that goes on in the next line
            words = line.partition('"')[0].split()
        yield words[: words.index("|")] if "|" in words else words


def options_of(command: click.Command) -> set[str]:
    context = click.Context(command, help_option_names=main.context_settings["help_option_names"])
    return {name for parameter in command.get_params(context) for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    everywhere = set().union(*map(options_of, main.commands.values()), OF_OTHERS, {"--version"})
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+\b", page.read_text()))
    assert named <= everywhere
    for name, *words in command_lines(page):
        if name in main.commands:
            given = {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)}
            assert given <= options_of(main.commands[name]), (name, words)
        else:  # a word of prose after the program's name, or the name of a table
            assert not any(word.startswith("-") for word in words), (name, words)


def test_commands_are_found_at_all() -> None:
    found = [words for page in PAGES if page.name != "commands.md" for words in command_lines(page)]
    assert sum(words[0] in main.commands for words in found) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_blank_line_stands_before_each_list(page: Path) -> None:
    """Without it the site makes no list of it, and no table."""
    prose = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r"^[^\s\-|#\d].*\n(?:- |\d+\. |\|).*", prose, re.MULTILINE) == []


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", COOKBOOK, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def kitchen(two_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where the names that the cookbook uses exist, with ``taskcatalog`` in ``bin``."""
    folder = tmp_path_factory.mktemp("kitchen")
    for name in ("store", "catalog"):
        shutil.copytree(two_models / name, folder / name)
    program = folder / "bin" / "taskcatalog"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m taskcatalog "$@"\n')
    program.chmod(0o755)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("language", "block"),
    [(language, block) for language in ("sh", "python") for block in blocks(language)],
    ids=lambda value: value.split("\n")[-2][:40] if "\n" in value else value,
)
def test_the_cookbook_runs(kitchen: Path, language: str, block: str) -> None:
    """Every block by itself, in the order of the page, as a reader would paste it."""
    program = ["bash", "-eu", "-o", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
    path = f"{kitchen / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run([*program, block], cwd=kitchen, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_cookbook_has_blocks_to_run() -> None:
    assert len(blocks("sh")) >= 10
    assert len(blocks("python")) >= 3
