"""What may be typed as an argument or an option: types for click."""

from pathlib import Path
from typing import Any

import click

from taskcatalog.settings import is_text


class Lengths(click.ParamType):  # type: ignore[type-arg]
    """Lengths of n-grams: one, or several with commas between them."""

    name = "lengths"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, ...]:
        try:
            return value if isinstance(value, tuple) else tuple(int(n) for n in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a number, or several with commas between them, as 2,3", param, ctx)


class Text(click.ParamType):  # type: ignore[type-arg]
    """A text, or a name, in UTF-8: what is none reaches a program as halves of characters."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_text(str(value)):
            self.fail(f"{value!a} is not UTF-8: only sources may have such names", param, ctx)
        return str(value)


class Catalog(click.ParamType):  # type: ignore[type-arg]
    """The folder of a catalog, or a file that is made from one: the libraries that read them want names in UTF-8."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if "://" in str(value):
            self.fail(f"{value!a} is a URL: give a folder or a file on this machine", param, ctx)
        if not is_text(str(Path(value).absolute())):
            self.fail(f"{str(Path(value).absolute())!a} is not UTF-8: choose another folder", param, ctx)
        from taskcatalog.storage import locate  # which takes a while to import

        return Path(str(locate(str(value))))
