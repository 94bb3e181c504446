"""What a model says of the completions of n-grams: the last token of each, after the tokens before it."""

from collections.abc import Generator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from taskcatalog.errors import SettingsError
from taskcatalog.lm.forward import PromptRunner
from taskcatalog.lm.load import PYTHIA, Dtype, FoundModel, find_model
from taskcatalog.lm.measures import Answer, answers
from taskcatalog.lm.model import LanguageModel
from taskcatalog.storage import names_of

ANSWERS = tuple(field.name for field in fields(Answer))


def find_models(
    models: str | Path | Sequence[str | Path],
    *,
    revision: str | None,
    revisions: Sequence[str],
    label: str | None,
    device: str,
    dtype: Dtype,
) -> list[FoundModel]:
    """Each of these models, at each of the ``revisions``. Raises SettingsError for two of one label, and as
    ``find_model``."""
    names = [single for name in names_of(models, "model") for single in (PYTHIA if name == "pythia" else [name])]
    if revision is not None and revisions:
        raise SettingsError(f"revision {revision!r} and revisions {', '.join(revisions)}: give one or the other")
    series: list[str | None] = [*revisions] or [revision]
    asked = [(name, one) for name in names for one in series]
    if label is not None and len(asked) > 1:
        raise SettingsError(f"label {label!r} is for one model, and {len(asked)} were given")
    found = [find_model(name, revision=one, device=device, dtype=dtype, label=label) for name, one in asked]
    labels = [model.name.label for model in found]
    if len({one.lower() for one in labels}) < len(labels):
        raise SettingsError(f"two models would have the same label ({', '.join(labels)}): predict them one by one")
    return found


def answered(
    model: LanguageModel, grams: NDArray[Any], bos_id: int | None = None
) -> Generator[int, None, tuple[dict[str, NDArray[Any]], NDArray[np.bool_]]]:
    """The answers about n-grams (rows, n), sorted by ids and distinct, each (rows,) by name, and the rows (rows,)
    where all of them are finite numbers. Yields how many n-grams were asked about, on the way."""
    is_new = np.ones(len(grams), np.bool_)
    is_new[1:] = (grams[1:, :-1] != grams[:-1, :-1]).any(1)
    prefixes, which = grams[is_new, :-1], np.cumsum(is_new) - 1
    completions = torch.from_numpy(grams[:, -1].astype(np.int64)).to(model.device)
    parts = []
    for batch, hidden in PromptRunner(model, prefixes.shape[1], bos_id).batches(prefixes):
        first, last = np.searchsorted(which, [batch.start, batch.stop]).tolist()
        step = max(1, len(hidden))  # where completions share prefixes, no more states at once than there were
        for begin in range(first, max(last, first + 1), step):
            rows = slice(begin, min(begin + step, last))
            shared = torch.from_numpy(which[rows] - batch.start).to(hidden.device)
            states = hidden if last - first == len(hidden) else hidden[shared]
            parts.append(answers(model, states, completions[rows]))
            yield len(states)
    columns = {name: np.concatenate([getattr(one, name).cpu().numpy() for one in parts]) for name in ANSWERS}
    return columns, np.logical_and.reduce([np.isfinite(values) for values in columns.values()])
