"""The document that a token is in, of every kind of store, against the corpus itself."""

import json
from pathlib import Path

import numpy as np
import pytest

import taskcatalog as tc
from helpers import library_texts, write_jsonl
from mds_sets import write_ids
from taskcatalog.embedded.standard_library import standard_library_sources
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.stores import document
from taskcatalog.stores.document import Document, UnknownDocumentError
from test_megatron import write_mapped
from test_stores import write_datatrove


def test_a_token_leads_to_its_text(demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and lines, empty ones among them, in several parts of a store."""
    monkeypatch.setattr("taskcatalog.tokenizing.stage._SMALLEST_PART", 1 << 14)
    texts = ["", *library_texts(30), "", ""]
    lines = [json.dumps({"text": text, "from": f"source {i}"}) for i, text in enumerate(texts)]
    (tmp_path / "lines.jsonl").write_text("".join(f"{line}\n" for line in lines))
    sources = standard_library_sources()[30:50]
    tc.tokenize(
        [str(tmp_path / "lines.jsonl"), *map(str, sources)],
        tmp_path / "store",
        str(demo_data),
        tc.TokenizeSettings(sequence_length=100, meta="from", separator="none"),
    )
    store = tc.open_store(tmp_path / "store")
    assert len(list((tmp_path / "store/tokens").iterdir())) > 1
    sequences = store.read(0, store.n_sequences)
    everything, starts = sequences.tokens, sequences.document_starts
    assert starts is not None
    whole = [Document(index=-1)]
    for token in sorted({*range(0, store.n_tokens, 997), store.n_tokens - 1}):
        found = store.document_at(token)
        if found == whole[-1]:
            continue
        whole.append(found)
        assert found.source is not None
        assert found.first_token is not None
        assert found.n_tokens is not None
        assert found.first_token <= token < found.first_token + found.n_tokens
        ids = everything[found.first_token : found.first_token + found.n_tokens]
        assert store.vocabulary is not None
        if found.source.endswith("lines.jsonl"):
            assert found.place is not None
            assert found.meta == f"source {found.place - 1}"
            text = texts[found.place - 1]
        else:
            assert (found.place, found.meta) == (0, None)
            text = Path(found.source).read_text()
        assert store.vocabulary.text(ids) == text
        assert found.index is not None
        assert starts[found.index] == found.first_token
    assert len(whole) > 20
    assert store.sequence_at(999) == (9, 900)
    with pytest.raises(SettingsError, match="has tokens 0 to"):
        store.document_at(store.n_tokens)


def bounds_at(bounds: list[int], token: int) -> Document:
    """The last document that begins at a token or before, from where all begin and the last one ends."""
    index = max(i for i, start in enumerate(bounds[:-1]) if start <= token)
    return Document(index=index, first_token=bounds[index], n_tokens=bounds[index + 1] - bounds[index])


def test_indexed_streams(tmp_path: Path) -> None:
    """Megatron's documents are of one item or several; datatrove's are in several files; some are empty."""
    lengths = [3, 0, 5, 9, 1, 0, 2]
    ids = np.arange(sum(lengths), dtype=np.int32)
    write_mapped(tmp_path / "set", ids, lengths, [0, 3, 3, 8, 17, 18, 18], [0, 1, 3, 4, 7])
    megatron = tc.open_store(tmp_path / "set.idx")
    for token in range(len(ids)):
        assert megatron.document_at(token) == bounds_at([0, 3, 8, 17, 20], token)
    (tmp_path / "d").mkdir()
    write_datatrove(tmp_path / "d/0.ds", [[1, 2], [], [3]], 2)
    write_datatrove(tmp_path / "d/1.ds", [[], [4, 5, 6]], 2)
    datatrove = tc.open_store(tmp_path / "d")
    for token in range(6):
        assert datatrove.document_at(token) == bounds_at([0, 2, 2, 3, 3, 6], token)


def test_end_of_text_ids(demo_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flat file knows where documents begin where a tokenizer says which id ends them."""
    monkeypatch.setattr(document, "_TOKENS_AT_ONCE", 7)
    options = tc.StoreOptions(tokenizer=str(demo_data))
    end = 0
    for text in ([5, 6, end, 7, *[8] * 40, end, end, 9], [end], [4] * 30, [*[4] * 20, end]):
        np.array(text, np.uint16).tofile(tmp_path / "a.bin")
        store = tc.open_store(tmp_path / "a.bin", options)
        assert store.identity.end_of_text == end
        bounds = [0, *(i + 1 for i, id_ in enumerate(text) if id_ == end)]
        bounds += [len(text)] * (bounds[-1] != len(text))
        for token in range(len(text)):
            expected = bounds_at(bounds, token)
            assert store.document_at(token) == Document(first_token=expected.first_token, n_tokens=expected.n_tokens)
    with pytest.raises(UnknownDocumentError, match="--tokenizer tells the end-of-text id"):
        tc.open_store(tmp_path / "a.bin").document_at(0)


@pytest.mark.parametrize("same_size", [True, False])
def test_samples(tmp_path: Path, same_size: bool) -> None:
    """An MDS set tells the shard and the sample."""
    lengths = [4] * 25 if same_size else np.random.default_rng(1).integers(0, 9, 25).tolist()
    sequences = [np.full(length, i, np.uint16) for i, length in enumerate(lengths)]
    store = tc.open_store(write_ids(tmp_path / "m", sequences, per_shard=10))
    token = 0
    for i, length in enumerate(lengths):
        for _ in range(length):
            found = store.document_at(token)
            assert found.source is not None
            assert (Path(found.source).name, found.place) == (f"shard.{i // 10:05d}.mds", i % 10 + 1)
            assert store.sequence_at(token) == (i, sum(lengths[:i]))
            token += 1
    with pytest.raises(SettingsError, match="has tokens 0 to"):
        store.document_at(token)


def test_an_index_that_does_not_fit(demo_data: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", library_texts(3))
    tc.tokenize([tmp_path / "a.jsonl"], tmp_path / "store", str(demo_data))
    [index] = (tmp_path / "store/documents").iterdir()
    store = tc.open_store(tmp_path / "store")
    content = index.read_bytes()
    index.write_bytes(content[:-3] + b"xxx")
    with pytest.raises(InputError, match=index.name):
        store.document_at(5)
