"""Finds a ``tokenizer.json`` by path or by hub name."""

from pathlib import Path

from taskcatalog.errors import InputError
from taskcatalog.storage import name_of


def find_tokenizer(name: str, revision: str | None = None) -> Path:
    """A file, the ``tokenizer.json`` in a folder, or a hub model's at a revision, from the cache if it is there.

    Raises InputError where there is none.
    """
    name = name_of(name, "tokenizer")
    path = Path(name)
    if path.is_file():
        return path
    if path.is_dir():
        if (path / "tokenizer.json").is_file():
            return path / "tokenizer.json"
        raise InputError(f"{path}: holds no tokenizer.json")
    if path.suffix == ".json" or path.is_absolute() or name.startswith("."):
        raise InputError(f"{path}: does not exist: give a tokenizer.json, a folder with one, or a hub name")
    # What talks to the hub takes longer to import than most tokenizers to read.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(name, "tokenizer.json", revision=revision))
    except HFValidationError as error:
        raise InputError(f"tokenizer {name!r}: is neither a file nor a hub name") from error
    except LocalEntryNotFoundError as error:
        raise InputError(f"tokenizer {name!r}: the hub cannot be reached and it is not in the cache") from error
    except HfHubHTTPError as error:
        raise InputError(f"tokenizer {name!r}: the hub has no tokenizer.json of that name ({error})") from error
