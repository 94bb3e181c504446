"""A Parquet file's bytes depend on its rows, not on how they were handed over."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taskcatalog.tables.parquet import list_array, table_writer

SCHEMA = pa.schema([pa.field("a", pa.uint32(), nullable=False)])


def written(path: Path, rows: list[int], cuts: list[int]) -> bytes:
    with table_writer(path, SCHEMA, row_group_rows=7) as writer:
        for part in np.split(np.array(rows, np.uint32), sorted(cut % (len(rows) + 1) for cut in cuts)):
            writer.write({"a": part})
    assert writer.n_rows == len(rows)
    return path.read_bytes()


@settings(max_examples=50, deadline=None)
@given(rows=st.lists(st.integers(0, 2**32 - 1), max_size=40), cuts=st.lists(st.integers(0, 100), max_size=6))
def test_bytes_do_not_depend_on_batches(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], cuts: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("parquet")
    assert written(folder / "one", rows, []) == written(folder / "many", rows, cuts)
    assert pq.read_table(folder / "many")["a"].to_pylist() == rows
    groups = pq.read_metadata(folder / "many")
    assert [groups.row_group(i).num_rows for i in range(groups.num_row_groups)] == [
        min(7, len(rows) - start) for start in range(0, len(rows), 7)
    ]


def test_nothing_appears_if_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), table_writer(tmp_path / "t", SCHEMA) as writer:
        writer.write({"a": [1 // 0]})
    assert list(tmp_path.iterdir()) == []


def test_list_array() -> None:
    rows = np.arange(6, dtype=np.uint16).reshape(2, 3)
    assert list_array(rows).to_pylist() == rows.tolist()
    assert list_array(rows[:0]).to_pylist() == []
