"""Whether a model was trained with its beginning-of-sequence token in front of every text.

Nothing in the weights tells. The files of its tokenizer do, as ``transformers`` reads them, in this order:

1. ``add_bos_token`` of ``tokenizer_config.json``, where it is true or false;
2. what the post-processor of ``tokenizer.json`` puts in front of a text (``TemplateProcessing`` and others): yes, where
   that is the model's ``bos_token_id``;
3. the same of the corpus's tokenizer, for a model that comes without one.
"""

from pathlib import Path
from typing import Any, Literal

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

from taskcatalog.errors import InputError, SettingsError
from taskcatalog.lm.load import FoundModel
from taskcatalog.runs.files import read_json
from taskcatalog.vocabulary import Vocabulary

Bos = bool | Literal["auto"]


def bos_id_of(found: FoundModel, bos: Bos, corpus: Vocabulary | None) -> int | None:
    """The id to put in front of every prompt; None where there is to be none.

    Raises SettingsError where there is to be one and the model has none, InputError for ``auto`` where the files that
    tell cannot be read.
    """
    own: int | None = found.config.get_text_config().bos_token_id
    if not bos or (bos == "auto" and not _is_put_in_front(found, own, corpus)):
        return None
    if own is None:
        raise SettingsError(f"model {found.path}: has no beginning-of-sequence token: use --bos no", setting="bos")
    return int(own)


def _is_put_in_front(found: FoundModel, own: int | None, corpus: Vocabulary | None) -> bool:
    said = _tokenizer_config(found).get("add_bos_token")
    if isinstance(said, bool):
        return said
    vocabulary = found.vocabulary() or corpus
    return vocabulary is not None and own is not None and vocabulary.id_in_front == own


def _tokenizer_config(found: FoundModel) -> dict[str, Any]:
    """What ``tokenizer_config.json`` holds; nothing where there is none."""
    path = Path(found.path) / "tokenizer_config.json"
    if found.hub_commit is not None:
        try:
            path = Path(hf_hub_download(found.path, path.name, revision=found.hub_commit))
        except LocalEntryNotFoundError as error:
            raise InputError(
                f"model {found.path}: the hub cannot be reached for {path.name}, which tells of --bos auto: "
                "say --bos yes or no"
            ) from error
        except EntryNotFoundError:
            return {}
        except HfHubHTTPError as error:
            raise InputError(f"model {found.path}: {path.name}: {error}: say --bos yes or no") from error
    content = read_json(path) if path.is_file() else {}
    return content if isinstance(content, dict) else {}
