"""Where things are in a catalogue's folder, and which corpus it is about.

::

    CATALOG/
      catalog.json              the corpus: its fingerprint, sequence length and vocabulary
      tokenizer.json            where the corpus has one
      tokens.parquet
      ngrams/                   ledger.json, bigrams/*.parquet, …, top_bigrams.parquet, …
      predictions/LABEL/        ledger.json, *.parquet: one folder a model
      scan_4/LABEL/             ledger.json, tasks.parquet: one folder a model
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from taskcatalog.catalog.files import folder_locked, is_temporary, read_json, write_json, written_atomically
from taskcatalog.catalog.parquet import table_writer
from taskcatalog.catalog.schemas import id_dtype, tokens_schema
from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.errors import ConflictError, InputError

_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """What a catalogue needs to know of the token store that it describes."""

    fingerprint: str
    """Names the tokens: two stores with the same one hold the same sequences."""
    sequence_length: int
    vocabulary_size: int
    """One more than the largest id that may occur."""
    end_of_text: int | None
    """The id that ends a document, where it is known."""

    @property
    def id_dtype(self) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
        return id_dtype(self.vocabulary_size)


def _difference(there: Corpus, here: Corpus) -> str:
    if there.fingerprint != here.fingerprint:
        return f"from another store (fingerprint {there.fingerprint[:12]}, here {here.fingerprint[:12]})"
    name = next(name for name, value in asdict(there).items() if value != asdict(here)[name])
    return (
        f"from this store with another {name} ({asdict(there)[name]}, here {asdict(here)[name]}; "
        "--tokenizer and --sequence-length decide)"
    )


_NAMES = ("ngrams", "predictions", "scan_*", "tokens.parquet", "tokenizer.json")


def _is_ours(path: Path) -> bool:
    """Whether a run that was stopped before it described its catalogue may have left this there."""
    return is_temporary(path) or any(path.match(name) for name in _NAMES)


@dataclass(frozen=True)
class CatalogueFolder:
    path: Path

    @property
    def ngrams(self) -> Path:
        return self.path / "ngrams"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens.parquet"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    def predictions(self, label: str) -> Path:
        return self.path / "predictions" / label

    def scan(self, prompt_length: int, label: str) -> Path:
        return self.path / f"scan_{prompt_length}" / label

    def stages(self) -> Iterator[Path]:
        """The folders of all stages that were begun, finished or not."""
        for pattern in ("ngrams", "predictions/*", "scan_*/*"):
            yield from sorted(path for path in self.path.glob(pattern) if (path / "ledger.json").is_file())

    def corpus(self) -> Corpus:
        """Raises InputError where ``path`` is no catalogue."""
        if not (self.path / "catalog.json").is_file():
            missing = "is not a catalogue" if self.path.exists() else "does not exist"
            raise InputError(f"{self.path}: {missing}: 'taskcatalog ngrams STORE --out {self.path}' makes one")
        content = read_json(self.path / "catalog.json")
        if content.pop("format", None) != _FORMAT:
            raise InputError(f"{self.path}/catalog.json: is not of format {_FORMAT}: made by another version?")
        return Corpus(**content)

    def vocabulary(self) -> Vocabulary | None:
        return Vocabulary.read(self.tokenizer) if self.tokenizer.is_file() else None

    def check_corpus(self, corpus: Corpus) -> None:
        """Raises ConflictError unless a catalogue that is there already is about ``corpus``."""
        if not (self.path / "catalog.json").is_file():
            if self.path.exists() and not (self.path.is_dir() and all(map(_is_ours, self.path.iterdir()))):
                raise ConflictError(f"{self.path}: is there and is no catalogue: choose another output folder")
        elif (there := self.corpus()) != corpus:
            raise ConflictError(f"{self.path}: was made {_difference(there, corpus)}: choose another output folder")

    def prepare(self, corpus: Corpus, vocabulary: Vocabulary | None) -> None:
        """Makes the catalogue of ``corpus``, or checks that the one there is about it."""
        self.check_corpus(corpus)
        if (self.path / "catalog.json").is_file():
            return
        self.path.mkdir(parents=True, exist_ok=True)
        with folder_locked(self.path, wait=True):
            for leftover in filter(is_temporary, list(self.path.iterdir())):
                leftover.unlink()
            self._describe(corpus, vocabulary)

    def _describe(self, corpus: Corpus, vocabulary: Vocabulary | None) -> None:
        """Writes what all tables share, ``catalog.json`` last: with it the folder is a catalogue."""
        if vocabulary is not None:
            with written_atomically(self.tokenizer) as temporary:
                temporary.write_bytes(vocabulary.content)
        raw = vocabulary.token_bytes if vocabulary is not None else []
        with table_writer(self.tokens, tokens_schema(corpus.id_dtype)) as writer:
            texts = [token.decode("utf-8", "replace") for token in raw]
            writer.write({"id": np.arange(len(raw)), "token": texts, "bytes": raw})
        write_json(self.path / "catalog.json", asdict(corpus) | {"format": _FORMAT})
