"""Counts, documents and first places of given prompts, against a naive search."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import taskcatalog as tc
from helpers import library_texts, write_jsonl
from taskcatalog.counting import windows
from taskcatalog.counting.occurrences import Occurrences, count_occurrences
from taskcatalog.storage import AnyPath
from taskcatalog.stores.identity import StoreIdentity
from taskcatalog.stores.store import Sequences, Store
from taskcatalog.vocabulary import Vocabulary

Found = tuple[int, int | None, list[int]]


@dataclass
class Rows:
    """A store of some sequences; ``starts`` are the tokens at which documents begin, or None."""

    rows: list[list[int]]
    vocabulary_size: int
    starts: list[int] | None
    length: int
    """What the store says of its sequences: the length of most, or of the first."""
    late: bool = False
    """Whether a document that begins behind what is read is told with that, as from ids that end documents."""
    path: AnyPath = Path("rows")
    vocabulary: Vocabulary | None = None
    stamp: str = ""

    def stamp_now(self) -> str:
        return self.stamp

    @property
    def identity(self) -> StoreIdentity:
        return StoreIdentity(
            fingerprint="", sequence_length=self.length, vocabulary_size=self.vocabulary_size, end_of_text=None
        )

    @property
    def n_sequences(self) -> int:
        return len(self.rows)

    @property
    def n_tokens(self) -> int:
        return sum(map(len, self.rows))

    def read(self, start: int, stop: int) -> Sequences:
        before = sum(map(len, self.rows[:start]))
        rows = self.rows[start:stop]
        tokens: NDArray[Any] = np.array([id_ for row in rows for id_ in row], self.identity.id_dtype)
        starts = None
        if self.starts is not None:
            places = np.array(self.starts, np.int64) - before
            there = (places > 0) & (places <= len(tokens)) if self.late else (places >= 0) & (places < len(tokens))
            starts = places[there]
        return Sequences(tokens, np.cumsum([len(row) for row in rows], dtype=np.int64), starts)


def naive(store: Rows, prompts: list[list[int]], most: int) -> list[Found]:
    """Looks at every window of every sequence for every prompt."""
    found = []
    for prompt in prompts:
        places, begin = [], 0
        for row in store.rows:
            windows = range(len(row) - len(prompt) + 1)
            places += [begin + i for i in windows if row[i : i + len(prompt)] == prompt]
            begin += len(row)
        documents = None
        if store.starts is not None or not store.rows:
            documents = len({sum(start <= place for start in store.starts or []) for place in places})
        found.append((len(places), documents, places[:most]))
    return found


def looked_for(store: Store, prompts: list[list[int]], most: int, **how: Any) -> list[Found]:
    ids = np.array([id_ for prompt in prompts for id_ in prompt], store.identity.id_dtype)
    lengths = np.array([len(prompt) for prompt in prompts], np.int64)
    given = {"workers": 1, "memory": 1 << 30} | how
    return as_rows(count_occurrences(store, ids, lengths, positions=most, **given))


def as_rows(found: Occurrences) -> list[Found]:
    documents = [None] * len(found.counts) if found.documents is None else found.documents.tolist()
    places = [[place for place in row if place >= 0] for row in found.positions.tolist()]
    return list(zip(found.counts.tolist(), documents, places, strict=True))


@st.composite
def stores(draw: st.DrawFn) -> Rows:
    """Uneven sequences of few ids from all over the vocabulary, or one; documents wherever, also empty ones."""
    vocabulary = draw(st.sampled_from([2, 300, 65_536, 65_537, 2**24]))
    ids = [*draw(st.lists(st.integers(0, vocabulary - 1), min_size=1, max_size=3)), vocabulary - 1]
    if draw(st.booleans()):
        rows = draw(st.lists(st.lists(st.sampled_from(ids), max_size=14), max_size=9))
    else:  # one that is read in parts
        rows = [draw(st.lists(st.sampled_from(ids), min_size=1, max_size=60))]
    n_tokens = sum(map(len, rows))
    late = draw(st.booleans())
    places = st.lists(st.integers(1 if late else 0, max(1, n_tokens - 1 + late)), max_size=8).map(sorted)
    starts = draw(st.none() | places)
    return Rows(rows, vocabulary, starts, max(1, *map(len, rows), 1) if rows else 1, late)


@settings(max_examples=100, deadline=None)
@given(
    data=st.data(),
    store=stores(),
    most=st.integers(1, 5),
    workers=st.integers(1, 5),
    at_once=st.integers(1, 40),
    memory=st.sampled_from([0, 1 << 30]),
)
def test_any_prompts_in_any_store(
    data: st.DataObject, store: Rows, most: int, workers: int, at_once: int, memory: int
) -> None:
    """Of several lengths, some twice, some of the store's own text; in any number of pieces."""
    ids = sorted({id_ for row in store.rows for id_ in row} | {0, store.vocabulary_size - 1})
    made = st.lists(st.sampled_from(ids), min_size=1, max_size=6)
    prompts = data.draw(st.lists(made, min_size=1, max_size=8))
    for row in store.rows:
        first = data.draw(st.integers(0, max(0, len(row) - 1)))
        if own := row[first : first + data.draw(st.integers(1, 40))]:
            prompts += [own, own]
    found = looked_for(store, prompts, most, workers=workers, memory=memory, tokens_at_once=at_once)
    assert found == naive(store, prompts, most)


