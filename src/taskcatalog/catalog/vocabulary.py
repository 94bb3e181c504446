"""The tokens of a ``tokenizer.json``: the raw bytes that each id stands for, and text to ids.

Two ways of writing bytes as token strings are in use. Byte-level vocabularies (GPT-2, GPT-NeoX, OLMo) map
every byte to a printable character. SentencePiece-like ones (Llama 2) write a space as U+2581 and single
bytes as ``<0x0A>``. Added tokens stand for their own text in both.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

from taskcatalog.catalog.files import read_json, sha256_of_file
from taskcatalog.errors import InputError

END_OF_TEXT_TOKENS = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|im_end|>")
_SPACE = "\u2581"


class Vocabulary:
    """The ids of one tokenizer. ``len(vocabulary)`` is one more than the largest id."""

    def __init__(self, path: Path, tokenizer: Tokenizer, description: dict[str, Any]) -> None:
        self.path = path
        self._tokenizer = tokenizer
        self._byte_level = _mentions(description, "ByteLevel")
        added = {token["id"]: token["content"] for token in description.get("added_tokens", [])}
        by_id = {id_: text for text, id_ in tokenizer.get_vocab(with_added_tokens=True).items()}
        self.bytes: list[bytes] = [
            added[id_].encode() if id_ in added else self._bytes_of(by_id.get(id_, ""))
            for id_ in range(max(by_id, default=-1) + 1)
        ]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises InputError where ``path`` is no tokenizer.json."""
        description = read_json(path)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise InputError(f"{path}: is not a tokenizer.json that tokenizers can read: {error}") from error
        # A tokenizer.json may ask to cut or to fill texts: a corpus wants neither.
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(path, tokenizer, description)

    def __len__(self) -> int:
        return len(self.bytes)

    @cached_property
    def sha256(self) -> str:
        """Names the tokenizer in ledgers."""
        return sha256_of_file(self.path)

    @cached_property
    def end_of_text(self) -> int | None:
        """The id that ends a document, by the names that it has in the common vocabularies."""
        ids = (self._tokenizer.token_to_id(token) for token in END_OF_TEXT_TOKENS)
        return next((id_ for id_ in ids if id_ is not None), None)

    def id_of(self, token: str) -> int | None:
        id_: int | None = self._tokenizer.token_to_id(token)
        return id_

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, without special tokens in front or behind."""
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]

    def text(self, ids: Sequence[int] | np.ndarray[Any, Any]) -> str:
        """The ids' bytes as UTF-8, U+FFFD for what is none; an id beyond the vocabulary shows as ``<id>``."""
        known = self.bytes
        return b"".join(known[i] if i < len(known) else b"<%d>" % i for i in ids).decode("utf-8", "replace")

    def _bytes_of(self, token: str) -> bytes:
        if self._byte_level:
            if all(character in _BYTE_OF for character in token):
                return bytes(_BYTE_OF[character] for character in token)
            return token.encode()
        if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
            return bytes([int(token[3:5], 16)])
        return token.replace(_SPACE, " ").encode()


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


def _byte_of_character() -> dict[str, int]:
    """GPT-2's map, inverted: printable Latin-1 stands for itself, other bytes for U+0100 upwards."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


_BYTE_OF = _byte_of_character()
