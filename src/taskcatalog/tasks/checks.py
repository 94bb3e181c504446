"""Whether a model can be asked about a corpus."""

from taskcatalog.errors import InputError
from taskcatalog.lm.model import LanguageModel
from taskcatalog.storage import AnyPath


def check_ids_known(largest_id: int, model: LanguageModel, where: AnyPath) -> None:
    """Raises InputError if the model has no embedding or no output for an id that it will be asked about."""
    known = min(model.n_embeddings, model.output_width)
    if largest_id >= known:
        raise InputError(
            f"{where}: holds id {largest_id}, but model {model.name.label} knows {known} ids: "
            "it was not made for this tokenizer"
        )
