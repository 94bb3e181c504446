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
MAX_DOCUMENT = 256 * 10**6
"""Bytes of a document that is held in memory whole: a line of JSONL, a value of a table."""
_UNCUT = 8
"""So many times less than that may be a text that no place cuts: tokenizing it takes as many times more."""
_MESSAGES_KEPT = 5


@dataclass
class Batch:
    """Consecutive documents of one source."""

    source: str
    """The file, as it was named."""
    texts: list[str]
    places: list[int]
    """Line of a JSONL file, row of a table, record of a WARC file, from 1; 0 where the file is the document."""
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
    """How the documents of a chunk are to be read."""

    field: str
    meta: str | None
    cut_before: Callable[[str], int | None]
    """Where a long text may be cut without changing its ids, if anywhere."""
    problems: Problems
    max_document: int = MAX_DOCUMENT
    """Bytes, or characters where it is decoded already, beyond which a document is a bad one."""

    def too_long(self, where: str, what: str) -> InputError:
        return InputError(
            f"{where}: {what} --max-document, which is {self.max_document / 1e6:,g}MB: raise it if there is memory, or "
            "leave such documents out with --on-error skip"
        )


def in_pieces(batch: Batch, reading: Reading) -> Iterator[Batch]:
    """The batch, with a text that is very long as batches of its own, piece by piece."""
    if all(len(text) <= min(LONG_TEXT, reading.max_document) for text in batch.texts):
        yield batch
        return
    texts = batch.texts[::-1]
    for place, meta in zip(batch.places, batch.metas, strict=True):
        text = texts.pop()
        if len(text) > reading.max_document:
            where = f"{batch.source}: document {place}"
            reading.problems.met(reading.too_long(where, f"has {len(text):,} characters, more than"))
            continue
        slices = (text[i : i + LONG_TEXT] for i in range(0, max(1, len(text)), LONG_TEXT))
        yield from long_document(slices, Batch(batch.source, [], [place], [meta]), reading)


def long_document(pieces: Iterator[str], kind: Batch, reading: Reading) -> Iterator[Batch]:
    """A document whose text comes in pieces, as batches of one piece each; ``kind`` says whose it is.

    Where nothing can be cut (a text without spaces, a tokenizer that looks at whole texts) it grows in memory, up to a
    limit. A document that turns out to be bad ends there, if some of it has been handed on.
    """
    waiting, enough, begun = "", LONG_TEXT, False
    limit = max(reading.max_document // _UNCUT, LONG_TEXT)
    try:
        for piece in pieces:
            waiting += piece
            if len(waiting) > enough:
                if (cut := reading.cut_before(waiting)) is not None:
                    begun = True
                    yield Batch(kind.source, [waiting[:cut]], kind.places, kind.metas, unfinished=True)
                    waiting, enough = waiting[cut:], LONG_TEXT
                    continue
                enough = 2 * len(waiting)
            if len(waiting) > limit:
                where = f"{kind.source}: document {kind.places[0]}" if kind.places[0] else kind.source
                what = f"has {len(waiting):,} characters without a space to cut them at, more than 1/{_UNCUT} of"
                raise reading.too_long(where, what)
    except InputError as error:
        reading.problems.met(error)
        if begun:
            yield Batch(kind.source, [""], kind.places, kind.metas)
        return
    yield Batch(kind.source, [waiting], kind.places, kind.metas)


def value_at(record: dict[str, Any], name: str) -> Any:
    """A field by name, or one within another: ``meta.pile_set_name``; None where there is none."""
    value: Any = record
    for step in [name] if name in record else name.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value
