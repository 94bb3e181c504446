"""Compiled copying of many short values. Imported where it is used: numba takes its time to load."""

from typing import Any

from taskcatalog.compiled import compiled


@compiled
def copy_values(raw: Any, starts: Any, sizes: Any, target: Any) -> None:
    """Copies the bytes of values, wherever they start, one after the other. All arrays but the bytes are (values,)."""
    at = 0
    for i in range(len(starts)):
        value = raw[starts[i] : starts[i] + sizes[i]]
        copy = target[at : at + sizes[i]]
        for j in range(len(value)):  # compiled to a copy of whole blocks, which an assignment of slices is not
            copy[j] = value[j]
        at += sizes[i]
