"""The options of a command from a YAML file.

A file is a list of ``option: value`` lines, each option by the name that it has on the command line. A value is one
text or, where an option may be given several times, a list of them. What stands there is taken as if it had been typed
on the command line (``yes`` is the text yes, ``2`` the text 2), so it is checked by the same rules.

Left out on purpose: values within values, tags, merge keys. An alias stands for the one text or list that it names,
so none can grow.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click
import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.settings import is_text

_MOST_BYTES = 1 << 18
_TAG = "tag:yaml.org,2002:"
_TYPES = {_TAG + name for name in ("str", "int", "float", "bool", "timestamp")}
_YES_OR_NO = {"no", "yes"}


@dataclass(frozen=True)
class Given:
    """What a file says of an option."""

    value: str | list[str]
    place: str
    """File and line."""


def read_config(path: Path, context: click.Context) -> dict[str, Given]:
    """What the file gives for each parameter of a command. Raises SettingsError for what is none of the command's."""
    return _options(_pairs(_root(path)), path, context)


@dataclass(frozen=True)
class Section:
    """The options of one stage, in a file of several."""

    command: str
    place: str
    """File and line."""
    node: MappingNode
    path: Path

    def options(self, context: click.Context) -> dict[str, Given]:
        """As ``read_config``."""
        return _options(_pairs(self.node), self.path, context)


def read_sections(path: Path, commands: Collection[str]) -> list[Section]:
    """The sections of a file, in its order: each is named for a command, and holds its options, or a list of those.

    Raises SettingsError where one is named for no command, or holds no options.
    """
    sections = []
    for key, node in _pairs(_root(path)):
        place = f"{path}: line {key.start_mark.line + 1}"
        command = _text(key, place)
        if command not in commands:
            raise SettingsError(f"{place}: there is no stage {command!r}{_advice(command, list(commands), 'there is')}")
        for inner in node.value if isinstance(node, SequenceNode) else [node]:
            if not isinstance(inner, MappingNode):
                raise SettingsError(f"{place}: {command} needs its options below it, as 'out: catalog', each on a line")
            sections.append(Section(command, f"{path}: line {inner.start_mark.line + 1}", inner, path))
    return sections


def _options(pairs: Iterable[tuple[Node, Node]], path: Path, context: click.Context) -> dict[str, Given]:
    known = {option_name(parameter): parameter for parameter in context.command.params}
    known.pop("config", None)
    given: dict[str, Given] = {}
    for key, node in pairs:
        place = f"{path}: line {key.start_mark.line + 1}"
        name = _text(key, place).replace("_", "-")
        if (parameter := known.get(name)) is None:
            raise SettingsError(f"{place}: {context.info_name} has no option {name!r}{_advice(name, list(known))}")
        assert parameter.name is not None
        if parameter.name in given:
            raise SettingsError(f"{place}: {name} is given a second time: leave one of them out")
        value = _value(node, parameter, f"{place}: {name}")
        try:
            parameter.type_cast_value(context, value)
        except click.UsageError as error:
            raise SettingsError(f"{place}: {name}: {error.message}") from error
        given[parameter.name] = Given(value, place)
    return given


def option_name(parameter: click.Parameter) -> str:
    """``min-share`` for ``--min-share``, ``n`` for ``-n``, ``store`` for the argument STORE."""
    if isinstance(parameter, click.Option):
        return max(parameter.opts, key=len).lstrip("-")
    return str(parameter.name)


def _pairs(root: MappingNode | None) -> Sequence[tuple[Node, Node]]:
    return root.value if root is not None else []


def _root(path: Path) -> MappingNode | None:
    """What the file holds; None of an empty one."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > _MOST_BYTES:
        raise InputError(f"{path}: has more than {_MOST_BYTES >> 10} kB: that is no list of options")
    try:
        root = yaml.compose(content.decode("utf-8-sig"), yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start}): it must be a text in YAML") from error
    except RecursionError as error:
        raise InputError(f"{path}: holds values within values: an option has one value, or a list of them") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f" line {mark.line + 1}:" if mark else ""
        raise InputError(f"{path}:{line} is not YAML ({error.problem or error.context})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise InputError(f"{path}: is not YAML ({error})") from error
    if root is None or root.tag == _TAG + "null":
        return None
    if not isinstance(root, MappingNode):
        raise InputError(f"{path}: is not a list of 'option: value' lines")
    return root


def _value(node: Node, parameter: click.Parameter, place: str) -> str | list[str]:
    several = parameter.multiple if isinstance(parameter, click.Option) else parameter.nargs != 1
    if not isinstance(node, SequenceNode):
        text = _text(node, place)
        if node.tag == _TAG + "bool" and isinstance(parameter.type, click.Choice):
            choices = set(map(str, parameter.type.choices))
            if choices == _YES_OR_NO:
                text = "yes" if text.lower() in ("yes", "true", "on") else "no"
        return [text] if several else text
    _check_tag(node, {_TAG + "seq"}, place)
    values = [_text(inner, place) for inner in node.value]
    if not several and len(values) == 1:
        return values[0]
    if not several:
        raise SettingsError(f"{place}: takes one value, and {len(values)} are given")
    if not values:
        raise SettingsError(f"{place}: has an empty list: give a value, or leave the line out")
    return values


def _text(node: Node, place: str) -> str:
    if not isinstance(node, ScalarNode):
        raise SettingsError(f"{place}: holds values within values: an option has one value, or a list of them")
    if node.tag == _TAG + "null":
        raise SettingsError(f"{place}: has no value: give one, or leave the line out")
    _check_tag(node, _TYPES, place)
    text = str(node.value)
    if not is_text(text):
        raise SettingsError(f"{place}: holds a character that no name or text can have ({text!a})")
    return text


def _check_tag(node: Node, known: set[str], place: str) -> None:
    if node.tag not in known:
        raise SettingsError(f"{place}: has the tag {node.tag}: an option is a plain text or number")


def _advice(name: str, known: list[str], has: str = "it has") -> str:
    close = get_close_matches(name, known, 1)
    return f": is {close[0]} meant?" if close else f"; {has} {', '.join(sorted(known))}"


def as_defaults(given: dict[str, Given]) -> dict[str, Any]:
    """For click, whose command line wins over defaults."""
    return {name: one.value for name, one in given.items()}
