"""Several stages from one file."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click

from taskcatalog.cli.asking import duckdb
from taskcatalog.cli.making import convert, ngrams, predict, scan, tokenize
from taskcatalog.cli.options import PATH, with_options
from taskcatalog.cli.outcomes import GIVEN
from taskcatalog.cli.output import OPTIONS, Command
from taskcatalog.errors import SettingsError
from taskcatalog.terminal import say

if TYPE_CHECKING:
    from taskcatalog.cli.config import Given, Section

STAGES = {command.name: command for command in (tokenize, convert, ngrams, predict, scan, duckdb) if command.name}


@click.command(cls=Command)
@click.option("--config", "path", type=PATH, required=True, metavar="FILE", help="YAML file with a section a stage.")
@click.option(
    "--only", multiple=True, type=click.Choice(list(STAGES)), help="Run only these stages. May be given several times."
)
@click.option("--dry-run", is_flag=True, help="Print the commands that it stands for, and run none.")
@with_options(OPTIONS)
@click.pass_context
def pipeline(ctx: click.Context, path: Path, only: tuple[str, ...], dry_run: bool) -> None:
    """Run several stages, in the order of a YAML file.

    Each section is named for a command and holds its options, by the names that they have on the command line. A list
    of such sections runs the command several times. All are checked before the first one runs. The same command again
    goes on where it stopped: a stage that is complete says so.

    \b
    tokenize: {source: corpus/, out: store, tokenizer: EleutherAI/pythia-70m-deduped}
    ngrams: {store: store, out: catalog, n: [2, 3]}
    predict: {catalog: catalog, model: EleutherAI/pythia-70m-deduped}
    """
    from taskcatalog.cli.config import read_sections

    sections = [section for section in read_sections(path, STAGES) if not only or section.command in only]
    if not sections:
        raise SettingsError(f"{path}: has no stage to run{' of those given with --only' if only else ''}")
    prepared = [_prepared(section, ctx) for section in sections]
    for command, context, given in prepared:
        if dry_run:
            say(_as_typed(command, given))
        else:
            ctx.meta[GIVEN] = given, context
            with context:
                command.invoke(context)


def _prepared(section: "Section", parent: click.Context) -> "tuple[click.Command, click.Context, dict[str, Given]]":
    """A stage's command with its options, checked."""
    from taskcatalog.cli.config import as_defaults

    command = STAGES[section.command]
    given = section.options(click.Context(command, info_name=section.command, parent=parent))
    try:
        context = command.make_context(section.command, [], parent=parent, default_map=as_defaults(given))
    except click.UsageError as error:
        raise SettingsError(f"{section.place}: {section.command}: {error.format_message()}") from error
    return command, context, given


def _as_typed(command: click.Command, given: "dict[str, Given]") -> str:
    """The command as one types it."""
    from taskcatalog.cli.config import option_name

    arguments, options = [], []
    for parameter in command.params:
        if parameter.name not in given:
            continue
        value = given[parameter.name].value
        values = value if isinstance(value, list) else [value]
        if not isinstance(parameter, click.Option):
            arguments += values
        elif parameter.is_flag:
            options += [f"--{option_name(parameter)}"] if values != ["no"] else []
        else:
            dash = "-" if len(option_name(parameter)) == 1 else "--"
            options += [word for one in values for word in (f"{dash}{option_name(parameter)}", one)]
    return shlex.join(["taskcatalog", str(command.name), *arguments, *options])


COMMANDS = (pipeline,)
