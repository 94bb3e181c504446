"""Cuts a store into pieces, ranges of sequences that are converted one by one, and reads them."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from taskcatalog.errors import InputError
from taskcatalog.stores.mds import MdsStore
from taskcatalog.stores.place import StorePlace
from taskcatalog.stores.sequence_range import SequenceRange, typical_length
from taskcatalog.stores.store import Sequences, Store

_PIECES = 64
_SMALLEST_PIECE = 1 << 18
_LARGEST_PIECE = 1 << 27


@dataclass(frozen=True)
class Piece:
    """Sequences ``first`` to ``stop``, the last excluded."""

    place: StorePlace
    first: int
    stop: int

    @property
    def store(self) -> Store:
        return self.place.store

    def read(self) -> Iterator[Sequences]:
        """All of it, in ranges that memory holds. Raises InputError for an id beyond the vocabulary."""
        yield from SequenceRange(self.store, self.first, self.stop).read()

    def read_as_one_stream(self) -> Iterator[Sequences]:
        """The same, for formats that cannot say where a sequence ends.

        Raises InputError unless all sequences, but for the store's last, have the store's sequence length.
        """
        first = self.first
        for sequences in self.read():
            _check_lengths(self.store, np.diff(sequences.ends, prepend=0), first)
            first += len(sequences.ends)
            yield sequences


def cut_into_pieces(place: StorePlace, n_sequences: int, at_once: int) -> dict[str, Piece]:
    """The first ``n_sequences`` in pieces of ``at_once``, by name, in order."""
    cuts = [*range(0, n_sequences, at_once), n_sequences]
    return {f"{i:05d}": Piece(place, first, stop) for i, (first, stop) in enumerate(pairwise(cuts))}


def sequences_in_piece(store: Store) -> int:
    """How many sequences make a piece: enough pieces for many workers, none too small or too large."""
    n_tokens = min(max(store.n_tokens // _PIECES, _SMALLEST_PIECE), _LARGEST_PIECE)
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
