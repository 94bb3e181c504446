"""A range of a store's sequences, read with its ids checked."""

from collections.abc import Iterator
from dataclasses import dataclass

from taskcatalog.stores.store import Sequences, Store, check_ids, stretches

_TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class SequenceRange:
    """Sequences ``start`` to ``stop``, the last excluded."""

    store: Store
    start: int
    stop: int

    def read(self) -> Iterator[Sequences]:
        """All of it, in ranges that memory holds. Raises InputError for an id beyond the vocabulary."""
        at_once = max(1, _TOKENS_AT_ONCE // typical_length(self.store))
        for first, last in stretches(self.stop - self.start, at_once):
            yield SequenceRange(self.store, self.start + first, self.start + last).read_whole()

    def read_whole(self) -> Sequences:
        """All of it at once. Raises InputError for an id beyond the vocabulary."""
        sequences = self.store.read(self.start, self.stop)
        check_ids(self.store, sequences, self.start)
        return sequences


def typical_length(store: Store) -> int:
    """Tokens of a sequence; where sequences differ, of the first one or their mean, whichever is more."""
    return max(store.identity.sequence_length, store.n_tokens // max(1, store.n_sequences))
