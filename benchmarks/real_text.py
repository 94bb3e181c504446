"""Real text for the benchmarks: the Python source on this machine, in the demo's tokens."""

import sysconfig
from pathlib import Path

import numpy as np

import taskcatalog.embedded
from taskcatalog.vocabulary import Vocabulary

MODEL = Path(taskcatalog.embedded.__file__).parent / "data"
SEQUENCE_LENGTH = 2_048


def write_flat(path: Path, n_tokens: int) -> int:
    """Writes up to so many tokens as a flat file of whole sequences; returns how many it found.

    The text is every ``.py`` file of the standard library and of the installed packages, each followed by
    the end-of-text id.
    """
    vocabulary = Vocabulary.read(MODEL / "tokenizer.json")
    roots = {sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")}
    sources = sorted({source for root in roots for source in Path(root).rglob("*.py")})
    pieces: list[np.ndarray] = []
    found = 0
    for source in sources:
        text = source.read_text("utf-8", errors="replace")
        pieces.append(np.array([*vocabulary.encode(text), 0], np.uint16))
        found += len(pieces[-1])
        if found >= n_tokens:
            break
    whole = min(found, n_tokens) // SEQUENCE_LENGTH * SEQUENCE_LENGTH
    np.concatenate(pieces)[:whole].tofile(path)
    return whole
