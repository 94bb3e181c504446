"""Ids as integers: their order is that of the ids."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from taskcatalog.ids import bits_of, packed, searchable


def test_bits_hold_every_id_and_no_more() -> None:
    for n_ids in [1, 2, 3, 255, 256, 257, 50_304, 65_536, 65_537, 1 << 32]:
        bits = bits_of(n_ids)
        assert n_ids - 1 < 1 << bits
        assert bits == 1 or n_ids - 1 >= 1 << (bits - 1)


@given(data=st.data(), n=st.integers(1, 9), n_ids=st.sampled_from([1, 2, 3, 300, 65_536, 65_537, 1 << 32]))
def test_packed_rows_are_in_the_order_of_their_ids(data: st.DataObject, n: int, n_ids: int) -> None:
    """In as many numbers as it takes, and as what NumPy sorts and searches."""
    few = data.draw(st.lists(st.integers(0, n_ids - 1), min_size=1, max_size=3))
    rows = data.draw(arrays(np.int64, (12, n), elements=st.sampled_from(few)))
    words = packed(rows, bits_of(n_ids))
    assert len(words) == -(-n // (64 // bits_of(n_ids)))
    tuples = [tuple(row) for row in rows.tolist()]
    expected = sorted(range(len(rows)), key=lambda i: tuples[i])
    assert np.lexsort(words[::-1]).tolist() == expected
    here, wanted = searchable(rows, rows[::-1])
    assert np.argsort(here, kind="stable").tolist() == expected
    assert ((here == wanted) == (rows == rows[::-1]).all(1)).all()