def test_more_prompts_than_the_table_has_room_for_without_meeting() -> None:
    """Thousands of prompts, of which many share slots and bits of the filter, in blocks of many windows."""
    generator = np.random.default_rng(3)
    text = generator.integers(0, 40, 9_000)
    rows = [part.tolist() for part in np.split(text, [2, 3, 5_000])]
    starts = np.sort(generator.integers(0, 9_000, 50)).tolist()
    store = Rows(rows, 40, starts, 4_000)
    for n in (2, 3, 32):
        begins = generator.integers(0, 9_000 - n, 4_000)
        prompts = text[begins[:, None] + np.arange(n)].tolist()
        expected: dict[tuple[int, ...], list[int]] = {tuple(prompt): [] for prompt in prompts}
        begin = 0
        for row in rows:
            for i in range(len(row) - n + 1):
                if (window := tuple(row[i : i + n])) in expected:
                    expected[window].append(begin + i)
            begin += len(row)
        numbers = np.searchsorted(starts, np.arange(9_000), side="right")
        found = looked_for(store, prompts, 3, workers=2)
        assert found == [
            (len(places), len(set(numbers[places].tolist())), places[:3])
            for places in (expected[tuple(prompt)] for prompt in prompts)
        ]


def test_prompts_of_the_same_hash() -> None:
    """Ids that differ and hash alike, mod 2^64, are told apart by the ids."""
    x, y = _small_multiple(int(windows._BASE))
    first, second = [x + 1, max(0, -y)], [1, max(0, y)]
    hashes = {(a * int(windows._BASE) + b) % 2**64 for a, b in (first, second)}
    assert len(hashes) == 1
    store = Rows([[*first, *second, *first]], 2**32 - 1, [0, 2], 6)
    for prompts in ([first, second], [second], [first]):
        assert looked_for(store, prompts, 4) == naive(store, prompts, 4)


def _small_multiple(base: int) -> tuple[int, int]:
    """x > 0 and y, both of about 32 bits, such that x * base = y (mod 2^64): Euclid's algorithm, stopped half way."""
    large, small, before, x = 2**64, base, 0, 1
    while small >= 2**32:
        times = large // small
        large, small, before, x = small, large - times * small, x, before - times * x
    return (x, small) if x > 0 else (-x, -small)


def test_a_real_corpus(demo_data: Path, tmp_path: Path) -> None:
    """The standard library's source: prompts of all lengths from its text, in pieces of few sequences."""
    write_jsonl(tmp_path / "a.jsonl", library_texts(60))
    made = tc.tokenize(
        [tmp_path / "a.jsonl"], tmp_path / "store", str(demo_data), tc.TokenizeSettings(sequence_length=128)
    )
    opened = tc.open_store(tmp_path / "store")
    whole = opened.read(0, opened.n_sequences)
    text = whole.tokens.astype(np.int64)
    assert whole.document_starts is not None
    generator = np.random.default_rng(0)
    begins, lengths = generator.integers(0, len(text) - 32, 300), generator.integers(2, 33, 300)
    prompts = [text[begin : begin + n].tolist() for begin, n in zip(begins, lengths, strict=True)]
    found = looked_for(opened, prompts, 2, workers=2, tokens_at_once=4_000)
    for prompt, (count, documents, places) in zip(prompts, found, strict=True):
        n = len(prompt)
        same = np.logical_and.reduce([text[i : len(text) - n + 1 + i] == id_ for i, id_ in enumerate(prompt)])
        here = np.flatnonzero(same)
        here = here[here % 128 + n <= 128]
        numbers = np.searchsorted(whole.document_starts, here, side="right")
        assert (count, documents, places) == (len(here), len(set(numbers.tolist())), here[:2].tolist())
    assert sum(count for count, _, _ in found) > 300
    assert made.store.n_tokens == len(text)
