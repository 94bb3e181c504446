"""A flat file of ids: little-endian, of one type, nothing else, as many training codes write it."""

from numpy.typing import DTypeLike

from taskcatalog.storage import AnyPath
from taskcatalog.stores.id_file import IdFiles
from taskcatalog.stores.stream_store import StreamStore
from taskcatalog.vocabulary import Vocabulary


def open_flat(
    path: AnyPath, dtype: DTypeLike, sequence_length: int | None, vocabulary: Vocabulary | None
) -> StreamStore:
    """One ``.bin`` file, cut into sequences of one length, 2,048 if none is given.

    Raises InputError where the file does not hold a whole number of ids.
    """
    ids = IdFiles([path], dtype)
    return StreamStore(
        path,
        ids,
        len(ids),
        sequence_length=sequence_length,
        vocabulary=vocabulary,
        files=[path],
        layout=f"flat {ids.dtype.name}",
    )
