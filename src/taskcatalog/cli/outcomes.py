"""How a command ends: with one line on the standard error stream where something went wrong, and an exit code.

0: done. 1: the run failed (full disk, damage found, no memory). 2: the command or its input was wrong. 130: stopped by
the user. 141: whoever read the output has gone. A defect of ours has a traceback, and says that it is one.
"""

import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from taskcatalog.errors import SettingsError, TaskcatalogError, how_to_install
from taskcatalog.terminal import SCREEN, Loudness, is_loud, one_line, open_streams, set_loudness, warn

_NEEDED_BY_MODELS = ("torch", "transformers", "safetensors")
_OUT_OF_MEMORY = ("OutOfMemoryException", "OutOfMemoryError")
"""DuckDB's and torch's, which are no MemoryError."""
_STOPPED = 130
GIVEN = "taskcatalog.config"
"""In a context's meta: what the configuration file gives, and the command's own context."""


class Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order of the work, not of the alphabet."""
        return list(self.commands)

    def main(self, args: Sequence[str] | None = None, **options: Any) -> NoReturn:  # type: ignore[override]
        """Runs a command; whatever goes wrong is one line on the standard error stream, and an exit code."""
        options["standalone_mode"] = False
        open_streams()
        try:
            code = super().main(args, **options)
            SCREEN.flush()
        except Exception as error:
            code = _tell(error)
        finally:
            set_loudness(Loudness.NORMAL)  # for whoever calls this as a function
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            raise _placed(error, ctx) from error
        except KeyboardInterrupt:
            warn("\ntaskcatalog: stopped; the same command goes on from here", "\n")
            sys.exit(_STOPPED)


def _tell(error: Exception) -> int:
    """Says what went wrong; returns the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return error.exit_code
    message, code = _line_and_code(error)
    if message is not None and is_loud(Loudness.VERBOSE) and not isinstance(error, click.ClickException):
        warn("".join(traceback.format_exception(error)), "\n")
    if message is None:
        warn("".join(traceback.format_exception(error)), "\n")
        message = "this is a defect of taskcatalog, not of what you gave it: please report it with the lines above"
    warn(f"taskcatalog: {one_line(message)}")
    return code


def _line_and_code(error: Exception) -> tuple[str | None, int]:
    if isinstance(error, TaskcatalogError):
        return str(error), error.exit_code
    if isinstance(error, click.Abort):
        return "stopped", _STOPPED
    if isinstance(error, click.UsageError):
        command = error.ctx.command_path if error.ctx else "taskcatalog"
        return f"{error.format_message()} ('{command} --help' tells more)", error.exit_code
    if isinstance(error, click.ClickException):
        return error.format_message(), error.exit_code
    if isinstance(error, ModuleNotFoundError) and error.name in _NEEDED_BY_MODELS:
        return f"this command runs a model and needs {error.name}: {how_to_install('lm')}", 2
    if isinstance(error, MemoryError) or type(error).__name__ in _OUT_OF_MEMORY:
        return "there is not enough memory: give a smaller --memory or fewer --workers, where the command has them", 1
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}", 1
    return None, 1


def _placed(error: SettingsError, ctx: click.Context) -> SettingsError:
    """The error with file and line, where its value stands in the configuration file."""
    given, context = ctx.meta.get(GIVEN, ({}, None))
    name = error.setting
    if context is None or name not in given or context.get_parameter_source(name) != ParameterSource.DEFAULT_MAP:
        return error
    return SettingsError(f"{given[name].place}: {error}", setting=name)
