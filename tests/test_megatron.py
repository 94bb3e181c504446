"""Megatron datasets: real ones by what they say, written ones against a plain parser, damaged ones."""

import json
import re
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

import taskcatalog as tc
from taskcatalog.errors import InputError, SettingsError
from taskcatalog.stores.store import Store
from taskcatalog.vocabulary import Vocabulary

CODES = {"u1": 1, "i1": 2, "<i2": 3, "<i4": 4, "<i8": 5, "<u2": 8}
FORMATS = {1: "B", 2: "b", 3: "h", 4: "i", 5: "q", 8: "H"}


@dataclass(frozen=True)
class Plain:
    """What a dataset holds, read number by number."""

    items: list[list[int]]
    document_items: list[int]

    @property
    def stream(self) -> list[int]:
        return [id_ for item in self.items for id_ in item]

    @property
    def document_starts(self) -> list[int]:
        bounds = [0, *accumulate(map(len, self.items))]
        return [bounds[item] for item in self.document_items[:-1]]


def parse(stem: Path) -> Plain:
    """The plain parser: as the formats are written down, with nothing checked."""
    index, ids = stem.with_suffix(".idx").read_bytes(), stem.with_suffix(".bin").read_bytes()
    if index.startswith(b"MMIDIDX"):
        code, n_items, n_documents = struct.unpack_from("<BQQ", index, 17)
        lengths = struct.unpack_from(f"<{n_items}i", index, 34)
        first_bytes = struct.unpack_from(f"<{n_items}q", index, 34 + 4 * n_items)
        documents = struct.unpack_from(f"<{n_documents}q", index, 34 + 12 * n_items)
    else:
        code, id_bytes, n_items, n_sizes, n_documents = struct.unpack_from("<QQQQQ", index, 16)
        bounds = struct.unpack_from(f"<{n_items + 1}q", index, 56 + 8 * (n_items + 1))
        lengths = struct.unpack_from(f"<{n_sizes}q", index, 56 + 16 * (n_items + 1))
        first_bytes = tuple(bound * id_bytes for bound in bounds[:-1])
        documents = struct.unpack_from(f"<{n_documents}q", index, 56 + 16 * (n_items + 1) + 8 * n_sizes)
    places = zip(lengths, first_bytes, strict=True)
    items = [list(struct.unpack_from(f"<{n}{FORMATS[code]}", ids, first)) for n, first in places]
    return Plain(items, list(documents))


def write_mapped(
    stem: Path, ids: NDArray[np.generic], lengths: list[int], places: list[int], documents: list[int]
) -> None:
    ids.tofile(stem.with_suffix(".bin"))
    head = b"MMIDIDX\0\0" + struct.pack("<QBQQ", 1, CODES[ids.dtype.str.strip("|")], len(lengths), len(documents))
    first_bytes = np.array(places, "<i8") * ids.dtype.itemsize
    arrays = [np.array(lengths, "<i4"), first_bytes, np.array(documents, "<i8")]
    stem.with_suffix(".idx").write_bytes(head + b"".join(array.tobytes() for array in arrays))


def write_lazy(
    stem: Path, ids: NDArray[np.generic], lengths: list[int], places: list[int], documents: list[int]
) -> None:
    """Its items lie in order: ``places`` are not written."""
    assert places == [0, *accumulate(lengths)][:-1]
    ids.tofile(stem.with_suffix(".bin"))
    code = CODES[ids.dtype.str.strip("|")]
    head = b"TNTIDX\0\0" + struct.pack(
        "<QQQQQQ", 1, code, ids.dtype.itemsize, len(lengths), len(lengths), len(documents)
    )
    arrays = [range(len(lengths) + 1), [0, *accumulate(lengths)], lengths, documents]
    stem.with_suffix(".idx").write_bytes(head + b"".join(np.array(array, "<i8").tobytes() for array in arrays))


