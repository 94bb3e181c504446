"""Ranges of a store's sequences: what jobs are cut into, and how they are read with their ids checked."""

from collections.abc import Iterator
from dataclasses import dataclass

from taskcatalog.stores.store import Sequences, Store, check_ids, ranges

_TOKENS_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class SequenceRange:
    """The sequences ``start`` to ``stop`` of a store, or of one sequence what begins at its tokens ``begin`` to
    ``end``."""

    start: int
    stop: int
    begin: int = 0
    end: int | None = None
    """Of the one sequence that is cut; to its end if None."""

    def __str__(self) -> str:
        """As names of jobs have it: in the order of the store."""
        return f"{self.start:010d}-{self.stop:010d}-{self.begin:012d}"

    @property
    def is_part(self) -> bool:
        """Of a sequence that was cut."""
        return self.begin > 0 or self.end is not None

    def read(self, store: Store) -> Sequences:
        """Its sequences, whole. Raises InputError for an id beyond the vocabulary."""
        sequences = store.read(self.start, self.stop)
        check_ids(store, sequences, self.start)
        return sequences

    def read_in_turn(self, store: Store) -> Iterator[Sequences]:
        """The same, as many sequences at a time as memory holds."""
        at_once = max(1, _TOKENS_AT_ONCE // typical_length(store))
        for start, stop in ranges(self.stop - self.start, at_once):
            yield SequenceRange(self.start + start, self.start + stop).read(store)


def cut(store: Store, tokens_at_once: int, start: int = 0, stop: int | None = None) -> list[SequenceRange]:
    """The sequences ``start`` to ``stop`` in ranges of so many tokens: of whole sequences, or where these are longer,
    of parts of one."""
    length = store.identity.sequence_length
    begins = [0] if length <= tokens_at_once else range(0, max(1, min(length, store.n_tokens)), tokens_at_once)
    of_whole = ranges((store.n_sequences if stop is None else stop) - start, max(1, tokens_at_once // length))
    return [
        SequenceRange(start + first, start + after, begin, end)
        for first, after in of_whole
        for begin, end in zip(begins, [*begins[1:], None], strict=True)
    ]


def typical_length(store: Store) -> int:
    """Tokens of a sequence; where sequences differ, of the first one or their mean, whichever is more."""
    return max(store.identity.sequence_length, store.n_tokens // max(1, store.n_sequences))
