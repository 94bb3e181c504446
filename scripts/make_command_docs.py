"""Write ``docs/commands.md``: every command with its help, as the command line prints it.

    python scripts/make_command_docs.py

A test checks that the file is what this script makes.
"""

from pathlib import Path
from typing import Any

import click

from taskcatalog.cli import main

PAGE = Path(__file__).parents[1] / "docs/commands.md"
WIDTH = 110


def command_docs() -> str:
    """The page's text."""
    parts = [
        "# Commands\n",
        "Made by `scripts/make_command_docs.py` from the commands' own help. Options may also stand in a YAML file "
        "(`--config FILE`); the command line wins.\n",
        "Such a file has a line `option: value` for each option, by its name here (`min-share: 0.6`, `n: [2, 3]`). "
        "What stands there is taken as if it had been typed.\n",
        "Exit codes: 0, done; 1, the run failed (a full disk, damage that `verify` found, too little memory); 2, the "
        "command or its input was wrong; 130, stopped; 141, whoever read the output has gone. Whatever went wrong is "
        "one line on the standard error stream. On a terminal, what a terminal would obey in names and texts is shown "
        "as an escape (`\\x1b`); a pipe and `--out` get it as it is.\n",
    ]
    settings: dict[str, Any] = {
        "terminal_width": WIDTH,
        "help_option_names": main.context_settings["help_option_names"],
    }
    parent = click.Context(main, info_name="taskcatalog", **settings)
    for name, command in sorted(main.commands.items()):
        context = click.Context(command, info_name=name, parent=parent, **settings)
        parts.append(f"## {name}\n\n```text\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(command_docs())
