"""Undoes the compressions of MDS shards: zstd, gzip, brotli, snappy (the bare format, without frames) and bzip2.

The number of bytes that must come out is known beforehand, but from an index that may be damaged: no more
memory is taken than the compressed bytes can fill.
"""

import bz2
from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pyarrow as pa
from isal import isal_zlib
from numpy.typing import NDArray

_GZIP_WINDOW = 31
"""Asks zlib for gzip's header and checksum."""
_USUAL_RATIO = 16
"""What compresses better than this is taken in pieces, lest the memory be for a size that is wrong."""
_SNAPPY_RATIO = 24
"""Snappy's best: copies of 64 bytes that take 3."""
_PIECE_BYTES = 1 << 20
DAMAGE: tuple[type[Exception], ...] = (OSError, ValueError, EOFError, cast(type[Exception], isal_zlib.error))
"""What ``decompress`` raises."""


def decompress(codec: str, stored: memoryview, n_bytes: int) -> NDArray[np.uint8]:
    """The ``n_bytes`` that ``stored`` holds. Raises one of DAMAGE where it does not hold so many."""
    unpacked = np.frombuffer(CODECS[codec](stored, n_bytes), np.uint8)
    if len(unpacked) != n_bytes:
        raise ValueError(f"it does not hold {n_bytes} bytes")
    return unpacked


def _zstd(stored: memoryview, n_bytes: int) -> Any:
    if n_bytes > _USUAL_RATIO * len(stored) + _PIECE_BYTES:
        return _in_pieces("zstd", stored, n_bytes)
    return pa.Codec("zstd").decompress(stored, n_bytes)


def _brotli(stored: memoryview, n_bytes: int) -> Any:
    # Arrow's codec at once would not tell how much came out.
    return _in_pieces("brotli", stored, n_bytes)


def _snappy(stored: memoryview, n_bytes: int) -> Any:
    if n_bytes > _SNAPPY_RATIO * len(stored) or n_bytes != _snappy_size(stored):
        raise ValueError(f"it does not hold {n_bytes} bytes")
    return pa.Codec("snappy").decompress(stored, n_bytes)


def _snappy_size(stored: memoryview) -> int:
    """The size in front of the data: seven bits a byte, the lowest first, the top bit set on all but the last."""
    size = 0
    for i, byte in enumerate(stored[:5]):
        size |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            break
    return size


def _gzip(stored: memoryview, n_bytes: int) -> Any:
    stream = isal_zlib.decompressobj(_GZIP_WINDOW)
    return _ended(stream, stream.decompress(stored, n_bytes + 1))


def _bzip2(stored: memoryview, n_bytes: int) -> Any:
    stream = bz2.BZ2Decompressor()
    return _ended(stream, stream.decompress(stored, n_bytes + 1))


def _ended(stream: Any, unpacked: bytes) -> bytes:
    """What came out of a stream whose checksum is at its end, and must have been seen."""
    if not stream.eof or stream.unused_data:
        raise ValueError("it ends elsewhere than its data")
    return unpacked


def _in_pieces(codec: str, stored: memoryview, n_bytes: int) -> bytes:
    pieces = []
    with pa.CompressedInputStream(pa.BufferReader(stored), codec) as stream:
        while n_bytes >= 0 and (piece := stream.read(_PIECE_BYTES)):
            pieces.append(piece)
            n_bytes -= len(piece)
    return b"".join(pieces)


CODECS: dict[str, Callable[[memoryview, int], Any]] = {
    "zstd": _zstd,
    "gz": _gzip,
    "br": _brotli,
    "snappy": _snappy,
    "bz2": _bzip2,
}
"""By the name that stands in an index, without the level behind its colon."""
