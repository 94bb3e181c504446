"""The encodings of MDS columns that hold ids or texts: what the bytes of a value mean.

=======================================================  ====================================================
encoding                                                 read as
=======================================================  ====================================================
``ndarray:TYPE:SHAPE``                                   ids, of one type and number
``ndarray:TYPE``, ``ndarray``                            ids: each array says its own shape (and type)
``bytes``                                                ids or a text
``str``, ``json``, ``str_int``, ``str_float``,           a text: numbers that are written as text stay text,
``str_decimal``                                          which holds any of them
=======================================================  ====================================================

All else (single numbers, ``pkl``, ``jpeg``, ``png``, ``pil``, lists of these, encodings that somebody added) may stand
beside these and is passed over: nothing is unpickled or interpreted. All numbers are little-endian.

An array that says its own shape begins with a byte, ``number of axes << 2 | w``, and the length of each axis in
1, 2, 4 or 8 bytes for w = 0 to 3. One that says its own type has a byte for it in front of that.
"""

import re
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taskcatalog.errors import InputError
from taskcatalog.stores.mds_format import Shard, Spans, read_integers, value_spans

TEXTS = ("str", "json", "str_int", "str_float", "str_decimal")
_TYPE_CODES = {
    8: "uint8", 9: "int8", 16: "uint16", 17: "int16", 18: "float16", 32: "uint32", 33: "int32", 34: "float32",
    64: "uint64", 65: "int64", 66: "float64",
}  # fmt: skip


@dataclass(frozen=True)
class NumberEncoding:
    """What an encoding says of the array that each value is."""

    dtype: np.dtype[Any] | None
    """None where each array says its own."""
    shape: tuple[int, ...] | None
    """None where each array says its own."""


@dataclass(frozen=True)
class Arrays:
    """Arrays that each have their own shape, and may have their own type."""

    values: Spans
    """The bytes of their numbers."""
    type_codes: NDArray[np.uint8]

    @property
    def first_dtype(self) -> np.dtype[Any]:
        return _dtype(_TYPE_CODES[int(self.type_codes[0])])

    @property
    def dtypes(self) -> list[np.dtype[Any]]:
        """All types that occur."""
        return [_dtype(_TYPE_CODES[code]) for code in np.unique(self.type_codes).tolist()]


def number_encoding(encoding: str) -> NumberEncoding | None:
    """What an encoding says if its values are arrays of numbers, else None."""
    match = re.fullmatch(r"ndarray(?::(\w+)(?::([0-9]{1,10}(?:,[0-9]{1,10}){0,62}))?)?", encoding)
    if match is None or match[1] not in (None, *_TYPE_CODES.values()):
        return None
    shape = tuple(int(length) for length in match[2].split(",")) if match[2] else None
    return NumberEncoding(_dtype(match[1]) if match[1] else None, shape)


def read_texts(shard: Shard, raw: NDArray[np.uint8], name: str) -> pa.Array:
    """A column of text, or of bytes that are UTF-8. Raises InputError that names the first value that is not."""
    values = _read_bytes(shard, raw, name)
    texts = pa.Array.from_buffers(pa.large_string(), len(values), values.buffers())
    try:
        texts.validate(full=True)
    except pa.ArrowInvalid as error:
        at = next((i for i, value in enumerate(values) if not _is_utf8(value.as_py())), 0)
        raise InputError(f"{shard.stored.path}: sample {at}: its column {name!r} is not UTF-8") from error
    return texts


