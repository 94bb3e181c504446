"""What a command prints: lines for people, or with ``--json`` one JSON value for programs.

``--quiet`` leaves out what nobody asked for: progress, notes and the summary of what was made. ``--verbose`` adds what
the command cost.
"""

import json
import resource
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from taskcatalog.display import columns
from taskcatalog.sizes import peak_memory
from taskcatalog.terminal import Loudness, is_loud, say, set_loudness, warn

_JSON, _QUIET, _VERBOSE = "taskcatalog.json", "taskcatalog.quiet", "taskcatalog.verbose"


def _flag(name: str) -> Callable[[click.Context, click.Parameter, bool], None]:
    def keep(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted:
            ctx.meta[name] = True

    return keep


OPTIONS = [
    click.option("--json", is_flag=True, expose_value=False, callback=_flag(_JSON),
                 help="Print the result as JSON, for programs."),
    click.option("-q", "--quiet", is_flag=True, expose_value=False, callback=_flag(_QUIET),
                 help="Print errors only, and what was asked for."),
    click.option("-v", "--verbose", is_flag=True, expose_value=False, callback=_flag(_VERBOSE),
                 help="Print time and memory, too, and where an error came from."),
]  # fmt: skip
"""All commands have these."""


class Command(click.Command):
    """A command that is as loud as its options say, and whose one-line help is its whole first sentence."""

    def get_short_help_str(self, limit: int = 45) -> str:  # noqa: ARG002
        return super().get_short_help_str(1_000)

    def invoke(self, ctx: click.Context) -> Any:
        quiet, verbose = _QUIET in ctx.meta, _VERBOSE in ctx.meta
        if quiet and verbose:
            raise click.UsageError("--quiet and --verbose contradict each other: leave one out", ctx)
        set_loudness(Loudness.QUIET if quiet else Loudness.VERBOSE if verbose else Loudness.NORMAL)
        started = time.monotonic()
        try:
            return super().invoke(ctx)
        finally:
            if verbose:
                _tell_costs(time.monotonic() - started)


def wants_json() -> bool:
    """Whether the command that runs prints JSON."""
    return bool(click.get_current_context().meta.get(_JSON))


def report(facts: Mapping[str, Any] | list[Any], lines: Iterable[str], *, asked_for: bool = False) -> None:
    """Prints a result: as JSON where that is wanted, else as lines; ``--quiet`` keeps those that are ``asked_for``."""
    if wants_json():
        say(json.dumps(facts, ensure_ascii=False, default=str))
    elif asked_for or is_loud(Loudness.NORMAL):
        for line in lines:
            say(line)


def report_rows(title: str, out: Any, rows: Mapping[str, int]) -> None:
    """Prints what was made, and how many rows or tokens it has."""
    lines = columns([[name, f"{count:,}"] for name, count in rows.items()], "<>")
    report({"out": str(out), **rows}, [title, *(f"  {line}" for line in lines)])


def note_partial(catalog: Path) -> None:
    """Says so where a catalog's n-grams are not of all of its store."""
    from taskcatalog.catalog.folder import CatalogFolder
    from taskcatalog.catalog.partial import partial_ngrams
    from taskcatalog.runs.progress import note

    if partial := partial_ngrams(CatalogFolder(catalog)):
        note(f"{catalog}: {partial}")


def _tell_costs(seconds: float) -> None:
    ours, workers = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = ours.ru_utime + ours.ru_stime + workers.ru_utime + workers.ru_stime
    warn(
        f"taskcatalog: took {seconds:.1f} s; this process and its workers, since they began: {cpu:.1f} s of processor "
        f"time; the main process, at most: {peak_memory() / 1e6:,.0f} MB of memory"
    )
