"""Write ``docs/api.md``: what ``import taskcatalog as tc`` offers, from the docstrings.

    python scripts/make_api_docs.py

A test checks that the file is what this script makes, and that the examples print what they say.
"""

import inspect
import re
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_overloads

import taskcatalog as tc

PAGE = Path(__file__).parents[1] / "docs/api.md"
INTRODUCTION = """# Python

Made by `scripts/make_api_docs.py` from the docstrings. Everything here is in `import taskcatalog as tc`. A name is
imported when it is first used, and only `predict` and `scan` need torch. What is wrong raises a `TaskcatalogError`
whose text is one line. The examples are about the catalog of a small text, with the folders `store` and `catalog`.
"""


def api_docs() -> str:
    """The page's text."""
    names = [name for name in tc.__all__ if name != "__version__"]
    return "\n".join([INTRODUCTION, *("\n".join(_section(name, getattr(tc, name))) for name in names)])


def _section(name: str, what: Any) -> list[str]:
    if not inspect.isclass(what) and not inspect.isfunction(what):
        return [f"## {name}\n", f"A {type(what).__name__}.\n"]
    lines = [f"## {name}\n", *_signature(name, what), _text(inspect.getdoc(what))]
    if not inspect.isclass(what):
        return lines
    members = vars(what)
    for field, about in _fields(what):
        lines.append(f"- `{field}`: {_text(about).strip()}".rstrip(": "))
    for member, value in members.items():
        function = value.fget if isinstance(value, property) else getattr(value, "func", value)
        if (member.startswith("_") and member not in ("__contains__", "__getitem__")) or not callable(function):
            continue
        if not inspect.getdoc(function) or inspect.isclass(function) or isinstance(value, classmethod):
            continue
        lines += [f"\n### {name}.{member}\n"]
        lines += _signature(member, function) if function is value else []
        lines += [_text(inspect.getdoc(function))]
    return lines


def _signature(name: str, what: Any) -> list[str]:
    if is_dataclass(what) or not (inspect.isfunction(what) or name == "Catalog"):
        return []
    shown = [_plain(str(inspect.signature(each))) for each in get_overloads(what) or [what]]
    return ["```python", *(f"{name}{each}" for each in shown), "```\n"]


def _plain(signature: str) -> str:
    """A signature without the modules of its types."""
    text = re.sub(r"\b(?:\w+\.)+(?=[A-Z]\w*)", "", signature).replace("'", "").replace("NoneType", "None")
    return text.replace("self, ", "").replace("(self)", "()")


def _text(docstring: str | None) -> str:
    """A docstring as Markdown, its examples as code."""
    text = (docstring or "").replace("``", "`")
    return re.sub(r"(?m)((?:^>>>.*\n?)(?:^(?!\s*$|>>>).*\n?)*)+", lambda found: _code(found[0]), text) + "\n"


def _code(example: str) -> str:
    return f"```python\n{example.rstrip()}\n```\n"


def _fields(what: type) -> list[tuple[str, str]]:
    """The fields of a dataclass, each with the docstring below it."""
    if not is_dataclass(what):
        return []
    source = "\n".join(inspect.getsource(each) for each in what.__mro__ if is_dataclass(each))
    about = dict(re.findall(r'(?m)^    (\w+): [^\n]*\n    """(.*?)"""', source, re.S))
    return [(field.name, " ".join(about.get(field.name, "").split())) for field in fields(what)]


if __name__ == "__main__":
    PAGE.write_text(api_docs())
