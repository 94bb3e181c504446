"""The bytes of every token are what the tokenizer itself makes of them."""

import json
import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from taskcatalog.errors import InputError
from taskcatalog.tokenizing.encoders import FastEncoder
from taskcatalog.vocabulary import Vocabulary

TEXT = "def f(x):\n\treturn  'naïve café' # \u4f60\u597d \U0001f600 e\u0301 \u00a0\x00 ABC\r\n    <|endoftext|>tail"


@pytest.fixture(params=["gpt_neox_20b", "olmo_dolma2", "stories260K", "demo"])
def path(request: pytest.FixtureRequest) -> Path:
    if request.param == "demo":
        demo: Path = request.getfixturevalue("demo_data")
        return demo / "tokenizer.json"
    shared: Path = request.getfixturevalue("shared")
    folder = "models" if request.param == "stories260K" else "tokenizers"
    return shared / folder / str(request.param) / "tokenizer.json"


def test_bytes_of_the_ids_are_the_text(path: Path) -> None:
    vocabulary = Vocabulary.read(path)
    text = unicodedata.normalize("NFC", TEXT) if "neox" in str(path) else TEXT
    raw = b"".join(vocabulary.token_bytes[id_] for id_ in vocabulary.encode(TEXT))
    # SentencePiece-like tokenizers put a space in front of every text.
    expected = " " + text if "stories" in str(path) else text
    assert raw == expected.encode()


def test_every_id_decodes_to_its_bytes(path: Path) -> None:
    vocabulary = Vocabulary.read(path)
    tokenizer = Tokenizer.from_file(str(path))
    assert len(vocabulary) == 1 + max(tokenizer.get_vocab(with_added_tokens=True).values())
    # A token decoded after another one keeps its leading space in SentencePiece-like vocabularies too.
    before = vocabulary.encode("a")[-1:]
    head = len(tokenizer.decode(before, skip_special_tokens=False))
    for id_ in range(len(vocabulary)):
        decoded = tokenizer.decode([*before, id_], skip_special_tokens=False)[head:]
        if "\ufffd" not in decoded:  # part of a character, which only bytes can tell
            assert vocabulary.token_bytes[id_].decode() == decoded, id_


def test_batches_are_encoded_as_single_texts(path: Path) -> None:
    vocabulary = Vocabulary.read(path)
    texts = [TEXT, "", " ", "x" * 1000]
    assert vocabulary.encode_batch(texts) == [vocabulary.encode(text) for text in texts]


def test_ids_beyond_the_vocabulary_are_shown_as_numbers(demo_data: Path) -> None:
    vocabulary = Vocabulary.read(demo_data / "tokenizer.json")
    assert vocabulary.text([*vocabulary.encode("a"), 60_000]) == "a<60000>"
    assert vocabulary.end_of_text == 0


def test_what_is_no_tokenizer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": 1}')
    with pytest.raises(InputError, match=r"tokenizer.json: is not a tokenizer.json"):
        Vocabulary.read(tmp_path / "tokenizer.json")


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def word_piece(vocabulary: dict[str, int]) -> dict[str, object]:
    kind = {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 9}
    return {"version": "1.0", "model": kind | {"vocab": vocabulary}}


@pytest.mark.parametrize(
    "change",
    [
        {"vocab": {"a": -1}, "merges": []},
        {"vocab": {"a": 1.5}, "merges": []},
        {"vocab": {"a": 2**64}, "merges": []},
        {"vocab": {"a": 2**32 - 1}, "merges": []},
        {"vocab": {"a": 1 << 24}, "merges": []},
        {"vocab": ["a"]},
        {"merges": ["nowhere nothing"]},
        {"merges": [1]},
        {"type": "Unknown"},
    ],
    ids=str,
)
def test_hostile_models_are_one_line(demo_data: Path, tmp_path: Path, change: dict[str, object]) -> None:
    content = json.loads((demo_data / "tokenizer.json").read_text())
    content["model"] |= change
    with pytest.raises(InputError, match=r"t.json: (is not a tokenizer.json|has a token of id \d+)") as caught:
        Vocabulary.read(write(tmp_path / "t.json", content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff",
        b"[" * 100_000,
        b"[]",
        b"1",
        b'{"model": 1e400}',
        b'{"a":' + b"9" * 5_000 + b"}",
        b'{"a": "\\ud800"}',
    ],
    ids=lambda raw: str(raw[:12]),
)
def test_hostile_json_is_one_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "t.json").write_bytes(raw)
    with pytest.raises(InputError, match=r"t.json: is not "):
        Vocabulary.read(tmp_path / "t.json")


def test_kinds_of_models_that_are_not_byte_pairs(tmp_path: Path) -> None:
    pieces = [["<unk>", 0.0], ["\u2581a", -1.0], ["<0x0A>", -2.0], ["<0xZZ>", -2.0], ["<0x+1>", -3.0]]
    model = {"type": "Unigram", "unk_id": 0, "vocab": pieces}
    vocabulary = Vocabulary.read(write(tmp_path / "u.json", {"version": "1.0", "model": model}))
    assert vocabulary.token_bytes == [b"<unk>", b" a", b"\n", b"<0xZZ>", b"<0x+1>"]
    vocabulary = Vocabulary.read(write(tmp_path / "w.json", word_piece({"[UNK]": 0, "a": 1})))
    assert vocabulary.encode("b") == [0]
    vocabulary = Vocabulary.read(write(tmp_path / "w.json", word_piece({"a": 1})))
    assert vocabulary.encode("a") == [1]
    with pytest.raises(InputError, match=r"w.json: cannot encode a text: .*\[UNK\]"):
        vocabulary.encode("b")
    with pytest.raises(InputError, match=r"w.json: cannot encode a text"):
        vocabulary.encode_batch(["a", "b"])


@pytest.mark.filterwarnings("ignore")
def test_a_panic_of_the_library_is_one_line(demo_data: Path, tmp_path: Path) -> None:
    content = json.loads((demo_data / "tokenizer.json").read_text())
    single = [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}]
    content["post_processor"] = {"type": "TemplateProcessing", "single": single, "pair": [], "special_tokens": {}}
    with pytest.raises(InputError, match=r"t.json: (cannot encode a text|is not a tokenizer)"):
        _ = Vocabulary.read(write(tmp_path / "t.json", content)).id_in_front


def test_merges_are_not_left_out_by_chance(demo_data: Path, tmp_path: Path) -> None:
    """As where a tokenizer was saved while it was set up for training."""
    description = json.loads((demo_data / "tokenizer.json").read_text())
    description["model"]["dropout"] = 0.9
    (tmp_path / "tokenizer.json").write_text(json.dumps(description))
    text = (demo_data / "README.md").read_text()
    vocabulary = Vocabulary.read(tmp_path / "tokenizer.json")
    expected = Vocabulary.read(demo_data / "tokenizer.json").encode(text)
    assert vocabulary.encode(text) == vocabulary.encode_batch([text])[0] == expected
    assert FastEncoder(vocabulary).encode([text]).ids.tolist() == expected
