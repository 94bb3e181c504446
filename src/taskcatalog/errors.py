"""What can go wrong for a user. Each message names the value, the rule and the fix.

The command line prints any of these as one line and exits with the error's code: 2 where the command or its input is
wrong, 1 where the run failed. Anything else is a defect and keeps its traceback.
"""

from typing import ClassVar


class TaskcatalogError(Exception):
    """Base of all errors that a user can mend; by itself, a run that failed."""

    exit_code: ClassVar[int] = 1


class InputError(TaskcatalogError):
    """A file, folder or model that was given is missing, damaged or of the wrong kind."""

    exit_code = 2


class SettingsError(TaskcatalogError):
    """An option has a value that its rule forbids."""

    exit_code = 2

    def __init__(self, message: str, *, setting: str | None = None) -> None:
        """``setting`` is the name of the field whose value it is, where that is known."""
        super().__init__(message)
        self.setting = setting


class ConflictError(TaskcatalogError):
    """The output belongs to a different run, to another program, or to a run that is still going."""

    exit_code = 2


class DiskFullError(TaskcatalogError):
    """There is no room for the output, or for what is kept beside it for a while."""


def how_to_install(extra: str) -> str:
    """The command that installs what a part of the package needs besides."""
    return f"pip install 'taskcatalog[{extra}]', or from a clone: pip install '.[{extra}]'"
