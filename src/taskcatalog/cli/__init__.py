"""The command line."""

from taskcatalog.cli.commands import main as main

__all__ = ["main"]