def random_dataset(stem: Path, seed: int) -> bool:
    """Any type, of items that are equal or not, empty or not, in order, apart, shuffled or upon each other; returns
    whether each begins where the one before it ends."""
    generator = np.random.default_rng(seed)
    dtype = list(CODES)[seed % len(CODES)]
    n_items = int(generator.choice([0, 1, 2, 30]))
    lengths = generator.integers(0, 20, n_items)
    if generator.random() < 0.3:
        lengths[:] = generator.integers(0, 9)
    if generator.random() < 0.3:
        lengths[generator.random(n_items) < 0.5] = 0
    places = np.cumsum(lengths) - lengths
    write = [write_mapped, write_lazy][int(generator.random() < 0.3)]
    if write is write_mapped:
        order = int(generator.integers(0, 4))
        if order == 1:
            places += np.cumsum(generator.integers(0, 3, n_items))
        elif order == 2:
            shuffled = generator.permutation(n_items)
            places[shuffled] = np.cumsum(lengths[shuffled]) - lengths[shuffled]
        elif order == 3:
            places = generator.integers(0, 50, n_items)
    n_ids = int((places + lengths).max(initial=0)) + int(generator.integers(0, 4)) * (write is write_mapped)
    ids = generator.integers(0, min(np.iinfo(dtype).max, 2**32 - 1), n_ids, endpoint=True).astype(dtype)
    documents = sorted(generator.integers(0, n_items + 1, int(generator.integers(0, 8))).tolist())
    write(stem, ids, lengths.tolist(), places.tolist(), [0, *documents, n_items])
    in_order: bool = places.tolist() == [0, *accumulate(lengths.tolist())][:n_items]
    return in_order


def all_of(store: Store) -> list[int]:
    tokens: list[int] = store.read(0, store.n_sequences).tokens.tolist()
    return tokens


def starts_of(store: Store) -> list[int]:
    starts = store.read(0, store.n_sequences).document_starts
    assert starts is not None
    return list(starts.tolist())


@pytest.fixture(scope="session")
def openwebtext(shared: Path) -> Path:
    return shared / "megatron/tests/data/gpt2/meg-gpt2-openwebtext_text_document"


