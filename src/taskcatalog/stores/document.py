"""The document that a token of a store is in, as far as the store knows it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.storage import AnyPath

_TOKENS_AT_ONCE = 1 << 16


class UnknownDocumentError(InputError):
    """The store does not know its documents."""


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a store knows of a document; None where it does not."""

    index: int | None = None
    """Its number in the store, from 0."""
    source: str | None = None
    """The file that it comes from, as the store's index has it; of an MDS set, the shard."""
    place: int | None = None
    """Its line or row there, from 1; 0 for a file that is one document; of an MDS set, the sample in the shard."""
    meta: str | None = None
    """The field that ``tokenize --meta`` kept."""
    first_token: int | None = None
    """Counted from the store's first token."""
    n_tokens: int | None = None
    """With its separators."""


def check_token(path: AnyPath, token: int, n_tokens: int) -> None:
    """Raises SettingsError where a store of so many tokens has no such one."""
    if not 0 <= token < n_tokens:
        raise SettingsError(f"token is {token}: {path} has tokens 0 to {n_tokens - 1}")


def between_ends(
    read: Callable[[int, int], NDArray[np.integer]], n_tokens: int, token: int, end_of_text: int
) -> Document:
    """The document around a token where each one ends with an end-of-text id: its first token and its length.

    ``read`` gives the tokens from one to another. All of the document is read, and no more than some beside it.
    """
    first, end = 0, n_tokens
    for stop in range(token, 0, -_TOKENS_AT_ONCE):
        start = max(0, stop - _TOKENS_AT_ONCE)
        if len(found := np.flatnonzero(read(start, stop) == end_of_text)):
            first = start + int(found[-1]) + 1
            break
    for start in range(token, n_tokens, _TOKENS_AT_ONCE):
        if len(found := np.flatnonzero(read(start, min(start + _TOKENS_AT_ONCE, n_tokens)) == end_of_text)):
            end = start + int(found[0]) + 1
            break
    return Document(first_token=first, n_tokens=end - first)
