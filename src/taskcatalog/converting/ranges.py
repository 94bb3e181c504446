"""Cuts a store into ranges of sequences that are converted one by one, and reads them."""

from collections.abc import Iterator

import numpy as np

from taskcatalog.errors import InputError
from taskcatalog.stores.mds import MdsStore
from taskcatalog.stores.sequence_range import SequenceRange, typical_length
from taskcatalog.stores.store import Sequences, Store, ranges

_RANGES = 64
_LEAST_TOKENS = 1 << 18
_MOST_TOKENS = 1 << 27


def named_ranges(n_sequences: int, at_once: int) -> dict[str, SequenceRange]:
    """The first ``n_sequences`` in ranges of ``at_once``, by name, in order."""
    return {f"{i:05d}": SequenceRange(*bounds) for i, bounds in enumerate(ranges(n_sequences, at_once))}


def read_as_one_stream(range_: SequenceRange, store: Store) -> Iterator[Sequences]:
    """A range, for formats that cannot say where a sequence ends.

    Raises InputError unless all sequences, but for the store's last, have the store's sequence length.
    """
    start = range_.start
    for sequences in range_.read_in_turn(store):
        _check_lengths(store, np.diff(sequences.ends, prepend=0), start)
        start += len(sequences.ends)
        yield sequences


def sequences_in_range(store: Store) -> int:
    """How many sequences make a range: enough ranges for many workers, none too small or too large."""
    n_tokens = min(max(store.n_tokens // _RANGES, _LEAST_TOKENS), _MOST_TOKENS)
    return max(1, n_tokens // typical_length(store))


def tokens_left_over(store: Store) -> int:
    """Tokens of the last sequence where it is a partial one; an MDS sample never is."""
    return 0 if isinstance(store, MdsStore) else store.n_tokens % store.identity.sequence_length


def tokens_of_one_length(store: Store) -> int:
    """All tokens of a store whose sequences, but for the last, have one length."""
    if not store.n_sequences:
        return 0
    last = store.read(store.n_sequences - 1, store.n_sequences)
    return (store.n_sequences - 1) * store.identity.sequence_length + len(last.tokens)


def _check_lengths(store: Store, lengths: np.ndarray[tuple[int], np.dtype[np.int64]], first: int) -> None:
    bad = lengths != store.identity.sequence_length
    if first + len(lengths) == store.n_sequences:
        bad[-1] = not 0 < lengths[-1] <= store.identity.sequence_length
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{store.path}: sequence {first + at} has {lengths[at]} tokens where the first has "
            f"{store.identity.sequence_length}, and only MDS can hold sequences of unequal length: use --format mds"
        )
