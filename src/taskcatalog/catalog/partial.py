"""Whether a catalog's tables of n-grams are about all of its store."""

from taskcatalog.catalog.folder import CatalogFolder
from taskcatalog.runs.ledger import Ledger


def partial_ngrams(folder: CatalogFolder) -> str | None:
    """One line that says what of the store was counted, where it is not all."""
    if not Ledger.exists(folder.ngrams):
        return None
    ledger = Ledger.read(folder.ngrams)
    if not ledger.complete or "store_tokens" not in ledger.facts:
        return None
    counted, there, start = ledger.facts["tokens"], ledger.facts["store_tokens"], ledger.settings["start"]
    return f"its n-grams are of {counted:,} of the {there:,} tokens of its store, from token {start:,} on"
