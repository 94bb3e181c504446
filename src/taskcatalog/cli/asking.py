"""Commands that answer questions: what a run will take, what stands in a catalog, whether it is whole."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

import taskcatalog as tc
from taskcatalog.cli.options import (
    CATALOG,
    LENGTHS,
    MEMORY,
    REPLACE,
    STORE_OPTIONS,
    TEXT,
    command,
    store_options,
    with_options,
)
from taskcatalog.cli.output import note_partial, report, report_rows, wants_json
from taskcatalog.display import amount, columns, duration, visible
from taskcatalog.errors import TaskcatalogError
from taskcatalog.sizes import parse_size
from taskcatalog.terminal import one_line, warn


@command
@click.argument("store")
@click.option("--tokens", type=int, metavar="N", help="Plan for so many tokens like the store's. Default: all of them.")
@LENGTHS
@click.option("--model", metavar="NAME_OR_PATH", help="Plan a scan with this model, too.")
@click.option("--cores", type=click.IntRange(1), metavar="N", help="Of the machine that the run will be on. [these]")
@click.option("--memory", metavar="SIZE", help="That the run may use, as 64GB. [8GB or half of all]")
@click.option("--disk-rate", metavar="SIZE", help="Bytes a second of its disk, as 2GB. [this one's]")
@with_options(STORE_OPTIONS)
def plan(
    store: str, tokens: int | None, model: str | None, cores: int | None, memory: str | None, disk_rate: str | None,
    n: tuple[int, ...], **options: Any,
) -> None:  # fmt: skip
    """Say how much time, memory and disk a run will take.

    A sample of the store is tokenized, counted and, with --model, scanned here, for some seconds. For another
    machine the times are scaled by --cores, and by --disk-rate if it is given. What the run would refuse for want of
    --memory is refused here. Tokenizing is planned for documents of some megabytes at most: a larger one takes its
    worker up to 6 times its size more, so up to 6 times --max-document.
    """
    machine = tc.Machine(
        cores=cores, memory=memory, disk_rate=parse_size(disk_rate, "disk_rate") if disk_rate else None
    )
    settings = tc.NgramSettings(n=n)
    planned = tc.plan(store, settings, options=store_options(options), tokens=tokens, machine=machine, model=model)
    rows = [["stage", "time", "memory", "disk while it runs", "disk in the end"]]
    for stage in planned:
        disk = [amount(stage.temporary + stage.final), amount(stage.final)]
        rows.append([stage.stage, duration(stage.seconds), amount(stage.memory), *disk])
    lines = [*columns(rows, "<>>>>"), *_basis(planned[0])]
    facts = [asdict(stage) | {"is_uncertain": stage.is_uncertain} for stage in planned]
    report(facts, lines, asked_for=True)


def _basis(stage: "tc.StagePlan") -> list[str]:
    """What the plan rests on, and what it cannot know."""
    lines = [f"for {stage.tokens:,} tokens, from a sample of {stage.sample_tokens:,}: more text is taken to be like it"]
    if stage.is_uncertain:
        lines.append(
            f"this is {stage.tokens / stage.sample_tokens:,.0f} times the sample: sizes and times are uncertain, and "
            "rather too small; the number of n-grams is taken to grow as a power of the tokens that falls as in the "
            "sample. Plan on a larger store"
        )
    return lines


@command
@click.argument("catalog", type=CATALOG)
@click.argument("query", type=TEXT, required=False)
@click.option(
    "--format", "kind", type=click.Choice(["table", "csv", "json", "parquet"]),
    help="Default: as the name of --out ends; on the screen, a table.",
)  # fmt: skip
@click.option("--out", type=CATALOG, metavar="FILE", help="Write to this file instead of the screen.")
@click.option(
    "--verify",
    is_flag=True,
    help="Compare the files that it reads with their checksums first, also if they are more than 1 GB.",
)  # fmt: skip
@click.option("--visible", is_flag=True, help="Draw whitespace in texts: a space as ·, a newline as ⏎, a tab as ⇥.")
@MEMORY
@REPLACE
def sql(
    catalog: Path, query: str | None, kind: Any, out: Path | None, verify: bool, visible: bool, memory: str | None,
    force: bool,
) -> None:  # fmt: skip
    """Answer a SELECT over a catalog's tables, or list them.

    The query reads the tables and nothing else: no other file, no setting, nothing of the machine. It is stopped where
    it needs more than --memory, after what can be was sorted on disk (in TMPDIR).

    \b
    taskcatalog sql catalog "SELECT seq, sum_count, frac_max FROM top_bigrams LIMIT 20"
    """
    from taskcatalog.catalog.results import format_of, write_result
    from taskcatalog.runs.outputs import check_result_file
    from taskcatalog.sizes import memory_budget, memory_limited

    kind = kind or ("json" if wants_json() else format_of(out))
    if out is not None:
        check_result_file(out, force=force)
    with tc.Catalog(catalog, memory=memory, verify=verify) as opened, memory_limited(memory_budget(memory)):
        relation = opened.sql(query) if query else opened.describe()
        write_result(relation, kind, out, visible=visible, force=force)
    if not query:
        note_partial(catalog)


@command
@click.argument("catalog", type=CATALOG)
@click.argument("text", type=TEXT)
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="How many completions to show.")
def complete(catalog: Path, text: str, limit: int) -> None:
    """Show what follows TEXT in the corpus.

    Each completion has its count, its share, and the probability that each model gives it.
    """
    opened = tc.Catalog(catalog)
    found = opened.complete(text, limit)
    dropped = f" (without {visible(opened.text(found.dropped_ids))})" if found.dropped_ids else ""
    title = f"{visible(opened.text(found.prefix_ids))}{dropped}: {found.sum_count:,} occurrences"
    models = [name for name in found.table.column_names if name.startswith("p_")]
    rows = [["rank", "token", "count", "share", *models]]
    completions = found.table.to_pylist()
    for row in completions:
        asked = ["" if row[name] is None else f"{row[name]:.3f}" for name in models]
        rows.append([str(row["rank"]), visible(row["token"]), f"{row['count']:,}", f"{row['share']:.3f}", *asked])
    ids = {"prefix_ids": found.prefix_ids, "dropped_ids": found.dropped_ids, "sum_count": found.sum_count}
    lines = [title, *columns(rows, "><>>" + ">" * len(models))]
    report(ids | {"completions": completions}, lines, asked_for=True)
    note_partial(catalog)


@command
@click.argument("catalog", type=CATALOG)
@click.option("--out", type=CATALOG, required=True, metavar="FILE", help="The database to make.")
@MEMORY
@REPLACE
def duckdb(catalog: Path, out: Path, memory: str | None, force: bool) -> None:
    """Write all tables into one DuckDB file.

    FILE needs nothing of the catalog any more. It may not be inside a catalog or a store.

    \b
    taskcatalog duckdb catalog --out catalog.duckdb
    """
    report_rows(f"{out}: complete", out, tc.write_duckdb(catalog, out, memory=memory, force=force))


@command
@click.argument("path", type=TEXT)
@MEMORY
@with_options(STORE_OPTIONS)
def verify(path: str, memory: str | None, **options: Any) -> None:
    """Check that a store or a catalog is whole.

    Compares every file with its checksum, and checks the rules that hold within and between tables.
    """
    problems = tc.verify(path, store_options(options), memory=memory)
    for problem in problems:
        warn(one_line(problem))
    if problems and wants_json():
        report({"path": path, "problems": problems}, [])
    if problems:
        raise TaskcatalogError(f"{path}: {len(problems)} problem{'s' if len(problems) > 1 else ''} found")
    report({"path": path, "problems": []}, [f"{path}: all is well"])


COMMANDS = (sql, complete, plan, verify, duckdb)
