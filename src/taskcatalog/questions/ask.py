"""A question with its values filled in, put to a catalog."""

import math
from collections.abc import Iterable, Mapping

import duckdb

from taskcatalog.catalog.catalog import Catalog
from taskcatalog.catalog.database import quoted
from taskcatalog.errors import SettingsError
from taskcatalog.questions.declare import Parameter, Question, Value
from taskcatalog.questions.known import QUESTIONS
from taskcatalog.tables.names import id_columns, ngram_table, scan_table, top_table
from taskcatalog.tables.sorting import literal


def ask(catalog: Catalog, name: str, **parameters: Value) -> duckdb.DuckDBPyRelation:
    """The answer to one of ``QUESTIONS``, as lazy as ``Catalog.sql``.

    ``model`` may be left out where the catalog has one model; of a question about two models, where it has two.

    Raises SettingsError for a question or a parameter that is not known, for a value out of bounds, and where the
    catalog lacks a table or a model that the question needs.
    """
    return catalog.sql(query_of(catalog, name, parameters))


def query_of(catalog: Catalog, name: str, parameters: Mapping[str, Value]) -> str:
    """The SQL of a question. Raises SettingsError as ``ask`` does."""
    question = question_of(name)
    values = _values(question, parameters)
    places = {key: _in_sql(value) for key, value in values.items()}
    if "n" in values:
        places |= _places_of_length(int(values["n"]))
    if "prompt_length" in values:
        places["scan"] = quoted(scan_table(int(values["prompt_length"])))
    if question.models:
        label, *others = _labels(catalog, question, values)
        places |= {"model": literal(label), "p": quoted(f"p_{label}")}
        if others:
            places["other"] = literal(others[0])
    return question.sql.format_map(places)


def read_parameters(name: str, pairs: Iterable[str]) -> dict[str, Value]:
    """Parameters as they are typed, ``limit=5``, each made what its question takes. Raises SettingsError."""
    read: dict[str, Value] = {}
    question = question_of(name)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise SettingsError(f"{name}: {pair!r} is no parameter with its value: write it as limit=5")
        read[key] = _read(question, key, text)
    return read


def _read(question: Question, name: str, text: str) -> Value:
    kind = _parameter(question, name).kind
    try:
        return _BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError) as error:
        raise SettingsError(f"{question.name}: {name} is {text!r}: it takes {_KINDS[kind]}") from error


def question_of(name: str) -> Question:
    """The question of that name. Raises SettingsError where there is none."""
    if name not in QUESTIONS:
        raise SettingsError(f"question {name!r} is not known: the questions are {', '.join(QUESTIONS)}")
    return QUESTIONS[name]


def _parameter(question: Question, name: str) -> Parameter:
    if name not in question.parameters:
        raise SettingsError(f"{question.name}: has no parameter {name!r}: it has {', '.join(question.parameters)}")
    return question.parameters[name]


def _values(question: Question, given: Mapping[str, Value]) -> dict[str, Value]:
    for name in given:
        _parameter(question, name)
    return {name: _value(question, name, one, given.get(name)) for name, one in question.parameters.items()}


def _value(question: Question, name: str, parameter: Parameter, given: Value | None) -> Value:
    where = f"{question.name}: {name}"
    value = parameter.default if given is None else given
    if value is None:
        raise SettingsError(f"{where} is missing: {parameter.meaning}")
    if parameter.kind is float and type(value) is int:
        value = float(value)
    if type(value) is not parameter.kind:
        raise SettingsError(f"{where} is {value!r}: it takes {_KINDS[parameter.kind]}")
    if isinstance(value, int | float):
        if not math.isfinite(value) or (parameter.least is not None and value < parameter.least):
            raise SettingsError(f"{where} is {value}: it is at least {parameter.least}")
        if parameter.most is not None and value > parameter.most:
            raise SettingsError(f"{where} is {value}: it is at most {parameter.most}")
    return value


_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}


def _in_sql(value: Value) -> str:
    return literal(value) if isinstance(value, str) else str(value)


def _places_of_length(n: int) -> dict[str, str]:
    return {
        "top": quoted(top_table(n)),
        "ngrams": quoted(ngram_table(n)),
        "ids": ", ".join(id_columns(n)),
        "prefix": "(" + " || ".join(f"token{i}" for i in range(n - 1)) + ")",
        "completion": f"token{n - 1}",
    }


def _labels(catalog: Catalog, question: Question, values: Mapping[str, Value]) -> list[str]:
    """The labels of the models that a question is about: those given, then others of the catalog."""
    there = catalog.sql("SELECT DISTINCT model FROM predictions ORDER BY 1").fetchall()
    labels = [label for (label,) in there]
    given = [str(values[name]) for name in ("model", "other") if values.get(name)]
    for label in given:
        if label not in labels:
            raise SettingsError(f"{question.name}: model {label!r} is not in the catalog: it has {', '.join(labels)}")
    if len(set(given)) < len(given):
        raise SettingsError(f"{question.name}: compares two models: {given[0]!r} is given twice")
    rest = [label for label in labels if label not in given]
    lacking = question.models - len(given)
    if lacking > len(rest):
        raise SettingsError(
            f"{question.name}: needs {question.models} models, and the catalog has {', '.join(labels)}: "
            "'taskcatalog predict' adds one"
        )
    if lacking and lacking < len(rest):
        raise SettingsError(
            f"{question.name}: name {'the model' if question.models == 1 else 'both models'} with "
            f"{' and '.join(['model', 'other'][: question.models])}: the catalog has {', '.join(labels)}"
        )
    return _in_order(values, given, rest[:lacking])


def _in_order(values: Mapping[str, Value], given: list[str], rest: list[str]) -> list[str]:
    """Model first, then other: where only ``other`` is given, it stays the second."""
    return [*rest, *given] if values.get("other") and not values.get("model") else [*given, *rest]
