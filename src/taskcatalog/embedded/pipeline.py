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
from taskcatalog.questions import ask
from taskcatalog.storage import locate_here
from taskcatalog.tables.names import ngram_table, top_table
from taskcatalog.tasks.predict import predict
from taskcatalog.tasks.scan import ScanSettings, scan
from taskcatalog.tokenizing.stage import TokenizeSettings, tokenize

DATA = Path(__file__).parent / "data"
"""The tokenizer and the model that come with the package, as a folder that any command takes."""

LABEL = "demo"
NGRAMS = NgramSettings(n=(2, 3), min_prefix_count=20)
SCAN = ScanSettings(max_tokens=196_608)
_EXAMPLES = 15


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
    for n in NGRAMS.n:
        [(rows, occurrences)] = ask(catalog, "learned", n=n, model=LABEL).fetchall()
        lines.append([top_table(n), f"{rows:.0%}", f"{occurrences:.0%}"])
    _tell_table(say, lines, "<>>")


def _tell_examples(say: Callable[[str], None], catalog: Catalog) -> None:
    for n in NGRAMS.n:
        found = ask(catalog, "memorized", n=n, model=LABEL, varied=True, limit=_EXAMPLES)
        lines = [
            [visible(text), "→", visible(completion), f"{count:,}", f"{share:.2f}", f"{p:.2f}"]
            for text, completion, count, share, p in found.fetchall()
        ]
        say(f"\n{len(lines)} frequent {ngram_table(n)} that the model knows")
        _tell_table(say, [["prefix", "", "completion", "times", "share", "p"], *lines], "<<<>>>")
    changing = ask(catalog, "meaning", prompt_length=SCAN.prompt_length, limit=_EXAMPLES)
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
        for text, short, p_short, long, p_long, js, count in changing.fetchall()
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
