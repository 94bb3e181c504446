"""The command that leads from a prompt to its places, and these as lines for people."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import taskcatalog as tc
from taskcatalog.cli.arguments import Lengths
from taskcatalog.cli.options import (
    CATALOG,
    MEMORY,
    PATH,
    REPLACE,
    STORE_OPTIONS,
    TEXT,
    WORKERS,
    command,
    store_options,
    with_options,
)
from taskcatalog.cli.output import report, wants_json
from taskcatalog.display import columns, visible


@command
@click.argument("where", type=TEXT)
@click.option("--task", metavar="ID", help="The long prompt of this task of a scan, by its task_id.")
@click.option("--text", type=TEXT, help="A prompt as text.")
@click.option("--ids", type=Lengths(), metavar="ID,ID…", help="A prompt as ids, as 5,17,9.")
@click.option(
    "--prompts", type=PATH, metavar="FILE",
    help="Count those of a list instead: Parquet, JSONL or CSV with a column 'ids' or 'text'.",
)  # fmt: skip
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="How many places to show.")
@click.option("--context", type=click.IntRange(0), default=20, show_default=True, help="Tokens to show on both sides.")
@click.option("--store", type=TEXT, metavar="PATH", help="Of a catalog: where its store is now. Default: where it was.")
@click.option(
    "--format", "kind", type=click.Choice(["table", "csv", "json", "parquet"]),
    help="Default: as the name of --out ends; on the screen, a table.",
)  # fmt: skip
@click.option("--out", type=CATALOG, metavar="FILE", help="Write to this file instead of the screen.")
@MEMORY
@WORKERS
@with_options(STORE_OPTIONS)
@REPLACE
def find(
    where: str, task: str | None, text: str | None, ids: tuple[int, ...] | None, prompts: Path | None, limit: int,
    context: int, kind: Any, out: Path | None, force: bool, **options: Any,
) -> None:  # fmt: skip
    """Show where a prompt occurs.

    That is: how often, in how many documents, and the first places with what is around them.

    WHERE is a catalog or a store. The whole store is read once, and no index is needed. Of a list (--prompts), the
    answer is a row a prompt: count, documents, first (the first token of its first occurrence).

    \b
    taskcatalog find catalog --text " once upon a time"
    taskcatalog find catalog --prompts prompts.parquet --out counts.parquet
    """
    from duckdb import from_arrow

    from taskcatalog.catalog.results import format_of, write_result
    from taskcatalog.runs.outputs import check_result_file

    given = {"--task": task, "--text": text, "--ids": ids, "--prompts": prompts}
    if sum(value is not None for value in given.values()) != 1:
        raise tc.SettingsError(f"find takes one of {', '.join(given)}: give exactly one of them")
    kind = kind or ("json" if wants_json() else format_of(out))
    if out is not None:
        check_result_file(out, force=force)
    options["options"] = store_options(options)
    if prompts is not None:
        write_result(from_arrow(tc.count_prompt_file(where, prompts, **options)), kind, out, force=force)
        return
    prompt = text if text is not None else ids
    found = tc.find(where, prompt, task=task, limit=limit, context=context, **options)
    if out is not None or (kind != "table" and not wants_json()):
        write_result(from_arrow(found.table), kind, out, force=force)
        return
    facts = {"ids": found.ids, "count": found.count, "documents": found.documents, "places": found.table.to_pylist()}
    report(facts, _lines_of_places(found), asked_for=True)


def _lines_of_places(found: "tc.Found") -> Iterator[str]:
    """How often it occurs, and a line for each place: ``before[prompt]after``, with its whitespace drawn."""
    places = found.table.to_pylist()
    prompt = ",".join(map(str, found.ids))
    documents = "" if found.documents is None else f" in {found.documents:,} documents"
    shown = f"; the first {len(places):,}:" if len(places) < found.count else ":" if places else ""
    yield f"{prompt}: {found.count:,} occurrences{documents}{shown}"
    rows = [["token", "document", "source", "line", "meta", "text"]]
    for row in places:
        if row["text"] is None:
            around = f"{_numbers(row['before_ids'])} [{prompt}] {_numbers(row['after_ids'])}"
        else:
            around = f"{visible(row['before'])}[{visible(row['text'])}]{visible(row['after'])}"
        known = [visible(str(row[name])) if row[name] is not None else "" for name in ("source", "place", "meta")]
        rows.append([str(row["token"]), "" if row["document"] is None else str(row["document"]), *known, around])
    if places:
        yield from columns(rows, ">><><<")


def _numbers(ids: list[int]) -> str:
    return ",".join(map(str, ids))
