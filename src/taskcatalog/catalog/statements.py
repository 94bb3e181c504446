"""Which statements a query may be: one that reads the catalog's tables, and nothing else.

DuckDB parses the text and gives its tree (``json_serialize_sql``, which knows SELECT statements only: also WITH, FROM,
VALUES, TABLE, DESCRIBE, SUMMARIZE, PIVOT with IN). The rules are about that tree, so no comment, quote or odd letter
hides anything from them. What the tree may be made of is listed, and whatever is not listed is refused:

- queries and their clauses (an INSERT within a WITH is none);
- tables by a bare name: those of the catalog, and what WITH calls by a name. So neither a file by its path nor a
  table of DuckDB's own about its settings, files and sessions;
- the table functions ``range``, ``generate_series`` and ``unnest``.

Functions in expressions are refused by name where they tell of the machine or of the session, or change them: DuckDB
has no switch for these. EXPLAIN takes such a query, too; EXPLAIN ANALYZE would name files and is refused.

This is the first of two fences; the second is DuckDB's own lock (``database.Database.lock``). Neither bounds the memory
that one value takes, as ``repeat('x', 2000000000)``: only a limit of the process does, which the command sets.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import duckdb

from taskcatalog.errors import SettingsError

_EXPLAIN = re.compile(r"\s*EXPLAIN\s+(?!ANALY[SZ]E\b)", re.IGNORECASE)
_QUERIES = {"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"}
_CLAUSES = {
    *("DISTINCT_MODIFIER", "ORDER_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER"),
    *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
}
_SOURCES = {"EMPTY", "BASE_TABLE", "SUBQUERY", "JOIN", "TABLE_FUNCTION", "EXPRESSION_LIST", "PIVOT", "SHOW_REF"}
_LISTED = _QUERIES | _CLAUSES | _SOURCES
_TABLE_FUNCTIONS = {"range", "generate_series", "unnest"}
_REFUSED_FUNCTIONS = {
    *("getenv", "current_setting", "getvariable"),
    *("current_query", "current_query_id", "current_connection_id", "current_transaction_id", "txid_current"),
    *("nextval", "currval", "setval", "setseed", "write_log", "sleep_ms", "parse_duckdb_log_message"),
    *("query", "query_table", "json_serialize_plan", "json_execute_serialized_sql"),
    *("obj_description", "col_description", "shobj_description", "get_block_size", "in_search_path"),
}
_REFUSED_PREFIXES = ("__internal", "pg_", "duckdb_", "pragma_", "inet_", "read_", "http_")
_ALL_TABLES = '"tables"'
"""What SHOW TABLES shows."""


def tables_read(database: duckdb.DuckDBPyConnection, query: str) -> set[str]:
    """The tables that a query names, in lower case, other than its own of WITH; whether they are there is left open.

    Raises SettingsError for anything but one statement that reads tables.
    """
    explained = _EXPLAIN.match(query)
    tree = _parse(database, query[explained.end() :] if explained else query)
    tables: set[str] = set()
    own: set[str] = set()
    for node in _dictionaries(tree):
        _check(node)
        tables |= _named_tables(node)
        own |= {str(entry["key"]).lower() for entry in _entries(node)}
    builtin = builtin_views(database)
    if forbidden := sorted(own & builtin):
        raise SettingsError(f"query: WITH may not name anything {forbidden[0]!r}, as a view of DuckDB's own: rename it")
    return tables - own


def _parse(database: duckdb.DuckDBPyConnection, query: str) -> dict[str, Any]:
    try:
        [(text,)] = database.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
        answer: dict[str, Any] = json.loads(text)
    except RecursionError as error:
        raise SettingsError("query: is nested too deeply") from error
    if not answer["error"]:
        [statement, *more] = answer["statements"] or [None]
        if statement is None or more:
            raise SettingsError(_only_reads("this is more than one" if more else "this is empty"))
        return dict(statement)
    if answer["error_type"] == "parser":
        raise SettingsError(f"query: {answer['error_message']}{_digit_hint(query)}")
    if "SELECT statements" in answer["error_message"]:
        raise SettingsError(_only_reads("this is another statement"))
    raise SettingsError(f"query: {answer['error_message']}")


def _only_reads(why: str) -> str:
    return f"a query is one SELECT (or WITH, FROM, DESCRIBE, PIVOT … IN, or EXPLAIN of one) and only reads: {why}"


def _digit_hint(query: str) -> str:
    found = re.search(r"""(?<!["\w])([0-9]+(?:grams|gram_prefixes))\b""", query)
    return f'; a table whose name begins with a digit wants double quotes: "{found[1]}"' if found else ""


def _dictionaries(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in the tree, however deep."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node


def _check(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if "class" not in node and isinstance(kind, str) and kind not in _LISTED:
        raise SettingsError(_only_reads(f"{kind} is not allowed"))
    if kind == "TABLE_FUNCTION" and node["function"].get("function_name", "").lower() not in _TABLE_FUNCTIONS:
        name, others = node["function"].get("function_name", "that"), ", ".join(sorted(_TABLE_FUNCTIONS))
        raise SettingsError(
            f"query: {name} is not allowed: a query reads the catalog's tables by name ({others} are allowed)"
        )
    name = str(node.get("function_name", "")).lower()
    if name in _REFUSED_FUNCTIONS or name.startswith(_REFUSED_PREFIXES):
        raise SettingsError(f"query: the function {name} is not allowed: it tells of, or changes, more than the tables")


def _named_tables(node: dict[str, Any]) -> set[str]:
    """The table that this part of the tree reads, if it does."""
    if node.get("type") == "SHOW_REF":
        # DESCRIBE has a query below it. SHOW of a name that is no table would show a setting.
        name = node["table_name"]
        if node["query"] is None and (not name or (name.startswith('"') and name != _ALL_TABLES)):
            raise SettingsError("query: shows SHOW TABLES, or one table: nothing else")
        return set() if node["query"] is not None or name == _ALL_TABLES else {name.lower()}
    if node.get("type") != "BASE_TABLE" or "class" in node:
        return set()
    name = node["table_name"]
    if node["catalog_name"] or node["schema_name"]:
        raise SettingsError(f"query: write {name!r} without a schema: a query reads the catalog's tables by name")
    return {name.lower()}


def _entries(node: dict[str, Any]) -> list[dict[str, Any]]:
    """What WITH calls by a name here."""
    return list((node.get("cte_map") or {}).get("map") or [])


def builtin_views(database: duckdb.DuckDBPyConnection) -> set[str]:
    """DuckDB's own, in lower case."""
    rows = database.execute("SELECT view_name FROM duckdb_views() WHERE internal").fetchall()
    return {name.lower() for (name,) in rows}
