"""Whether a model can be asked about a corpus."""

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.lm.load import FoundModel
from taskcatalog.lm.model import LanguageModel
from taskcatalog.storage import AnyPath
from taskcatalog.vocabulary import Vocabulary


def check_label(label: str, folder: CatalogFolder) -> None:
    """Raises SettingsError if a model in the catalog has this label but for the case of letters: some file systems,
    and columns in SQL, tell no difference."""
    there = {path.name for path in folder.stages() if path.parent != folder.path}
    if same := sorted(name for name in there if name != label and name.lower() == label.lower()):
        raise SettingsError(f"label {label!r}: {folder.path} has a model {same[0]!r}: use another --label")


def check_length(longest: int, model: LanguageModel) -> None:
    """Raises InputError if the model cannot be asked about prompts as long as this."""
    if longest > model.longest_prompt:
        raise InputError(
            f"model {model.name.label}: takes prompts of at most {model.longest_prompt} tokens, and {longest} are asked"
        )


def check_ids_known(largest_id: int, model: LanguageModel, where: AnyPath) -> None:
    """Raises InputError if the model has no embedding or no output for an id that it will be asked about."""
    known = min(model.n_embeddings, model.output_width)
    if largest_id >= known:
        raise InputError(
            f"{where}: holds id {largest_id}, but model {model.name.label} knows {known} ids: "
            "it was not made for this tokenizer"
        )


def check_tokenizer(vocabulary: Vocabulary | None, found: FoundModel, where: AnyPath) -> None:
    """Raises InputError if the model comes with a tokenizer whose ids stand for other tokens than the corpus's."""
    if vocabulary is None or (expected := found.vocabulary()) is None:
        return
    both = list(enumerate(zip(vocabulary.token_bytes, expected.token_bytes, strict=False)))
    different = [id_ for id_, (here, there) in both if here != there]
    # Versions of one tokenizer differ in a few special tokens; two tokenizers, in nearly all but single bytes.
    if len(different) > len(both) // 10:
        here, there = (vocab.text(different[-1:]) for vocab in (vocabulary, expected))
        raise InputError(
            f"{where}: was made with another tokenizer than model {found.path}: id {different[-1]} is {here!r}, and "
            f"{there!r} to the model: tokenize with --tokenizer {found.path}"
        )
