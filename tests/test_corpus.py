"""Documents, tokenizing and the kinds of store, on real files, against the libraries that made them."""

from pathlib import Path

import numpy as np
import pytest

import taskcatalog as tc
from taskcatalog.corpus.store import Store
from taskcatalog.errors import InputError


def all_tokens(store: Store) -> list[int]:
    tokens: list[int] = store.read(0, store.n_sequences).tokens.tolist()
    return tokens


def test_mds_and_flat_hold_the_same(shared: Path, tmp_path: Path) -> None:
    mds = tc.open_store(shared / "mds/pile_layout_raw")
    np.array(all_tokens(mds), "<u2").tofile(tmp_path / "flat.bin")
    flat = tc.open_store(tmp_path / "flat.bin")
    assert flat.n_sequences == mds.n_sequences
    assert all_tokens(flat) == all_tokens(mds)


def cut(path: Path, n_bytes: int) -> None:
    path.write_bytes(path.read_bytes()[:-n_bytes])


def flip(path: Path, at: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[at] ^= 0xFF
    path.write_bytes(raw)


def test_bad_stores(tmp_path: Path) -> None:
    (tmp_path / "odd.bin").write_bytes(b"123")
    with pytest.raises(InputError, match=r"odd.bin: has 3 bytes, which is no whole number of uint16 ids"):
        tc.open_store(tmp_path / "odd.bin")
    with pytest.raises(InputError, match=r"nothing: does not exist"):
        tc.open_store(tmp_path / "nothing")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: is no token store, MDS folder or .bin file"):
        tc.open_store(tmp_path / "folder")


def test_ids_beyond_the_vocabulary(tmp_path: Path, demo_data: Path) -> None:
    np.array([1, 2, 3, 4, 9_000, 5], np.uint16).tofile(tmp_path / "flat.bin")
    options = tc.StoreOptions(tokenizer=str(demo_data), sequence_length=3)
    message = r"flat.bin: sequence 1, token 1: id 9000 is beyond the vocabulary of 8192 ids"
    with pytest.raises(InputError, match=message):
        tc.ngrams(tmp_path / "flat.bin", tmp_path / "c", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["flat.bin"]
    [problem] = tc.verify(tmp_path / "flat.bin", options)
    assert "id 9000 is beyond" in problem


def test_a_damaged_token_store(demo_data: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("import os\n" * 1_000)
    tc.tokenize(tmp_path / "a.txt", tmp_path / "store", str(demo_data))
    tokens = tmp_path / "store/tokens/00000.bin"
    flip(tokens, 100)
    [problem] = tc.verify(tmp_path / "store")
    assert "00000.bin: its content is not what the ledger says" in problem
    cut(tokens, 2)
    with pytest.raises(InputError, match=r"00000.bin: has \d+ bytes, the ledger says"):
        tc.ngrams(tmp_path / "store", tmp_path / "c")
    tokens.unlink()
    with pytest.raises(InputError, match=r"00000.bin: is missing"):
        tc.ngrams(tmp_path / "store", tmp_path / "c")
    assert not (tmp_path / "c").exists()
