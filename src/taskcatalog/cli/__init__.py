"""The command line."""

from taskcatalog.cli.main import main as main

__all__ = ["main"]