@pytest.fixture(scope="session")
def gpt2_tiny(openwebtext: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tokenizer of the OpenWebText set, as a tokenizer.json."""
    files = [str(openwebtext.with_name(f"gpt2-tiny-{name}")) for name in ("vocab.json", "merges.txt")]
    tokenizer = Tokenizer(models.BPE.from_file(*files))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|endoftext|>"])
    path = tmp_path_factory.mktemp("gpt2") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


def test_openwebtext_is_english(openwebtext: Path, gpt2_tiny: Path) -> None:
    store = tc.open_store(openwebtext, tc.StoreOptions(tokenizer=str(gpt2_tiny)))
    assert (store.n_tokens, store.n_sequences, store.identity.vocabulary_size) == (1_361_845, 665, 5_000)
    tokens, starts = store.read(0, store.n_sequences).tokens, starts_of(store)
    assert len(starts) == 1_000
    assert starts == [0, *(np.flatnonzero(tokens == store.identity.end_of_text) + 1).tolist()][:-1]
    assert store.vocabulary is not None
    first = store.vocabulary.text(tokens[: starts[1]])
    assert first.startswith("A magazine supplement with an image of Adolf Hitler and the title 'The Unreadable Book'")
    tokenizer = Tokenizer.from_file(str(gpt2_tiny))
    texts = [store.vocabulary.text(tokens[start : end - 1]) for start, end in pairwise([*starts, len(tokens)])]
    assert [tokenizer.encode(text).ids for text in texts[:200]] == [
        tokens[start : end - 1].tolist() for start, end in pairwise(starts[:201])
    ]
    words = re.findall(r"[a-z]+", " ".join(texts).lower())
    assert len(words) > 600_000
    assert 0.12 < sum(word in ("the", "of", "and", "to", "in") for word in words) / len(words) < 0.25


def test_int32_sets(shared: Path) -> None:
    """Two of NVIDIA's: numbers written as their own ids, and sentences in Llama 3's vocabulary, whose first
    100,000 ids are those of OLMo's."""
    sets = shared / "megatron/assets/datasets"
    numbers = tc.open_store(sets / "train/test_text_document.idx")
    lines = [json.loads(line)["text"].split() for line in (sets / "train/test.jsonl").read_text().splitlines()]
    assert all_of(numbers) == [id_ for line in lines for id_ in [*map(int, line), 131_072]]
    assert (numbers.n_sequences, numbers.identity.sequence_length) == (1_000, 5)
    sentences = tc.open_store(sets / "fim/fim_text_document.bin")
    vocabulary = Vocabulary.read(shared / "tokenizers/olmo_dolma2/tokenizer.json")
    documents = np.split(np.array(all_of(sentences)), starts_of(sentences)[1:])
    assert {(document[0], document[-1]) for document in documents} == {(128_000, 128_001)}
    texts = [vocabulary.text(document[1:-1]) for document in documents]
    assert len(texts) == 1_000
    assert texts[:3] == ["the quick brown fox jumps over", "lazy dog sits under the tree", "hello world this is a test"]


def test_questions_and_answers(shared: Path) -> None:
    """AG News: a hundred questions, each with one of two answers, which ends with the id 2."""
    folder = shared / "megatron/tests/data/gpt2"
    questions, answers = (tc.open_store(folder / f"ag_news_prompt_{name}_document") for name in ("inputs", "targets"))
    assert (questions.n_tokens, len(starts_of(questions))) == (5_945, 100)
    each = [tuple(answer) for answer in np.split(np.array(all_of(answers)), starts_of(answers)[1:])]
    assert (len(each), len(set(each)), {answer[-1] for answer in each}) == (100, 2, {2})


def test_every_real_set_equals_the_plain_parser(shared: Path) -> None:
    indices = sorted((shared / "megatron").rglob("*.idx"))
    assert len(indices) == 5
    for index in indices:
        plain = parse(index.with_suffix(""))
        for name in (index, index.with_suffix(".bin"), index.with_suffix("")):
            store = tc.open_store(name, tc.StoreOptions(sequence_length=100))
            assert all_of(store) == plain.stream
            assert starts_of(store) == plain.document_starts


@pytest.mark.parametrize("block", range(6))
def test_random_sets_equal_the_plain_parser(tmp_path: Path, block: int) -> None:
    for seed in range(100 * block, 100 * block + 40):
        stem = tmp_path / f"{seed}"
        if not random_dataset(stem, seed):
            with pytest.raises(
                InputError, match=rf"{seed}.idx: item \d+ begins at id \d+ of the .bin, not at \d+, where"
            ):
                tc.open_store(stem)
            continue
        plain, generator = parse(stem), np.random.default_rng(seed)
        store = tc.open_store(stem)
        stream, length = plain.stream, store.identity.sequence_length
        equal = {len(item) for item in plain.items}
        assert length == (min(equal) if len(plain.items) > 1 and len(equal) == 1 and min(equal) > 1 else 2_048)
        for options in (None, tc.StoreOptions(sequence_length=int(generator.integers(1, 30)))):
            store = tc.open_store(stem, options)
            length = store.identity.sequence_length
            assert (store.n_tokens, store.n_sequences) == (len(stream), -(-len(stream) // length))
            for _ in range(4):
                first, last = sorted(generator.integers(0, store.n_sequences + 1, 2).tolist())
                read = store.read(first, last)
                inside = stream[first * length : last * length]
                assert read.tokens.tolist() == inside
                assert read.ends.tolist() == [min((i + 1) * length, len(inside)) for i in range(last - first)]
                assert read.document_starts is not None
                assert [start + first * length for start in read.document_starts] == [
                    start
                    for start in plain.document_starts
                    if first * length <= start < min(last * length, len(stream))
                ]
        assert store.identity.vocabulary_size > max(stream, default=0)


def write_rows(stem: Path, n_rows: int, documents: list[int]) -> NDArray[np.uint16]:
    ids = np.random.default_rng(n_rows).integers(0, 50_000, n_rows * 2_049).astype("<u2")
    write_mapped(stem, ids, [2_049] * n_rows, [2_049 * i for i in range(n_rows)], documents)
    return ids


def test_rows_are_sequences(tmp_path: Path, demo_data: Path) -> None:
    """In Pythia's layout: rows of 2,049 ids, and a document index that knows no documents."""
    ids = write_rows(tmp_path / "document", 30, [0])
    store = tc.open_store(tmp_path / "document.bin")
    assert (store.n_sequences, store.identity.sequence_length) == (30, 2_049)
    read = store.read(3, 5)
    assert read.ends.tolist() == [2_049, 4_098]
    assert read.tokens.tolist() == ids[3 * 2_049 : 5 * 2_049].tolist()
    assert read.document_starts is None
    assert not read.tokens.flags.owndata
    named = tc.open_store(tmp_path / "document.idx", tc.StoreOptions(tokenizer=str(demo_data)))
    end_of_text = named.identity.end_of_text
    assert starts_of(named) == (np.flatnonzero(ids == end_of_text) + 1).tolist()
    cut = tc.open_store(tmp_path / "document", tc.StoreOptions(sequence_length=2_048))
    assert (cut.n_sequences, all_of(cut)) == (31, ids.tolist())


@pytest.mark.parametrize("total", [5, 6])
def test_bin_in_pieces(tmp_path: Path, total: int) -> None:
    """Six pieces, named after their number or, as Pythia's are, after the last one's; rows cross their ends."""
    ids = write_rows(tmp_path / "document", 30, [0])
    whole = (tmp_path / "document.bin").read_bytes()
    (tmp_path / "document.bin").unlink()
    pieces = [tmp_path / f"document-{i:05d}-of-{total:05d}.bin" for i in range(6)]
    for i, piece in enumerate(pieces):
        piece.write_bytes(whole[i * 22_222 : (i + 1) * 22_222 if i < 5 else None])
    store = tc.open_store(tmp_path / "document.idx")
    assert all_of(store) == ids.tolist()
    assert [store.read(i, i + 1).tokens.tolist() for i in range(30)] == ids.reshape(30, -1).tolist()
    with pytest.raises(
        InputError, match=rf"{pieces[0].name}: is one piece .*document.idx opens all .*--sequence-length"
    ):
        tc.open_store(pieces[0])
    alone = tc.open_store(pieces[0], tc.StoreOptions(sequence_length=2_049))
    assert all_of(alone) == ids[:11_111].tolist()
    (tmp_path / "document-00000-of-00009.bin").touch()
    with pytest.raises(InputError, match=r"document.bin: its pieces are of 0000\d and of 00009"):
        tc.open_store(tmp_path / "document")
    (tmp_path / "document-00000-of-00009.bin").unlink()
    pieces[2].rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=rf"{pieces[2].name}: is missing, one of 6 pieces"):
        tc.open_store(tmp_path / "document")
    (tmp_path / "elsewhere").rename(pieces[2])
    pieces[5].unlink()
    with pytest.raises(InputError, match=r"is missing, one of|item \d+ has 2049 ids .* the .bin is cut off"):
        tc.open_store(tmp_path / "document")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda stem: stem.with_suffix(".bin").unlink(), r"a.bin: is missing, though a.idx is there"),
        (lambda stem: append(stem.with_suffix(".bin"), b"x"), r"a.bin: has 121 bytes, which is no whole number"),
        (lambda stem: stem.with_suffix(".bin").write_bytes(b"1234" * 29), r"a.idx: item 2 has 10 ids from id 20 on"),
        (lambda stem: stem.with_suffix(".idx").write_bytes(b"MMIDIDX\0\0"), r"a.idx: has 9 bytes, fewer than its"),
        (lambda stem: stem.with_suffix(".idx").write_bytes(b"PK\3\4"), r"a.idx: is no Megatron index"),
        (lambda stem: append(stem.with_suffix(".idx"), b"12"), r"a.idx: has \d+ bytes, but its header's 3 items and 4"),
        (lambda stem: put(stem, 9, "<Q", 2), r"a.idx: is of version 2"),
        (lambda stem: put(stem, 17, "<B", 7), r"a.idx: its .bin holds fractions \(type code 7\)"),
        (lambda stem: put(stem, 17, "<B", 9), r"a.idx: type code 9 is none of 1, 2, 3, 4, 5, 8"),
        (lambda stem: put(stem, 18, "<Q", 2**60), r"a.idx: has \d+ bytes, but its header's 1152921504606846976 items"),
        (lambda stem: put(stem, 34 + 12, "<q", 3), r"a.idx: item 0 begins within an id, at byte 3"),
        (lambda stem: put(stem, 38, "<i", -1), r"a.idx: item 1 has -1 ids from id 10 on"),
        (lambda stem: put(stem, 34 + 36 + 8, "<q", 3), r"a.idx: entry 2 of its document index is 2: .*do not ascend"),
        (lambda stem: put(stem, 34 + 36 + 24, "<q", 2), r"a.idx: entry 3 of its document index is 2"),
    ],
)  # fmt: skip
def test_damage_is_named(tmp_path: Path, change: Callable[[Path], object], message: str) -> None:
    write_mapped(tmp_path / "a", np.arange(30, dtype="<i4"), [10] * 3, [0, 10, 20], [0, 1, 2, 3])
    change(tmp_path / "a")
    with pytest.raises(InputError, match=message):
        all_of(tc.open_store(tmp_path / "a.idx"))


