"""Settings check themselves: each field's type says what it may hold, and a range beside it how much.

::

    @dataclass(frozen=True, kw_only=True)
    class ScanSettings(Settings):
        prompt_length: Annotated[int, Between(1, 16)] = 4

A value of another type or outside the range is a SettingsError that names the field. Numbers of NumPy become plain
ones, so that a ledger can hold them; NaN and infinity are no numbers here, and True is not 1.
"""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from taskcatalog.errors import SettingsError

LARGEST_COUNT = 2**63 - 1
_SHOWN = 60


@dataclass(frozen=True)
class Between:
    """The smallest and the largest number allowed; ``below`` excludes the largest."""

    least: float
    most: float
    below: bool = False

    def __contains__(self, number: float) -> bool:
        return self.least <= number < self.most if self.below else self.least <= number <= self.most

    def __str__(self) -> str:
        if self.most == LARGEST_COUNT:
            return f"{self.least:,} or more (and at most 2^63 - 1)"
        return f"from {self.least:,} to {'below ' if self.below else ''}{self.most:,}"


COUNT = Between(0, LARGEST_COUNT)
POSITIVE = Between(1, LARGEST_COUNT)
SHARE = Between(0, 1, below=True)


class Settings:
    """Base of dataclasses whose fields are checked when one is made."""

    def __post_init__(self) -> None:
        hints = _hints(type(self))
        for field in fields(self):  # type: ignore[arg-type]
            value = checked(field.name, getattr(self, field.name), hints[field.name])
            object.__setattr__(self, field.name, value)


S = TypeVar("S", bound=Settings)


def given_or_default(settings: S | None, kind: type[S]) -> S:
    """The settings, or those by default for None. Raises SettingsError for what is no such settings."""
    if settings is None:
        return kind()
    if not isinstance(settings, kind):
        raise SettingsError(f"settings are {shown(settings)}: give {kind.__name__}(…), or leave them out")
    return settings


def checked(name: str, value: Any, kind: Any) -> Any:
    """``value`` as the type ``kind`` has it. Raises SettingsError where it is of another, or out of range."""
    allowed: list[Between] = []
    if get_origin(kind) is Annotated:
        kind, *allowed = get_args(kind)
    result = _as(value, kind)
    numbers = result if isinstance(result, tuple) else () if result is None else (result,)
    if result is _WRONG or any(number not in rule for rule in allowed for number in numbers):
        rules = " ".join(str(rule) for rule in allowed)
        words = name.replace("_", " ")
        raise SettingsError(f"{words} is {shown(value)}: it must be {_described(kind)} {rules}".rstrip(), setting=name)
    return result


def _hints(settings: type) -> dict[str, Any]:
    return get_type_hints(settings, include_extras=True)


_WRONG = object()


def _as(value: Any, kind: Any) -> Any:
    """The value, made plain; ``_WRONG`` where it is not of this type."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return next((result for one in get_args(kind) if (result := _as(value, one)) is not _WRONG), _WRONG)
    if origin is Literal:
        return value if isinstance(value, str) and value in get_args(kind) else _WRONG
    if origin is tuple:
        return _all(value, get_args(kind)[0])
    if kind is NoneType:
        return None if value is None else _WRONG
    if kind is str:
        return value if isinstance(value, str) and is_text(value) else _WRONG
    if type(value).__name__ in ("bool", "bool_"):
        return bool(value) if kind is bool else _WRONG
    if kind is int:
        return int(value) if isinstance(value, Integral) else _WRONG
    if kind is float:
        return _finite(value)
    return _WRONG


def _all(values: Any, kind: Any) -> Any:
    if not isinstance(values, tuple | list | set | frozenset | range):
        return _WRONG
    results = tuple(_as(value, kind) for value in values)
    return _WRONG if _WRONG in results or not results else results


def _finite(value: Any) -> Any:
    try:
        number = float(value) if isinstance(value, Real) else math.nan
    except OverflowError:
        return _WRONG
    return number if math.isfinite(number) else _WRONG


def is_text(value: str) -> bool:
    """Half of a surrogate pair is no character, and NUL ends a text for the libraries below."""
    return (value.isascii() and "\0" not in value) or not any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value)


def _described(kind: Any) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(_described(one) for one in get_args(kind) if one is not NoneType)
    if get_origin(kind) is Literal:
        *others, last = get_args(kind)
        return f"{', '.join(others)} or {last}" if others else str(last)
    if get_origin(kind) is tuple:
        return f"one or more, each {_described(get_args(kind)[0])}"
    return {int: "a whole number", float: "a number", bool: "True or False", str: "text"}[kind]


def shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = repr(value)
    except Exception:  # of an int with more digits than Python writes, or of an object of somebody's own
        text = f"a {type(value).__name__} that is too large to show"
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
