"""What can go wrong for a user. Each message names the value, the rule and the fix.

The command line prints any of these as one line and exits with code 2; anything else is a defect and keeps
its traceback.
"""


class TaskcatalogError(Exception):
    """Base of all errors that a user can mend."""


class InputError(TaskcatalogError):
    """A file, folder or model that was given is missing, damaged or of the wrong kind."""


class SettingsError(TaskcatalogError):
    """An option has a value that its rule forbids."""


class ConflictError(TaskcatalogError):
    """The output belongs to a different run, to another program, or to a run that is still going."""


class DiskFullError(TaskcatalogError):
    """There is no room for the output, or for what is kept beside it for a while."""