def append(path: Path, raw: bytes) -> None:
    path.write_bytes(path.read_bytes() + raw)


def put(stem: Path, at: int, layout: str, value: int) -> None:
    raw = bytearray(stem.with_suffix(".idx").read_bytes())
    struct.pack_into(layout, raw, at, value)
    stem.with_suffix(".idx").write_bytes(raw)


def test_ids_that_are_none(tmp_path: Path) -> None:
    """A negative id is found, also one that would be within a vocabulary if it were not."""
    for dtype, bad in (("<i2", -15_536), ("i1", -1), ("<i4", -1), ("<i8", -1), ("<i8", 2**32)):
        ids = np.arange(40).astype(dtype)
        ids[25] = bad
        write_mapped(tmp_path / "a", ids, [10, 30], [0, 10], [0, 1, 2])
        store = tc.open_store(tmp_path / "a", tc.StoreOptions(sequence_length=5))
        assert store.read(0, 5).tokens.tolist() == list(range(25))
        with pytest.raises(InputError, match=rf"a.bin: id number 25 is {bad}, which is negative or beyond 32 bits"):
            store.read(0, 6)


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    write_mapped(tmp_path / "a", np.arange(30, dtype="<u2"), [10] * 3, [0, 10, 20], [0, 1, 2, 3])
    with pytest.raises(SettingsError, match=r"a.idx: a Megatron dataset has its own type of ids: leave out --id-dtype"):
        tc.open_store(tmp_path / "a.idx", tc.StoreOptions(id_dtype="uint16"))
    with pytest.raises(SettingsError, match=r"a.bin: a Megatron dataset has no columns: leave out --column"):
        tc.open_store(tmp_path / "a.bin", tc.StoreOptions(column="tokens"))


