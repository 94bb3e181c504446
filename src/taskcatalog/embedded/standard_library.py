"""The demo's corpus: the Python source of the running interpreter's standard library.

It is real text that every user already has. Left out are the tests (not every distribution ships them),
installed packages, and ``encodings``, whose generated character tables would drown everything else.
"""

import sysconfig
from pathlib import Path

_LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "__pycache__"}


def standard_library_sources() -> list[Path]:
    """The standard library's ``.py`` files, sorted by path."""
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(path for path in root.rglob("*.py") if not _LEFT_OUT.intersection(path.relative_to(root).parts))
