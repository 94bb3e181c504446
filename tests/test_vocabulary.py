"""The bytes of every token are what the tokenizer itself makes of them."""

import unicodedata
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from taskcatalog.catalog.vocabulary import Vocabulary
from taskcatalog.errors import InputError

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
