"""Texts to ids, by one of two engines that give the same ids.

``tokenizers`` is the reference. ``gigatoken`` is many times faster, and young: its ids are compared with the
reference's before a run and on an excerpt of every batch in it. Where they differ, or where it cannot read the
tokenizer, the reference does all of the work.

Two things that the engines do differently are settled here: Unicode normalization to NFC is the reference's
(each library carries tables of another version of Unicode), and a text that is not NFC but holds added tokens,
which the reference finds before it normalizes, goes to the reference whole.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray

from taskcatalog.errors import SettingsError
from taskcatalog.sizes import resident_memory
from taskcatalog.vocabulary import Vocabulary

Engine = Literal["gigatoken", "tokenizers"]
_EXCERPT = 2_000
_LONG, _SHORT = 1 << 18, 1 << 13
"""Characters beyond which a text is cut: to be shared by threads, and before the reference takes it."""
_CACHE_BYTES = 64 << 20
_RENEWED_AFTER = 16 << 20
"""Characters between two renewals, at least: a new cache is slow at first."""
_PROBES = (
    "",
    " ",
    "Hello, world! It's 12345 o'clock\u2026 we'll see.\r\n\r\n\tEnd  of   it    all.\n\n\n",
    "na\u00efve cafe\u0301 \u212b \ufb01 \u1112\u1161\u11ab \U0001f469\u200d\U0001f4bb \u4e2d\u6587 \x00 \ufeff \ufffd",
    "def f(x):\n        return {'a': [1, 2.5e-3], \"b\": None}  # \u00b5\n",
    " " * 100 + "x" + "\n" * 50 + "\t" * 20 + "a" * 300 + "=" * 80 + "1" * 50,
)


class EngineDiffersError(Exception):
    """The fast engine is no substitute for the reference here; the message says why."""


@dataclass(frozen=True)
class Encoded:
    """The ids of some texts, one after the other: text i has ``ids[ends[i - 1] : ends[i]]``, from 0 for the first."""

    ids: NDArray[np.uint32]
    ends: NDArray[np.int64]


class Encoder(Protocol):
    def encode(self, texts: list[str]) -> Encoded:
        """The ids of each text, with no special tokens in front or behind."""


class ReferenceEncoder:
    """The ``tokenizers`` library."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary

    def encode(self, texts: list[str]) -> Encoded:
        return _joined([np.array(ids, np.uint32) for ids in self._vocabulary.encode_batch(texts)])


