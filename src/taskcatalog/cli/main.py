"""The command line: one command a stage, each a thin shell of the public function of the same name."""

import click

from taskcatalog.cli import asking, find, making, pipeline, questions
from taskcatalog.cli.outcomes import Commands
from taskcatalog.version import __version__


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__)
def main() -> None:
    """Turn a text corpus and a causal language model into a searchable catalog of the tasks the model can do.

    \b
    corpus ── tokenize ──> token store ── ngrams ──> catalog ── predict ──> + what each model says
                                       └─ scan ───> prompts whose meaning changes with one more token
    catalog ── sql, ask, complete, find ──> answers

    'taskcatalog demo' runs all of it, offline, in about two minutes. You can stop every command at any moment: the
    same command again goes on where it stopped.
    """


for one in (*making.COMMANDS, *pipeline.COMMANDS, *asking.COMMANDS[:2], questions.ask, find.find, *asking.COMMANDS[2:]):
    main.add_command(one)
