"""A sample of an MDS set is one document: its column of text."""

from collections.abc import Iterator

from taskcatalog.documents.batch import BATCH_DOCUMENTS, Batch, Reading, in_pieces
from taskcatalog.errors import InputError
from taskcatalog.storage import locate
from taskcatalog.stores.mds import read_mds_texts


def read_mds(name: str, reading: Reading) -> Iterator[Batch]:
    """The documents of a folder of MDS shards; a place is the number of the sample in its shard, from 1."""
    try:
        for shard in read_mds_texts(locate(name), reading.field):
            for start in range(0, len(shard.texts), BATCH_DOCUMENTS):
                some = shard.texts[start : start + BATCH_DOCUMENTS].to_pylist()
                places = list(range(start + 1, start + 1 + len(some)))
                yield from in_pieces(Batch(str(shard.shard), some, places, [None] * len(some)), reading)
    except InputError as error:
        reading.problems.met(error)