class FastEncoder:
    """The ``gigatoken`` library, checked against the reference as it goes."""

    def __init__(self, vocabulary: Vocabulary, threads: int = 1) -> None:
        """Raises EngineDiffersError where gigatoken is missing or cannot read the tokenizer."""
        description = orjson.loads(vocabulary.content)
        description["model"].pop("dropout", None)  # as ``Vocabulary`` has it
        self._vocabulary = vocabulary
        self._parallel = threads > 1
        self._nfc = _is_nfc(description.get("normalizer"))
        self._added = [t["content"] for t in description.get("added_tokens", []) if not t.get("normalized")]
        if self._nfc:
            description["normalizer"] = None
        self._description = orjson.dumps(description).decode()
        self._renew()

    def _renew(self) -> None:
        """Begins with an empty cache: it keeps every word that it has seen, without a limit."""
        self._tokenizer: Any = None  # frees the old one first
        self._tokenizer = _gigatoken(self._description)
        self._memory, self._characters = resident_memory(), 0

    def encode(self, texts: list[str]) -> Encoded:
        """Raises EngineDiffersError where an excerpt shows other ids than the reference."""
        if not texts:
            return Encoded(np.zeros(0, np.uint32), np.zeros(0, np.int64))
        middle = texts[len(texts) // 2]
        start = max(0, len(middle) // 2 - _EXCERPT)
        self.check([middle[start : start + _EXCERPT]])
        return self._encode(texts)

    def check(self, texts: list[str]) -> None:
        """Raises EngineDiffersError where the ids of a text are not the reference's."""
        fast = self._encode(texts)
        starts = np.concatenate(([0], fast.ends[:-1])).tolist()
        expected = self._vocabulary.encode_batch(texts)
        for text, ids, start, end in zip(texts, expected, starts, fast.ends.tolist(), strict=True):
            if ids != fast.ids[start:end].tolist():
                raise EngineDiffersError(f"it gives other ids for {_excerpt(text)}")

    def _encode(self, texts: list[str]) -> Encoded:
        if all(len(text) <= _LONG for text in texts):
            return self._encode_pieces(texts)
        # In pieces a long text can be shared by threads, and a place that is not NFC is a small part of it.
        pieces = [self._pieces(text, _LONG) for text in texts]
        encoded = self._encode_pieces(list(chain.from_iterable(pieces)))
        return Encoded(encoded.ids, encoded.ends[np.cumsum([len(own) for own in pieces]) - 1])

    def _pieces(self, text: str, at_most: int) -> list[str]:
        """A long text, cut where that changes nothing."""
        pieces, start = [], 0
        while len(text) - start > at_most and (length := cut_before(text[start : start + at_most], self._encode)):
            pieces.append(text[start : start + length])
            start += length
        return [*pieces, text[start:]]

    def _encode_pieces(self, texts: list[str]) -> Encoded:
        if not self._nfc or all(normal := [_is_normalized(text) for text in texts]):
            return self._fast(texts)
        by_reference = [not fine and self._holds_added(text) for text, fine in zip(texts, normal, strict=True)]
        normalize = self._vocabulary.normalize
        fast = self._fast(
            [
                "" if reference else text if fine else normalize(text)
                for text, fine, reference in zip(texts, normal, by_reference, strict=True)
            ]
        )
        if not any(by_reference):
            return fast
        parts = np.split(fast.ids, fast.ends[:-1])
        for i in np.flatnonzero(by_reference).tolist():
            pieces = self._pieces(texts[i], _SHORT)
            whole = len(pieces) == 1
            parts[i] = self._by_reference(texts[i]) if whole else self._encode_pieces(pieces).ids
        return _joined(parts)

    def _by_reference(self, text: str) -> NDArray[np.uint32]:
        return np.array(self._vocabulary.encode(text), np.uint32)

    def _holds_added(self, text: str) -> bool:
        return any(token in text for token in self._added)

    def _fast(self, texts: list[str]) -> Encoded:
        try:
            layout = self._tokenizer.encode_batch(texts, parallel=self._parallel).layout
        except BaseException as error:  # a panic of its compiled code is no Exception
            if isinstance(error, KeyboardInterrupt):
                raise
            raise EngineDiffersError(f"it failed ({type(error).__name__}: {error})") from error
        self._characters += sum(map(len, texts))
        if self._characters > _RENEWED_AFTER and resident_memory() > self._memory + _CACHE_BYTES:
            self._renew()
        ids, offsets = np.asarray(layout.content.data), np.asarray(layout.offsets.data)
        return Encoded(ids[int(offsets[0]) : int(offsets[-1])], (offsets[1:] - offsets[0]).astype(np.int64))


def make_encoder(vocabulary: Vocabulary, engine: Engine, threads: int = 1) -> Encoder:
    return FastEncoder(vocabulary, threads) if engine == "gigatoken" else ReferenceEncoder(vocabulary)


def choose_engine(
    vocabulary: Vocabulary, choice: Literal["auto", "gigatoken", "tokenizers"], sample: Sequence[str]
) -> tuple[Engine, str | None]:
    """The engine for a tokenizer and a corpus, and why it is not the fast one.

    Compares both on ``sample``, on odd texts, and on the tokenizer's own added tokens. Raises SettingsError
    where ``choice`` insists on the fast one and it differs.
    """
    if choice == "tokenizers":
        return "tokenizers", None
    added = vocabulary.added_tokens
    probes = [*_PROBES, *added, "".join(added), " ".join(added), "a" + "b\u0301".join(added)]
    try:
        FastEncoder(vocabulary).check([*probes, *sample])
    except EngineDiffersError as error:
        if choice == "gigatoken":
            raise SettingsError(
                f"{vocabulary.path}: gigatoken cannot be used: {error}: leave out --engine gigatoken"
            ) from error
        return "tokenizers", f"gigatoken cannot be used: {error}"
    return "gigatoken", None


def cut_before(text: str, encode: Callable[[list[str]], Encoded], window: int = 1_000, tries: int = 64) -> int | None:
    """The last character at which a long text may be cut without changing its ids; None where none is found.

    Candidates are the ends of words. A cut is taken where the ids of the text around it are those of its two
    sides, one after the other: tokenizers look no further than the next words.
    """
    cut = len(text) - window
    for _ in range(tries):
        while cut > window and not (text[cut].isspace() and not text[cut - 1].isspace()):
            cut -= 1
        if cut <= window:
            return None
        left, right = text[cut - window : cut], text[cut : cut + window]
        encoded = encode([left + right, left, right])
        whole = encoded.ends[0]
        if np.array_equal(encoded.ids[:whole], encoded.ids[whole:]):
            return cut
        cut -= 1
    return None


def _gigatoken(description: str) -> Any:
    try:
        import gigatoken

        return gigatoken.Tokenizer.from_json(description)
    except BaseException as error:  # it is as free with errors as with formats; a panic is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        reason = str(error).partition("\n")[0]
        raise EngineDiffersError(f"it cannot read the tokenizer ({reason})") from error


def _is_nfc(normalizer: Any) -> bool:
    """Whether a tokenizer.json's normalizer is NFC and nothing else."""
    if not isinstance(normalizer, dict):
        return False
    if normalizer.get("type") == "Sequence":
        inner = normalizer.get("normalizers", [])
        return len(inner) == 1 and _is_nfc(inner[0])
    return normalizer.get("type") == "NFC"


def _is_normalized(text: str) -> bool:
    # What is NFC for the interpreter's Unicode is NFC for an older one too: a character that this
    # does not know has no class and no composition there. A newer one keeps it by Unicode's promise of stability.
    return text.isascii() or unicodedata.is_normalized("NFC", text)


def _joined(pieces: list[NDArray[np.uint32]]) -> Encoded:
    lengths = [len(piece) for piece in pieces]
    ids = np.concatenate(pieces) if pieces else np.zeros(0, np.uint32)
    return Encoded(ids, np.cumsum(lengths, dtype=np.int64))


def _excerpt(text: str) -> str:
    return ascii(text if len(text) <= 60 else text[:60] + "\u2026")
