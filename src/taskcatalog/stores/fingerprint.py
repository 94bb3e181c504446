"""A name for the content of files that carry no checksums of their own."""

import hashlib
from collections.abc import Iterator, Sequence

from taskcatalog.storage import AnyPath, read_bytes, size_of
from taskcatalog.stores.id_file import side_by_side

_BLOCK = 65_536
_BLOCKS = 256
"""Of all files together, unless they are more."""
_BLOCKS_OF_A_FILE = 64


def fingerprint_of_files(files: Sequence[AnyPath], layout: str, sizes: Sequence[int] | None = None) -> str:
    """SHA-256 over the layout, each file's name and size, and evenly spaced blocks of them.

    It tells stores apart without reading them whole. It is no proof that every byte is the same. ``sizes`` are
    the files' bytes, where they are known already.
    """
    if sizes is None:
        sizes = side_by_side(size_of, files)
    digest = hashlib.sha256(layout.encode())
    for path, size in zip(files, sizes, strict=True):
        digest.update(f"\n{path.name} {size}\n".encode())
    for block in side_by_side(_digest, _blocks(files, sizes)):
        digest.update(block)
    return digest.hexdigest()


def _digest(block: tuple[AnyPath, int, int]) -> bytes:
    return hashlib.sha256(read_bytes(*block)).digest()


def _blocks(files: Sequence[AnyPath], sizes: Sequence[int]) -> Iterator[tuple[AnyPath, int, int]]:
    """Up to 64 blocks of a file, fewer where there are many files, but one at least.

    Each is the last of its share of the file: what formats put in front tells less.
    """
    in_file = max(1, min(_BLOCKS_OF_A_FILE, _BLOCKS // max(1, len(files))))
    for path, size in zip(files, sizes, strict=True):
        step = max(_BLOCK, -(-size // in_file))
        for start in range(0, size, step):
            stop = min(start + step, size)
            yield path, max(start, stop - _BLOCK), stop
