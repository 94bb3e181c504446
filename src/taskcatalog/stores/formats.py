"""The formats of stores, in the order in which a path is tried: a new one is a file beside this one and a line here."""

from taskcatalog.storage import AnyPath
from taskcatalog.stores.datatrove import DATATROVE
from taskcatalog.stores.flat import FLAT
from taskcatalog.stores.format import StoreFormat, StoreOptions
from taskcatalog.stores.mds import MDS
from taskcatalog.stores.megatron import MEGATRON
from taskcatalog.stores.token_store import TOKEN_STORE

FORMATS = (
    TOKEN_STORE,
    MDS,
    MEGATRON,
    DATATROVE,
    FLAT,
)


def format_at(path: AnyPath, options: StoreOptions) -> StoreFormat | None:
    """The format of what is there; None where it is of none."""
    return next((each for each in FORMATS if each.detect(path, options)), None)
