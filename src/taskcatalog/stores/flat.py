"""A flat file of ids: little-endian, of one type, nothing else, as many training codes write it."""

from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath, is_file
from taskcatalog.stores.format import StoreFormat, StoreOptions
from taskcatalog.stores.id_file import IdFiles
from taskcatalog.stores.megatron import whole_of_piece
from taskcatalog.stores.stream_store import StreamStore
from taskcatalog.vocabulary import Vocabulary


def _detect(path: AnyPath, options: StoreOptions) -> bool:  # noqa: ARG001 a format's detect
    return path.suffix == ".bin" and is_file(path)


def _open(path: AnyPath, options: StoreOptions, vocabulary: Vocabulary | None) -> StreamStore:
    """One ``.bin`` file, cut into sequences of one length, 2,048 if none is given.

    Raises InputError where the file does not hold a whole number of ids, or is a piece of a Megatron dataset.
    """
    if not options.sequence_length and (whole := whole_of_piece(path)):
        raise InputError(
            f"{path}: is one piece of a Megatron dataset: {whole} opens all of it; "
            "--sequence-length N opens this piece alone, as a flat file"
        )
    ids = IdFiles([path], options.id_dtype or "uint16")
    return StreamStore(
        path,
        ids,
        len(ids),
        sequence_length=options.sequence_length,
        vocabulary=vocabulary,
        files=[path],
        layout=f"flat {ids.dtype.name}",
    )


FLAT = StoreFormat(
    name="a flat file",
    found_by="`.bin`",
    notes="one row of ids; `--id-dtype`",
    detect=_detect,
    open=_open,
    refuses={"column": "a flat file has no columns"},
)
