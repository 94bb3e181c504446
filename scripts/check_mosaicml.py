"""Check against the real mosaicml-streaming: it reads what we write as MDS, and we read what it writes.

    python scripts/check_mosaicml.py [--environment .venv-mosaicml]

mosaicml-streaming needs older versions of what taskcatalog uses, so it gets an environment of its own, made on the
first run with the Python that runs this script: some 6 GB with the CUDA libraries that PyPI's torch for Linux
brings. (torchvision, without which streaming cannot be imported, works only with the torch that it was built for:
PyPI's torchvision and a CPU build of torch do not go together.) Later runs take seconds.

Left out: remote sets, shuffling, other columns than bytes.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import taskcatalog as tc
from taskcatalog.converting.mds_writer import INDEX, MdsLayout, write_index, write_shards
from taskcatalog.stores.store import Sequences

ENVIRONMENT = Path(__file__).parents[1] / ".venv-mosaicml"
PEER = Path(__file__).parent / "mosaicml_peer.py"
REQUIREMENTS = ("mosaicml-streaming==0.13.*", "numpy<2.2", "transformers<5", "torchvision")
COMPRESSIONS = (None, "zstd", "zstd:16", "gz", "gz:1", "br:5", "bz2", "snappy")
IDS = ("uint16", "uint32")
SEQUENCE_LENGTH = 256
SIZE_LIMIT = 1 << 15
Samples = list[NDArray[Any]]


def finished_python(folder: Path) -> Path | None:
    """The Python of an environment that this script made; None where there is none, or of other versions."""
    note = folder / "installed.txt"
    return folder / "bin/python" if note.is_file() and note.read_text() == "\n".join(REQUIREMENTS) else None


def make_environment(folder: Path) -> Path:
    """Makes and fills the environment, if it is not there; returns its Python."""
    if (python := finished_python(folder)) is None:
        print(f"making {folder}: {', '.join(REQUIREMENTS)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        (folder / ".gitignore").write_text("*\n")
        python = folder / "bin/python"
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)
        (folder / "installed.txt").write_text("\n".join(REQUIREMENTS))
    return python


def random_samples(ids: str, equal: bool) -> Samples:
    """Sequences of random ids, some of them the largest."""
    random = np.random.default_rng(5)
    largest = 65_535 if ids == "uint16" else 200_000
    lengths = [SEQUENCE_LENGTH] * 150 if equal else random.integers(1, 2_000, 150).tolist()
    samples = [(random.random(length) ** 4 * (largest + 1)).astype(ids) for length in lengths]
    samples[7][0] = largest
    return samples


def check(python: Path, folder: Path, say: Callable[[str], None] = print) -> None:
    """Writes and reads in all ways below ``folder``. Raises AssertionError at the first difference."""
    jobs = []
    for ids in IDS:
        for compression in COMPRESSIONS:
            case = folder / f"{ids}-{compression}".replace(":", "-")
            case.mkdir()
            _write_ours(case, ids, compression)
            jobs += _jobs(case, ids, compression)
    (folder / "jobs.json").write_text(json.dumps(jobs))
    subprocess.run([str(python), str(PEER), str(folder / "jobs.json")], check=True, cwd=folder)
    for ids in IDS:
        for compression in COMPRESSIONS:
            case = folder / f"{ids}-{compression}".replace(":", "-")
            n_shards = _compare(case, ids, compression)
            say(f"{ids}, {compression or 'not compressed'}: the same both ways, {n_shards} shards")


def _write_ours(case: Path, ids: str, compression: str | None) -> None:
    """A whole store through ``convert``, and shards of samples of all lengths in one folder."""
    np.concatenate(random_samples(ids, equal=True)).tofile(case / "flat.bin")
    options = tc.StoreOptions(sequence_length=SEQUENCE_LENGTH, id_dtype=ids)  # type: ignore[arg-type]
    settings = tc.ConvertSettings(format="mds", compression=compression or "none", size_limit=SIZE_LIMIT)
    tc.convert(case / "flat.bin", case / "converted", settings, options=options)
    unequal = random_samples(ids, equal=False)
    sequences = Sequences(np.concatenate(unequal), np.cumsum([len(sample) for sample in unequal]), None)
    layout = MdsLayout(ids=np.dtype(ids), compression=compression, hashes=("xxh64",), size_limit=SIZE_LIMIT)
    write_index(case / "ours" / INDEX, write_shards(case / "ours", [sequences], layout))
    np.savez(case / "samples.npz", **{str(i): sample for i, sample in enumerate(unequal)})  # type: ignore[arg-type]


def _jobs(case: Path, ids: str, compression: str | None) -> list[dict[str, Any]]:
    options = {"compression": compression, "hashes": ["xxh64"], "size_limit": SIZE_LIMIT}
    read = {"do": "read", "ids": ids, "validate_hash": "xxh64"}
    return [
        {"do": "write", "samples": f"{case}/samples.npz", "folder": f"{case}/theirs", **options},
        {"folder": f"{case}/ours", "samples": f"{case}/ours.npz", **read},
        {"folder": f"{case}/converted", "samples": f"{case}/converted.npz", **read},
    ]


def _compare(case: Path, ids: str, compression: str | None) -> int:
    """Everything that was written and read of one case; returns the number of shards."""
    _assert_same(_loaded(case / "converted.npz"), random_samples(ids, equal=True))
    unequal = random_samples(ids, equal=False)
    _assert_same(_loaded(case / "ours.npz"), unequal)
    for folder in ("ours", "theirs"):
        store = tc.open_store(case / folder, tc.StoreOptions(id_dtype=ids))  # type: ignore[arg-type]
        read = store.read(0, store.n_sequences)
        _assert_same(np.split(read.tokens, read.ends[:-1]), unequal)
    ours, theirs = (json.loads((case / name / "index.json").read_text()) for name in ("ours", "theirs"))
    if compression is None:
        assert ours == theirs, f"{case}: the indexes differ"
    for mine, real in zip(ours["shards"], theirs["shards"], strict=True):
        assert mine["raw_data"] == real["raw_data"], f"{case}: the shards differ before they are compressed"
        assert mine.keys() == real.keys(), f"{case}: the entries of the index have other keys"
    return len(ours["shards"])


def _loaded(path: Path) -> Samples:
    archive = np.load(path)
    return [archive[str(i)] for i in range(len(archive.files))]


def _assert_same(read: Samples, written: Samples) -> None:
    assert [len(sample) for sample in read] == [len(sample) for sample in written]
    assert all(np.array_equal(a, b) for a, b in zip(read, written, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--environment", type=Path, default=ENVIRONMENT, help="folder of the environment to use")
    python = make_environment(parser.parse_args().environment.absolute())
    with tempfile.TemporaryDirectory() as folder:
        check(python, Path(folder))
    print("mosaicml-streaming and taskcatalog read each other's MDS, token for token")


if __name__ == "__main__":
    main()
