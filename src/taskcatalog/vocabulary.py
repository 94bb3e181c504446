"""The tokens of a ``tokenizer.json``: the raw bytes that each id stands for, and text to ids.

Two ways of writing bytes as token strings are in use. Byte-level vocabularies (GPT-2, GPT-NeoX, OLMo) map
every byte to a printable character. SentencePiece-like ones (Llama 2) write a space as U+2581 and single
bytes as ``<0x0A>``. Added tokens stand for their own text in both.
"""

import hashlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
from tokenizers import Tokenizer

from taskcatalog.errors import InputError
from taskcatalog.runs.files import parse_json
from taskcatalog.storage import AnyPath, read_bytes

END_OF_TEXT_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")
_SPACE = "\u2581"
_BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")
_MOST_IDS = 1 << 24
"""Far more than any vocabulary has: every id up to the largest takes some memory."""


class Vocabulary:
    """The ids of one tokenizer. ``len(vocabulary)`` is one more than the largest id."""

    def __init__(self, path: Path, content: bytes, tokenizer: Tokenizer, description: dict[str, Any]) -> None:
        self.path = path
        self.content = content
        """Of the file."""
        self._tokenizer = tokenizer
        self._byte_level = _mentions(description, "ByteLevel")
        self._by_id: dict[int, str] = {i: text for text, i in tokenizer.get_vocab(with_added_tokens=True).items()}
        self._length = max(self._by_id, default=-1) + 1

    @classmethod
    def read(cls, path: AnyPath) -> Self:
        """Raises InputError where ``path`` is no tokenizer.json."""
        content = read_bytes(path)
        description = parse_json(content, path)
        with _asked(path, "is not a tokenizer.json that tokenizers can read"):
            tokenizer = Tokenizer.from_buffer(content)
            # A tokenizer.json may ask to cut or fill texts, or to leave out merges by chance: not for a corpus.
            if getattr(tokenizer.model, "dropout", None):
                tokenizer.model.dropout = None
            tokenizer.no_truncation()
            tokenizer.no_padding()
            # That of a remote store is named in messages only: who needs the file takes the content.
            made = cls(cast(Path, path), content, tokenizer, description)
        if len(made) > _MOST_IDS:
            raise InputError(f"{path}: has a token of id {len(made) - 1}: ids must be below {_MOST_IDS:,}")
        return made

    def __len__(self) -> int:
        return self._length

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """What each id stands for."""
        added = {id_: token.content for id_, token in self._tokenizer.get_added_tokens_decoder().items()}
        return [
            added[id_].encode() if id_ in added else self._bytes_of(self._by_id.get(id_, ""))
            for id_ in range(self._length)
        ]

    @cached_property
    def sha256(self) -> str:
        """Names the tokenizer in ledgers."""
        return hashlib.sha256(self.content).hexdigest()

    @cached_property
    def end_of_text(self) -> int | None:
        """The id that ends a document, by the names that it has in the common vocabularies."""
        ids = (self._tokenizer.token_to_id(token) for token in END_OF_TEXT_TOKENS)
        return next((id_ for id_ in ids if id_ is not None), None)

    def id_of(self, token: str) -> int | None:
        id_: int | None = self._tokenizer.token_to_id(token)
        return id_

    def encode(self, text: str) -> list[int]:
        with _asked(self.path, "cannot encode a text"):
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, without special tokens in front or behind."""
        with _asked(self.path, "cannot encode a text"):
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    @cached_property
    def id_in_front(self) -> int | None:
        """What the tokenizer puts in front of every text, where it does."""
        with _asked(self.path, "cannot encode a text"):
            bare, whole = (self._tokenizer.encode("a", add_special_tokens=special).ids for special in (False, True))
        return int(whole[0]) if len(whole) > len(bare) and whole[:1] != bare[:1] else None

    @cached_property
    def added_tokens(self) -> list[str]:
        """The tokens that are found in a text before anything else, in the order of their ids."""
        added = self._tokenizer.get_added_tokens_decoder()
        return [added[id_].content for id_ in sorted(added)]

    def normalize(self, text: str) -> str:
        """What the tokenizer makes of a text before it looks for tokens."""
        normalizer = self._tokenizer.normalizer
        return text if normalizer is None else str(normalizer.normalize_str(text))

    def text(self, ids: Sequence[int] | np.ndarray[Any, Any]) -> str:
        """The ids' bytes as UTF-8, U+FFFD for what is none; an id beyond the vocabulary shows as ``<id>``."""
        known = self.token_bytes
        return b"".join(known[i] if i < len(known) else b"<%d>" % i for i in ids).decode("utf-8", "replace")

    def _bytes_of(self, token: str) -> bytes:
        if self._byte_level:
            try:
                return token.translate(_BYTE_OF).encode("latin-1")
            except UnicodeEncodeError:  # a character that stands for no byte
                return token.encode()
        if byte := _BYTE_TOKEN.fullmatch(token):
            return bytes.fromhex(byte[1])
        return token.replace(_SPACE, " ").encode()


@contextmanager
def _asked(path: AnyPath, problem: str) -> Iterator[None]:
    """The library raises plain Exception, and for a panic of its compiled code what is not even that."""
    try:
        yield
    except (KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"{path}: {problem}: {reason or type(error).__name__}") from error


def _mentions(description: Any, kind: str) -> bool:
    """Whether a pre-tokenizer or decoder of this type occurs in a tokenizer.json."""
    parts = [description.get("pre_tokenizer"), description.get("decoder")]
    while parts:
        part = parts.pop()
        if isinstance(part, dict):
            if part.get("type") == kind:
                return True
            parts += part.get("pretokenizers", []) + part.get("decoders", [])
    return False


def _byte_of_character() -> dict[int, int]:
    """GPT-2's map, inverted: printable Latin-1 stands for itself, other bytes for U+0100 upwards.

    Other characters of Latin-1 stand for no byte: they are mapped out of it.
    """
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return dict.fromkeys(others, 0xFFFF) | {256 + i: byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_of_character()
