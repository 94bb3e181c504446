"""Whether a store is what its ledger says, and its ids are within the vocabulary."""

from taskcatalog.errors import InputError
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.stage import ledger_beside
from taskcatalog.storage import AnyPath, is_file, is_folder
from taskcatalog.stores.format import StoreOptions
from taskcatalog.stores.formats import format_at
from taskcatalog.stores.open_store import open_store
from taskcatalog.stores.sequence_range import SequenceRange


def verify_store(path: AnyPath, options: StoreOptions | None = None) -> list[str]:
    """Problems of a store, one line each; reads all of it. Raises InputError where ``path`` is no store."""
    if Ledger.exists(path):
        try:
            ledger = Ledger.read(path)
        except InputError as error:
            return [str(error)]
        if not ledger.complete:
            return [f"{path}: is not finished: the command that makes it, once more, goes on"]
        if problems := ledger.damaged_files():
            return problems
    elif Ledger.exists(beside := ledger_beside(path)):
        if problems := Ledger.read(beside).damaged_files():
            return problems
    elif is_file(path / "tokenizer.json") and is_folder(path / "tokens"):
        return [f"{path}: holds the files of a token store, but no ledger.json that tells them: restore it"]
    found = format_at(path, options or StoreOptions())
    if found and (problems := found.problems(path)):
        return problems
    store = open_store(path, options)
    try:
        for _ in SequenceRange(0, store.n_sequences).read_in_turn(store):
            pass  # reading looks at all
    except InputError as error:
        return [str(error)]
    return []
