"""The sequences of a store that ``start`` and ``max_tokens`` choose, of ``scan`` and ``ngrams`` alike."""

from taskcatalog.errors import SettingsError
from taskcatalog.runs.progress import note
from taskcatalog.stores.sequence_range import SequenceRange
from taskcatalog.stores.store import Store


def chosen_sequences(store: Store, start: int, max_tokens: int | None) -> SequenceRange:
    """From the sequence on that the token ``start`` is in, as many as fit in ``max_tokens``.

    Raises SettingsError for a token that the store does not have.
    """
    first = start // store.identity.sequence_length
    if start and first >= store.n_sequences:
        raise SettingsError(f"start is {start}: {store.path} has {store.n_tokens} tokens")
    if max_tokens is None:
        return SequenceRange(first, store.n_sequences)
    return SequenceRange(first, min(first + max(1, max_tokens // store.identity.sequence_length), store.n_sequences))


def advise_on_tokens(store: Store, max_tokens: int | None) -> None:
    """Says so where ``max_tokens`` is less than a sequence."""
    length = store.identity.sequence_length
    if max_tokens is not None and max_tokens < min(length, store.n_tokens):
        note(f"--max-tokens {max_tokens:,} is less than one sequence: all {length:,} tokens of one are taken")
