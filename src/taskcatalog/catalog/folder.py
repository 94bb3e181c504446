"""Where things are in a catalog's folder, and which corpus it is about.

::

    CATALOG/
      store.json                where the store was when a table was made from it last, to find places in it
      catalog.json              the corpus: its fingerprint, sequence length and vocabulary; digests of these two files:
      tokenizer.json            where the corpus has one
      tokens.parquet
      ngrams/                   ledger.json, bigrams/*.parquet, …, top_bigrams.parquet, …
      predictions/LABEL/        ledger.json, *.parquet: one folder a model
      scan_4/LABEL/             ledger.json, tasks.parquet: one folder a model
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from taskcatalog.errors import ConflictError, InputError
from taskcatalog.runs.files import (
    folder_locked,
    is_temporary,
    make_folder,
    read_signed,
    remove_files,
    write_signed,
    written_atomically,
)
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import describe, problem_of
from taskcatalog.runs.stage import LEDGER
from taskcatalog.settings import given_or_default
from taskcatalog.storage import AnyPath, exists, is_remote, locate
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.tables.corpus import tokens
from taskcatalog.tables.names import scan_table
from taskcatalog.tables.parquet import table_writer
from taskcatalog.vocabulary import Vocabulary

if TYPE_CHECKING:  # a query needs no store
    from taskcatalog.stores.format import StoreOptions
    from taskcatalog.stores.store import OpenedStore

_FORMAT = 2


def _difference(there: StoreIdentity, here: StoreIdentity) -> str:
    if there.fingerprint != here.fingerprint:
        return f"from another store (fingerprint {there.fingerprint[:12]}, here {here.fingerprint[:12]})"
    name = next(name for name, value in asdict(there).items() if value != asdict(here)[name])
    return (
        f"from this store with another {name} ({asdict(there)[name]}, here {asdict(here)[name]}; "
        "--tokenizer and --sequence-length decide)"
    )


_NAMES = ("ngrams", "predictions", "scan_*", "tokens.parquet", "tokenizer.json", "store.json")
_LOCATION_FORMAT = 1


def _is_ours(path: Path) -> bool:
    """Whether a run that was stopped before it described its catalog may have left this there."""
    return is_temporary(path) or any(path.match(name) for name in _NAMES)


@dataclass(frozen=True)
class CatalogFolder:
    path: Path

    @property
    def description(self) -> Path:
        """The file that makes the folder a catalog."""
        return self.path / "catalog.json"

    @property
    def ngrams(self) -> Path:
        return self.path / "ngrams"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens.parquet"

    @property
    def tokenizer(self) -> Path:
        return self.path / "tokenizer.json"

    @property
    def location(self) -> Path:
        """The file that says where the store was."""
        return self.path / "store.json"

    def predictions(self, label: str) -> Path:
        return self.path / "predictions" / label

    def scan(self, prompt_length: int, label: str) -> Path:
        return self.path / f"scan_{prompt_length}" / label

    def stages(self) -> Iterator[Path]:
        """The folders of all stages that were begun, finished or not."""
        return (path for path in self._stage_folders() if (path / LEDGER).is_file())

    def read_stage(self, stage: Path) -> Ledger:
        """The ledger in one of the folders of stages.

        Raises InputError where it is damaged, or where what it tells of does not belong there: somebody has copied or
        moved the folder.
        """
        ledger = Ledger.read(stage)
        kind = "ngrams" if stage == self.ngrams else "predict" if stage.parent.name == "predictions" else "scan"
        label, length = ledger.settings.get("label"), ledger.settings.get("prompt_length", 0)
        if ledger.stage != kind:
            problem = f"holds what the stage {ledger.stage} made"
        elif ledger.inputs.get("store") != self.identity().fingerprint:
            problem = "is about another store than this catalog"
        elif kind != "ngrams" and label != stage.name:
            problem = f"holds what is of the model {label}"
        elif kind == "scan" and stage.parent.name != scan_table(length):
            problem = f"holds prompts of {length} tokens"
        else:
            return ledger
        raise InputError(f"{stage}: {problem}: it is in the wrong place, move it out of the catalog or back")

    def folders_without_ledger(self) -> list[Path]:
        """Folders of stages that hold files, but no ledger that says what these are."""
        return [
            path
            for path in self._stage_folders()
            if not (path / LEDGER).is_file() and not all(map(is_temporary, path.iterdir()))  # as of a ledger's
        ]

    def _stage_folders(self) -> Iterator[Path]:
        for pattern in ("ngrams", "predictions/*", "scan_*/*"):
            yield from sorted(path for path in self.path.glob(pattern) if path.is_dir())

    def identity(self) -> StoreIdentity:
        """Raises InputError where ``path`` is no catalog."""
        content = self._description()
        try:
            return StoreIdentity(**{name: content[name] for name in StoreIdentity.__dataclass_fields__})
        except KeyError as error:
            raise InputError(f"{self.description}: lacks {error}: restore it, or make {self.path} anew") from error

    def vocabulary(self) -> Vocabulary | None:
        """Raises InputError where the tokenizer is not the one that the catalog was made with."""
        if (described := self.described(self.tokenizer)) is None:
            return None
        if problem := problem_of(self.tokenizer, described):
            raise InputError(f"{problem}: restore it")
        return Vocabulary.read(self.tokenizer)

    def damaged_files(self) -> list[str]:
        """What is wrong with the files that all tables share, one line each."""
        files = {path: self.described(path) for path in (self.tokens, self.tokenizer)}
        problems = [problem for path, facts in files.items() if facts and (problem := problem_of(path, facts))]
        try:
            if self._location() is None and "location" in self._description():
                problems.append(f"{self.location}: is missing: the command that made the catalog, again, writes it")
        except InputError as error:
            problems.append(str(error))
        return problems

    def remember_store(self, path: AnyPath, options: "StoreOptions | None") -> None:
        """Writes down where the catalog's store is now, and what to say to open it, unless that stands there.

        Nothing else in the catalog tells of it: a store may be moved, and a catalog of its copy is the same.
        """
        where = str(path) if is_remote(path) else str(Path(str(path)).absolute())
        from taskcatalog.stores.format import StoreOptions

        said = {name: value for name, value in asdict(given_or_default(options, StoreOptions)).items() if value}
        said.pop("tokenizer", None)  # the catalog has it
        content = {"format": _LOCATION_FORMAT, "path": where, "options": said}
        try:
            if self._location() == content:
                return
        except InputError:  # damaged: written anew
            pass
        write_signed(self.location, content)

    def open_store(
        self, elsewhere: str | AnyPath | None = None, options: "StoreOptions | None" = None
    ) -> "OpenedStore":
        """The store that the catalog is about: where it was, or ``elsewhere``, opened with ``options`` or as it was.

        Raises InputError where it is gone, or where another one is there.
        """
        from taskcatalog.stores.open_store import open_store

        location = self._location()
        if elsewhere is None and location is None:
            raise InputError(f"{self.location}: is missing, which says where the store is: --store PATH names it")
        path = locate(elsewhere if elsewhere is not None else location["path"] if location else "")
        if not exists(path):
            raise InputError(f"{path}: is gone, the store of {self.path}: --store PATH says where it is now")
        store = open_store(path, options or self._options(path, location["options"] if location else {}))
        if store.identity != (there := self.identity()):
            raise InputError(
                f"{path}: is not the store of this catalog, which was made {_difference(there, store.identity)}: "
                "--store PATH names the right one"
            )
        return store

    def _options(self, path: AnyPath, said: dict[str, Any]) -> "StoreOptions":
        """What was said to open the store, and the catalog's own tokenizer for one that has none."""
        from taskcatalog.stores.format import StoreOptions
        from taskcatalog.stores.token_store import is_token_store

        own = is_token_store(path) or self.described(self.tokenizer) is None
        return StoreOptions(tokenizer=None if own else str(self.tokenizer), **said)

    def _location(self) -> dict[str, Any] | None:
        """What ``store.json`` says; None where there is none, as in a catalog that was made before there was one."""
        if not self.location.is_file():
            return None
        return read_signed(self.location, _LOCATION_FORMAT, "location of a store")

    def _description(self) -> dict[str, Any]:
        if not self.description.is_file():
            missing = "is not a catalog" if self.path.exists() else "does not exist"
            raise InputError(f"{self.path}: {missing}: 'taskcatalog ngrams STORE --out {self.path}' makes one")
        return read_signed(self.description, _FORMAT, "catalog")

    def described(self, path: Path) -> dict[str, Any] | None:
        """What ``catalog.json`` says of a file; None where there is none."""
        files: dict[str, dict[str, Any]] = self._description().get("files", {})
        return files.get(path.name)

    def check_identity(self, identity: StoreIdentity) -> None:
        """Raises ConflictError unless a catalog that is there already is about the store of ``identity``."""
        if not self.description.is_file():
            if self.path.exists() and not (self.path.is_dir() and all(map(_is_ours, self.path.iterdir()))):
                raise ConflictError(f"{self.path}: is there and is no catalog: choose another output folder")
        elif (there := self.identity()) != identity:
            raise ConflictError(f"{self.path}: was made {_difference(there, identity)}: choose another output folder")

    def prepare(self, identity: StoreIdentity, vocabulary: Vocabulary | None) -> None:
        """Makes the catalog of the store of ``identity``, or checks that the one there is about it."""
        self.check_identity(identity)
        if self.description.is_file():
            return
        make_folder(self.path)
        with folder_locked(self.path, wait=True):
            remove_files(path for path in self.path.iterdir() if is_temporary(path))
            if not self.description.is_file():  # another stage may have been faster
                self._describe(identity, vocabulary)
        self.check_identity(identity)

    def _describe(self, identity: StoreIdentity, vocabulary: Vocabulary | None) -> None:
        """Writes what all tables share, ``catalog.json`` last: with it the folder is a catalog."""
        shared = [self.tokens]
        if vocabulary is not None:
            shared.append(self.tokenizer)
            with written_atomically(self.tokenizer) as temporary:
                temporary.write_bytes(vocabulary.content)
        raw = vocabulary.token_bytes if vocabulary is not None else []
        with table_writer(self.tokens, tokens().schema(identity.id_dtype)) as writer:
            texts = [token.decode("utf-8", "replace") for token in raw]
            writer.write({"id": np.arange(len(raw)), "token": texts, "bytes": raw})
        files = {path.name: describe(path) for path in shared}
        content = asdict(identity) | {"format": _FORMAT, "files": files, "location": self.location.name}
        write_signed(self.description, content)
