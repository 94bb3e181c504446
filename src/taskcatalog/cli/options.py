"""Options that several commands share, and how a command is declared."""

import functools
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from taskcatalog.cli import output
from taskcatalog.cli.arguments import Catalog, Lengths, Text
from taskcatalog.cli.outcomes import GIVEN

if TYPE_CHECKING:
    from taskcatalog.stores.open_store import StoreOptions

PATH, CATALOG, TEXT = click.Path(path_type=Path), Catalog(), Text()


def _read_config(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    """Makes the options in a YAML file this command's defaults."""
    if path is not None:
        from taskcatalog.cli.config import as_defaults, read_config

        given = read_config(path, ctx)
        ctx.default_map = as_defaults(given)
        ctx.meta[GIVEN] = given, ctx


CONFIG = click.option(
    "--config", type=PATH, is_eager=True, expose_value=False, callback=_read_config,
    help="YAML file with options of this command ('out: catalog'). The command line wins.",
)  # fmt: skip
FORCE = click.option("--force", is_flag=True, help="Replace the output of a different run.")
REPLACE = click.option("--force", is_flag=True, help="Replace a file that is there.")
LENGTHS = click.option(
    "-n", type=Lengths(), multiple=True, default=(2, 3), metavar="N[,N…]",
    callback=lambda _context, _option, given: tuple(chain.from_iterable(given)),
    help="Lengths to count, each from 1 to 5. [2,3]",
)  # fmt: skip
MEMORY = click.option("--memory", metavar="SIZE", help="Memory to work within, as 8GB. Default: 8GB or half of all.")
WORKERS = click.option("--workers", type=int, metavar="N", help="How many to run side by side. Default: all cores.")
STAGING = click.option(
    "--staging", type=PATH, metavar="DIR",
    help="For a URL: folder for what is not uploaded yet. Default: one in the user's cache.",
)  # fmt: skip
MODEL_OPTIONS = [
    click.option("--revision", help="The model's branch, tag or commit on the hub, as step1000."),
    click.option("--label", help="Short name of the model in tables. Default: made from its name."),
    click.option("--device", default="auto", show_default=True,
                 help="cpu, cuda, cuda:1 …, or several: cuda:0,cuda:1. auto is all GPUs, or cpu."),
    click.option(
        "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto", show_default=True,
        help="Type of the model's numbers; auto is float32. After a 16-bit scan, float32 settles what is in doubt.",
    ),
]  # fmt: skip
CHOSEN = [
    click.option(
        "--start", type=int, default=0, show_default=True, metavar="N",
        help="Begin with the sequence that this token of the store is in.",
    ),
    click.option("--max-tokens", type=int, metavar="N", help="Take sequences with so many tokens. Default: all."),
]  # fmt: skip
BOS_CHOICES: dict[str, bool | Literal["auto"]] = {"no": False, "yes": True, "auto": "auto"}
BOS = click.option(
    "--bos", type=click.Choice([*BOS_CHOICES]), default="no", show_default=True,
    help="Put the model's beginning-of-sequence token in front of every prompt; auto: where its tokenizer does.",
)  # fmt: skip
STORE_OPTIONS = [
    click.option("--tokenizer", metavar="NAME_OR_PATH", help="For all but a token store: other kinds have none."),
    click.option(
        "--sequence-length", type=int, metavar="N",
        help="Tokens a model sees together, where ids are one stream (.bin, Megatron, .ds). [2048]",
    ),
    click.option(
        "--id-dtype", type=click.Choice(["uint16", "int32", "uint32", "int64", "uint64"]),
        help="Type of the ids where nothing tells: in a flat .bin, in MDS columns of bytes. [uint16]",
    ),
    click.option("--column", help="Of an MDS folder: the column of ids, where there are several."),
]  # fmt: skip


def command(function: Callable[..., Any]) -> click.Command:
    """A command, with the options that all of them have."""
    return click.command(cls=output.Command)(with_options([CONFIG, *output.OPTIONS])(function))


def with_options(options: list[Callable[..., Any]]) -> Callable[..., Any]:
    return lambda command: functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def store_options(options: dict[str, Any]) -> "StoreOptions":
    """Takes the store's options out of a command's."""
    from taskcatalog.stores.open_store import StoreOptions

    names = ("tokenizer", "sequence_length", "id_dtype", "column")
    return StoreOptions(**{name: options.pop(name) for name in names})
