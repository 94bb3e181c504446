"""What all readers of documents share: batches of texts, how to read them, and what to do about bad ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from taskcatalog.errors import InputError

BATCH_BYTES = 2 << 20
"""About as much of a source is read at once."""
BATCH_DOCUMENTS = 1 << 14
"""And no more documents than this."""
LONG_TEXT = 4 << 20
"""Characters of a text beyond which it is handed on in pieces."""
_MESSAGES_KEPT = 5


@dataclass
class Batch:
    """Consecutive documents of one source."""

    source: str
    """The file, as it was named."""
    texts: list[str]
    places: list[int]
    """Line of a JSONL file, row of a table, both from 1; 0 where the file is the document."""
    metas: list[str | None]
    unfinished: bool = False
    """Whether the last text is a piece of a document that goes on in the next batch."""


@dataclass
class Problems:
    """Documents that cannot be read: the first one stops the run, or all are left out and counted."""

    on_error: Literal["stop", "skip"] = "stop"
    skipped: int = 0
    messages: list[str] = field(default_factory=list)
    """Of the first few that were skipped."""

    def met(self, error: InputError) -> None:
        if self.on_error == "stop":
            raise error
        self.skipped += 1
        if len(self.messages) < _MESSAGES_KEPT:
            self.messages.append(str(error))


@dataclass(frozen=True)
class Reading:
    """How the documents of a stretch are to be read."""

    field: str
    meta: str | None
    cut_before: Callable[[str], int | None]
    """Where a long text may be cut without changing its ids, if anywhere."""
    problems: Problems


def in_pieces(batch: Batch, reading: Reading) -> Iterator[Batch]:
    """The batch, with a text that is very long as batches of its own, piece by piece."""
    if all(len(text) <= LONG_TEXT for text in batch.texts):
        yield batch
        return
    for text, place, meta in zip(batch.texts, batch.places, batch.metas, strict=True):
        slices = (text[i : i + LONG_TEXT] for i in range(0, max(1, len(text)), LONG_TEXT))
        yield from long_document(slices, Batch(batch.source, [], [place], [meta]), reading)


def long_document(chunks: Iterator[str], kind: Batch, reading: Reading) -> Iterator[Batch]:
    """A document whose text comes in chunks, as batches of one piece each; ``kind`` says whose it is.

    Where nothing can be cut (a text without spaces, a tokenizer that looks at whole texts) it grows in memory.
    """
    waiting, enough = "", LONG_TEXT
    for chunk in chunks:
        waiting += chunk
        if len(waiting) > enough:
            if (place := reading.cut_before(waiting)) is None:
                enough = 2 * len(waiting)
                continue
            yield Batch(kind.source, [waiting[:place]], kind.places, kind.metas, unfinished=True)
            waiting, enough = waiting[place:], LONG_TEXT
    yield Batch(kind.source, [waiting], kind.places, kind.metas)


def value_at(record: dict[str, Any], name: str) -> Any:
    """A field by name, or one within another: ``meta.pile_set_name``; None where there is none."""
    value: Any = record
    for step in [name] if name in record else name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
