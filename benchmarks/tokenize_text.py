"""Tokenizes a corpus, against the library ``tokenizers`` on all cores, in one run.

    python benchmarks/tokenize_text.py [SOURCE ...] [--tokenizer NAME_OR_PATH] [--copies 200] [--repeats 3]

Ours is the whole command, from files to a finished store with checksums. Theirs is ``encode_batch_fast`` alone,
over documents that are in memory already; it sees one copy of the corpus, for its speed does not depend on the
size. The ids of that copy are compared one by one. Without a SOURCE the corpus is the demo's.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from real_text import MODEL
from tokenizers import Tokenizer

import taskcatalog as tc
from taskcatalog.documents.batch import Problems, Reading
from taskcatalog.documents.find import find_sources
from taskcatalog.documents.formats import read_chunk
from taskcatalog.documents.source import Chunk
from taskcatalog.embedded.standard_library import standard_library_sources
from taskcatalog.find_tokenizer import find_tokenizer
from taskcatalog.stores.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", nargs="*")
    parser.add_argument("--tokenizer", default=str(MODEL))
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sources = options.source or list(map(str, standard_library_sources()))
    texts = read_texts(sources)
    n_bytes = sum(len(text.encode()) for text in texts)
    print(f"{len(texts):,} documents, {n_bytes / 1e6:.1f} MB; ours reads {options.copies} copies")
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        copies = make_copies(sources, options.copies, Path(folder) / "copies")
        for repeat in range(options.repeats):
            out = Path(folder) / str(repeat)
            tokenizer = Tokenizer.from_file(str(find_tokenizer(options.tokenizer)))  # as new as our process
            started = time.perf_counter()
            encodings = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
            theirs = n_bytes / (time.perf_counter() - started)
            arguments = ["--tokenizer", options.tokenizer, "--separator", "none", "--out", str(out)]
            command = [sys.executable, "-m", "taskcatalog", "tokenize", str(copies), *arguments]
            started = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            ours = options.copies * n_bytes / (time.perf_counter() - started)
            ratios.append(ours / theirs)
            print(f"taskcatalog {ours / 1e6:6.1f} MB/s  tokenizers {theirs / 1e6:5.2f} MB/s  ratio {ratios[-1]:5.1f}")
        compare(tc.open_store(out), [id_ for encoding in encodings for id_ in encoding.ids], options.copies)
    print(f"median ratio {np.median(ratios):.1f}; the ids are equal")


def make_copies(sources: list[str], copies: int, folder: Path) -> Path:
    """The files of a corpus many times over, in a folder, in their order."""
    files = [Path(source.name).resolve() for source in find_sources(sources)]
    for copy in range(copies):
        (folder / f"{copy:04d}").mkdir(parents=True)
        for i, file in enumerate(files):
            shutil.copyfile(file, folder / f"{copy:04d}" / f"{i:06d}{''.join(file.suffixes)}")
    return folder


def read_texts(sources: list[str]) -> list[str]:
    reading = Reading("text", None, lambda _: None, Problems())
    chunks = [Chunk(source, source.n_bytes) for source in find_sources(sources)]
    return [text for chunk in chunks for batch in read_chunk(chunk, reading) for text in batch.texts]


def compare(store: Store, ids: list[int], copies: int) -> None:
    assert store.n_tokens == copies * len(ids)
    read = store.read(0, -(-len(ids) // store.identity.sequence_length)).tokens[: len(ids)]
    assert np.array_equal(read, ids)


if __name__ == "__main__":
    main()
