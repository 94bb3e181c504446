"""A sample of an MDS set is one document: its column of text."""

from collections.abc import Iterator

from taskcatalog.documents.batch import BATCH_DOCUMENTS, Batch, Reading, in_pieces
from taskcatalog.documents.source import Chunk, Format
from taskcatalog.errors import InputError
from taskcatalog.storage import exists, locate, read_bytes


def _detect(name: str) -> bool:
    index = locate(name) / "index.json"
    return exists(index) and b'"shards"' in read_bytes(index)


def _read(chunk: Chunk, reading: Reading) -> Iterator[Batch]:
    """The documents of a folder of MDS shards; a place is the number of the sample in its shard, from 1."""
    from taskcatalog.stores.mds import read_mds_texts  # takes its time to load, which other formats do not wait for

    try:
        for shard in read_mds_texts(locate(chunk.source.name), reading.field):
            for start in range(0, len(shard.texts), BATCH_DOCUMENTS):
                some = shard.texts[start : start + BATCH_DOCUMENTS].to_pylist()
                places = list(range(start + 1, start + 1 + len(some)))
                yield from in_pieces(Batch(str(shard.shard), some, places, [None] * len(some)), reading)
    except InputError as error:
        reading.problems.met(error)


MDS = Format(
    name="mds",
    source="a folder of MDS shards with a column of text",
    documents="one a sample",
    read=_read,
    detect=_detect,
)
