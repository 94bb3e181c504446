"""Compiled functions, also where nothing of them can be kept."""

from typing import Any

import numba
import pytest

from taskcatalog.compiled import compiled


def test_code_that_has_no_place() -> None:
    """As in a container, whose package is root's and whose user has no home: Numba finds nowhere to keep it."""
    made: dict[str, Any] = {}
    exec("def double(number):\n    return 2 * number", made)
    with pytest.raises(RuntimeError, match="no locator available"):
        numba.njit(cache=True)(made["double"])
    assert compiled(made["double"])(21) == 42
