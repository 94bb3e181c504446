"""The command that puts named questions to a catalog, and lists them."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import taskcatalog as tc
from taskcatalog.cli.options import CATALOG, MEMORY, REPLACE, TEXT, command
from taskcatalog.cli.output import report, wants_json

if TYPE_CHECKING:
    from taskcatalog.questions import Question


@command
@click.argument("catalog", type=CATALOG)
@click.argument("name", type=TEXT, required=False)
@click.option(
    "--param", "parameters", type=TEXT, multiple=True, metavar="NAME=VALUE",
    help="A parameter of the question, as limit=50. May be given several times.",
)  # fmt: skip
@click.option(
    "--format", "kind", type=click.Choice(["table", "csv", "json", "parquet"]),
    help="Default: as the name of --out ends; on the screen, a table.",
)  # fmt: skip
@click.option("--out", type=CATALOG, metavar="FILE", help="Write to this file instead of the screen.")
@click.option("--visible", is_flag=True, help="Draw whitespace in texts: a space as ·, a newline as ⏎, a tab as ⇥.")
@click.option("--show-sql", is_flag=True, help="Print the question as SQL, and do not ask it.")
@MEMORY
@REPLACE
def ask(
    catalog: Path, name: str | None, parameters: tuple[str, ...], kind: Any, out: Path | None, visible: bool,
    show_sql: bool, memory: str | None, force: bool,
) -> None:  # fmt: skip
    """Ask a catalog one of the named questions, or list them.

    Without NAME it lists the questions and their parameters. Each is SQL that 'taskcatalog sql' would take, too:
    --show-sql prints it, to start a query of your own from.

    \b
    taskcatalog ask catalog memorized --param n=3 --param limit=10
    """
    from textwrap import dedent

    from taskcatalog.catalog.results import format_of, write_result
    from taskcatalog.questions.ask import query_of, read_parameters
    from taskcatalog.runs.outputs import check_result_file
    from taskcatalog.terminal import say

    with tc.Catalog(catalog, memory=memory) as opened:
        if name is None:
            report([_facts(one) for one in tc.QUESTIONS.values()], _told(tc.QUESTIONS.values()), asked_for=True)
            return
        kind = kind or ("json" if wants_json() else format_of(out))
        if out is not None:
            check_result_file(out, force=force)
        query = query_of(opened, name, read_parameters(name, parameters))
        if show_sql:
            say(dedent(query).strip())
        else:
            write_result(opened.sql(query), kind, out, visible=visible, force=force)


def _facts(question: "Question") -> dict[str, Any]:
    facts = asdict(question) | {"tables": list(question.tables)}
    for parameter in facts["parameters"].values():
        parameter["kind"] = parameter["kind"].__name__
    return facts


def _told(questions: "Iterable[Question]") -> Iterator[str]:
    """The questions for people: each with what it answers, and its parameters."""
    from textwrap import wrap

    for question in questions:
        yield f"{question.name}: {question.title}"
        yield from wrap(question.answers, 100, initial_indent="    ", subsequent_indent="    ")
        for name, one in question.parameters.items():
            default = "" if one.default in (None, "") else f" [{str(one.default).lower()}]"
            yield f"      {name}: {one.meaning}{default}"
