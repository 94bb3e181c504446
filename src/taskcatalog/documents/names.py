"""How the document index, which is UTF-8, writes the name of a file that is not.

A name is bytes to the system. Nearly all are UTF-8 and stand in the index as they are. Another one stands there as
``file:`` and its bytes, all but letters, digits and ``_.-~/`` percent-encoded: ``file:caf%E9.txt``. So that nothing is
taken for such a name, one that begins with ``file:`` itself is written in this way, too.
"""

from urllib.parse import quote, unquote_to_bytes

_MARK = "file:"


def name_in_index(name: str) -> str:
    """A source's name as UTF-8."""
    if name.isascii() or not any("\ud800" <= character <= "\udfff" for character in name):
        return name if not name.startswith(_MARK) or "://" in name else _MARK + quote(name)
    return _MARK + quote(name.encode("utf-8", "surrogateescape"))


def name_of_file(indexed: str) -> str:
    """The name that opens the file, from the one in the index."""
    if not indexed.startswith(_MARK) or "://" in indexed:
        return indexed
    return unquote_to_bytes(indexed.removeprefix(_MARK)).decode("utf-8", "surrogateescape")