def test_an_idx_of_another_program(tmp_path: Path) -> None:
    """Suffix arrays, for one, are called .idx too: the type of ids says that the .bin is flat."""
    np.arange(30, dtype="<u2").tofile(tmp_path / "a.bin")
    np.arange(30, dtype="<u8").tofile(tmp_path / "a.idx")
    with pytest.raises(InputError, match=r"a.idx: is no Megatron index.*--id-dtype"):
        tc.open_store(tmp_path / "a.bin")
    assert all_of(tc.open_store(tmp_path / "a.bin", tc.StoreOptions(id_dtype="uint16"))) == list(range(30))


@pytest.mark.parametrize("write", [write_mapped, write_lazy])
def test_damaged_anywhere(tmp_path: Path, write: Callable[..., None]) -> None:
    """Every bit of the header flipped, and 200 flips and cuts elsewhere: an error that names a file, or reads
    that stay within it. Nothing is asked for that the files' sizes do not allow."""
    generator = np.random.default_rng(11)
    lengths = generator.integers(0, 9, 60).tolist()
    ids = generator.integers(0, 60_000, sum(lengths)).astype("<u2")
    write(tmp_path / "a", ids, lengths, [0, *accumulate(lengths)][:-1], [0, 7, 7, 30, 60])
    index, whole = (tmp_path / "a.idx").read_bytes(), (tmp_path / "a.bin").read_bytes()
    header = 34 if write is write_mapped else 56
    flips = [*range(8 * header), *generator.integers(8 * header, 8 * len(index), 200).tolist()]
    damaged = [(flipped(index, bit), whole) for bit in flips]
    damaged += [(index[:n], whole) for n in generator.integers(0, len(index), 40).tolist()]
    damaged += [(index, whole[:n]) for n in generator.integers(0, len(whole), 40).tolist()]
    damaged += [(index, flipped(whole, bit)) for bit in generator.integers(0, 8 * len(whole), 40).tolist()]
    tracemalloc.start()
    refused = sum(not reads_within_bounds(tmp_path / "a", *pair) for pair in damaged)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert refused > 8 * header + 80
    assert peak < 20_000_000


def flipped(raw: bytes, bit: int) -> bytes:
    changed = bytearray(raw)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def reads_within_bounds(stem: Path, index: bytes, ids: bytes) -> bool:
    stem.with_suffix(".idx").write_bytes(index)
    stem.with_suffix(".bin").write_bytes(ids)
    try:
        store = tc.open_store(stem.with_suffix(".idx"))
        read = store.read(0, store.n_sequences)
    except InputError as error:
        assert str(stem) in str(error)  # noqa: PT017
        return False
    assert len(read.tokens) == store.n_tokens
    assert read.ends.tolist()[-1:] == [store.n_tokens][: store.n_sequences]
    if read.document_starts is not None:
        assert all(0 <= start < store.n_tokens for start in read.document_starts)
    return True
