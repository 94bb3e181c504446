"""The whole pipeline on what comes with the package, and what it found, told to a person.

The corpus is the source of the running Python's standard library; tokenizer and model lie in ``data/``.
"""

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from taskcatalog.catalog.catalog import Catalog
from taskcatalog.counting.stage import NgramSettings, ngrams
from taskcatalog.display import columns, visible
from taskcatalog.embedded.standard_library import standard_library_sources
from taskcatalog.storage import locate_here
from taskcatalog.tasks.predict import predict
from taskcatalog.tasks.scan import ScanSettings, scan
from taskcatalog.tokenizing.stage import TokenizeSettings, tokenize

DATA = Path(__file__).parent / "data"
"""The tokenizer and the model that come with the package, as a folder that any command takes."""

LABEL = "demo"
NGRAMS = NgramSettings(n=(2, 3), min_prefix_count=20)
SCAN = ScanSettings(max_tokens=196_608)
_EXAMPLES = 15

_GOOD_GRAMS = """
    SELECT {prefix} AS prefix, token{last} AS completion, sum_count, frac_max, p_demo FROM {table}
    WHERE p_demo > 0.5 AND {prefix} SIMILAR TO '.*[A-Za-z]{{2}}.*'
    QUALIFY row_number() OVER (PARTITION BY token{last} ORDER BY sum_count DESC, seq) = 1
    ORDER BY sum_count DESC, seq LIMIT {limit}"""
_WORD = "'^ ?[a-z]{2,}$'"
_GOOD_TASKS = f"""
    SELECT text, token_short, p_short, token_long, p_long, JS, count FROM scan_4
    WHERE token_short <> token_long AND p_short > 0.25 AND p_long > 0.6 AND NOT crosses_document
        AND regexp_matches(token_short, {_WORD}) AND regexp_matches(token_long, {_WORD})
    QUALIFY row_number() OVER (PARTITION BY token_long ORDER BY count DESC, JS DESC, task_id) = 1
    ORDER BY count DESC, JS DESC, task_id LIMIT {_EXAMPLES}"""
"""Prompts that say one word without their first token and another one with it."""


def demo(out: str | Path, say: Callable[[str], None] = print) -> Catalog:
    """Runs every stage into ``out`` and says what it found; the same call again goes on or only tells.

    Raises ConflictError where ``out`` holds something else.
    """
    store, folder = locate_here(out) / "store", locate_here(out) / "catalog"
    seconds: dict[str, float] = {}
    with _timed("tokenize", seconds):
        tokens = tokenize(standard_library_sources(), store, str(DATA), TokenizeSettings())
    with _timed("ngrams", seconds):
        counted = ngrams(store, folder, NGRAMS)
    with _timed("predict", seconds):
        predict(folder, str(DATA), label=LABEL)
    with _timed("scan", seconds):
        found = scan(store, str(DATA), folder, SCAN, label=LABEL)
    catalog = Catalog(folder)
    _tell_sizes(say, tokens.store.describe(), {**counted.rows, **found.rows}, found.tokens)
    _tell_learned(say, catalog)
    _tell_examples(say, catalog)
    say("\nTime, in seconds")
    _tell_table(say, [[name, f"{taken:.1f}"] for name, taken in seconds.items()], "<>")
    _tell_next(say, folder)
    return catalog


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[stage] = time.monotonic() - started


def _tell_sizes(say: Callable[[str], None], corpus: dict[str, int], rows: dict[str, int], scanned: int) -> None:
    say("\nCorpus: the source of this Python's standard library")
    _tell_table(say, [[name, f"{number:,}"] for name, number in corpus.items()], "<>")
    say("\nRows of the catalog's tables")
    _tell_table(say, [[name, f"{number:,}"] for name, number in rows.items()], "<>")
    say(f"  (scan_4 is about the first {scanned:,} tokens)")


def _tell_learned(say: Callable[[str], None], catalog: Catalog) -> None:
    say("\nWhat the model has learned: completions that it gives a probability above one half")
    lines = [["", "of the rows", "of their occurrences"]]
    for table in ("top_bigrams", "top_trigrams"):
        [(rows, occurrences)] = catalog.sql(
            f"""SELECT avg((p_demo > 0.5)::INT), sum(max_count) FILTER (p_demo > 0.5) / sum(max_count) FROM {table}"""
        ).fetchall()
        lines.append([table, f"{rows:.0%}", f"{occurrences:.0%}"])
    _tell_table(say, lines, "<>>")


def _tell_examples(say: Callable[[str], None], catalog: Catalog) -> None:
    for n, table in ((2, "top_bigrams"), (3, "top_trigrams")):
        prefix = " || ".join(f"token{i}" for i in range(n - 1))
        query = _GOOD_GRAMS.format(prefix=f"({prefix})", last=n - 1, table=table, limit=_EXAMPLES)
        lines = [
            [visible(text), "→", visible(completion), f"{count:,}", f"{share:.2f}", f"{p:.2f}"]
            for text, completion, count, share, p in catalog.sql(query).fetchall()
        ]
        say(f"\n{len(lines)} frequent {table.removeprefix('top_')} that the model knows")
        _tell_table(say, [["prefix", "", "completion", "times", "share", "p"], *lines], "<<<>>>")
    lines = [
        [
            visible(text),
            visible(short),
            f"{p_short:.2f}",
            "→",
            visible(long),
            f"{p_long:.2f}",
            f"{js:.1f}",
            f"{count:,}",
        ]
        for text, short, p_short, long, p_long, js, count in catalog.sql(_GOOD_TASKS).fetchall()
    ]
    say(f"\n{len(lines)} prompts whose meaning changes with the token in brackets")
    _tell_table(say, [["prompt", "without it", "p", "", "with it", "p", "JS", "times"], *lines], "<<><<>>>")


def _tell_table(say: Callable[[str], None], rows: list[list[str]], align: str) -> None:
    for line in columns(rows, align):
        say("  " + line)


def _tell_next(say: Callable[[str], None], folder: Path) -> None:
    command = _command()
    say(f"""
The catalog is in {folder}. What to type next:

  # its tables and their columns
  {command} sql {folder}
  # prompts about something
  {command} sql {folder} "SELECT text, token_long, p_long, JS FROM scan_4 WHERE text LIKE '%self%' LIMIT 20"
  # what follows these words in the corpus
  {command} complete {folder} "import os"
  # the first step with a corpus of your own
  {command} tokenize --help""")


def _command() -> str:
    """How to call ``taskcatalog`` from here: by its path if the shell does not find it."""
    if shutil.which("taskcatalog"):
        return "taskcatalog"
    path = Path(sys.executable).with_name("taskcatalog")
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