def read_arrays(shard: Shard, raw: NDArray[np.uint8], name: str) -> Arrays:
    """A column of arrays that say their own shape. Raises InputError where one does not have the bytes for it."""
    spans, numbers = value_spans(shard, raw, name), number_encoding(shard.column(name).encoding)
    assert numbers is not None
    assert numbers.shape is None
    at, ends = spans.starts.copy(), spans.starts + spans.sizes
    types = _type_codes(shard, raw, at, ends, numbers.dtype)
    if numbers.dtype is None:
        at += 1
    _require(shard, at < ends, "has no shape in front of its array")
    shapes = raw[at]
    lengths = at + 1
    values = lengths + (shapes >> 2).astype(np.int64) * (1 << (shapes & 3).astype(np.int64))
    _require(shard, values <= ends, "has an array whose shape is cut off")
    widths = np.array([_dtype(_TYPE_CODES.get(code, "uint8")).itemsize for code in range(max(_TYPE_CODES) + 1)])
    right = _sizes(raw, shapes, lengths) * widths[types].astype(np.uint64) == (ends - values).astype(np.uint64)
    _require(shard, right, "has an array whose shape and size do not fit together")
    return Arrays(Spans(raw, values, ends - values), types)


def number_spans(shard: Shard, raw: NDArray[np.uint8], name: str) -> Spans:
    """Where the numbers of a column of one type and shape are. Raises InputError where they have another size."""
    column = shard.column(name)
    numbers = number_encoding(column.encoding)
    assert numbers is not None
    assert numbers.dtype is not None
    assert numbers.shape is not None
    size = prod(numbers.shape) * numbers.dtype.itemsize
    if column.size != size:
        raise InputError(
            f"{shard.index}: says that {column.encoding} of the column {name!r} takes {column.size} bytes, "
            f"not {size}: the index is damaged"
        )
    return value_spans(shard, raw, name)


def gather(spans: Spans, target: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
    """The bytes of all values, one after the other; into ``target`` if there is one, which must be as long."""
    if target is None:
        target = np.empty(int(spans.sizes.sum()), np.uint8)
    assert len(target) == spans.sizes.sum()
    from taskcatalog.stores.kernels import copy_values

    copy_values(spans.raw, spans.starts, spans.sizes, target)
    return target


def _read_bytes(shard: Shard, raw: NDArray[np.uint8], name: str) -> pa.Array:
    spans = value_spans(shard, raw, name)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(spans.sizes)])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(gather(spans))]
    return pa.Array.from_buffers(pa.large_binary(), len(spans.sizes), buffers)


def _type_codes(
    shard: Shard, raw: NDArray[np.uint8], at: NDArray[np.int64], ends: NDArray[np.int64], dtype: np.dtype[Any] | None
) -> NDArray[np.uint8]:
    """The byte for the type of each array: what stands at ``at``, or what the encoding says."""
    if dtype is not None:
        code = next(code for code, name in _TYPE_CODES.items() if name == dtype.name)
        return np.full(len(at), code, np.uint8)
    _require(shard, at < ends, "has no type in front of its array")
    codes = raw[at]
    _require(shard, np.isin(codes, list(_TYPE_CODES)), "has an array of a type that is not known")
    return codes


def _sizes(raw: NDArray[np.uint8], shapes: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.uint64]:
    """How many numbers the shapes say; what no shard has room for counts as one more than it has bytes."""
    too_many = np.uint64(len(raw) + 1)
    sizes = np.ones(len(shapes), np.uint64)
    for code in np.unique(shapes).tolist():
        rows, width = np.flatnonzero(shapes == code), 1 << (code & 3)
        for axis in range(code >> 2):
            length = read_integers(raw, lengths[rows] + axis * width, width).view(np.uint64)
            # Both factors are at most 2**32, of which one is less: the product is within 64 bits.
            sizes[rows] = np.minimum(sizes[rows] * np.minimum(length, too_many - np.uint64(1)), too_many)
    return sizes


def _require(shard: Shard, right: NDArray[np.bool_], wrong: str) -> None:
    if not right.all():
        raise InputError(f"{shard.stored.path}: sample {int(np.argmin(right))} {wrong}: the shard is damaged")


def _dtype(name: str) -> np.dtype[Any]:
    return np.dtype(name).newbyteorder("<")


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
