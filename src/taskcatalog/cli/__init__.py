"""The command line."""

from taskcatalog.cli import find as find  # a command in a file of its own
from taskcatalog.cli.commands import main as main

__all__ = ["main"]
