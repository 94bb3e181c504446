"""What the real mosaicml-streaming does in ``check_mosaicml.py``; runs in that script's environment.

    python scripts/mosaicml_peer.py JOBS.json

Each job is an object: ``{"do": "write", "samples": "in.npz", "folder": …, "compression": …, "hashes": […],
"size_limit": …}`` writes arrays of ids as samples, ``{"do": "read", "folder": …, "samples": "out.npz",
"ids": "uint16", "validate_hash": …}`` reads them. Arrays are named by their place.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from streaming import MDSWriter, StreamingDataset  # type: ignore[import-not-found,unused-ignore]
from streaming.base.util import clean_stale_shared_memory  # type: ignore[import-not-found,unused-ignore]


def write(job: dict[str, Any]) -> None:
    samples = np.load(job["samples"])
    options = {name: job[name] for name in ("compression", "hashes", "size_limit")}
    with MDSWriter(out=job["folder"], columns={"tokens": "bytes"}, **options) as writer:
        for i in range(len(samples.files)):
            writer.write({"tokens": samples[str(i)].tobytes()})


def read(job: dict[str, Any]) -> None:
    dataset = StreamingDataset(
        local=job["folder"], shuffle=False, batch_size=1, validate_hash=job["validate_hash"], keep_zip=True
    )
    samples = [np.frombuffer(dataset[i]["tokens"], job["ids"]) for i in range(len(dataset))]
    np.savez(job["samples"], **{str(i): sample for i, sample in enumerate(samples)})  # type: ignore[arg-type]


if __name__ == "__main__":
    clean_stale_shared_memory()
    for job in json.loads(Path(sys.argv[1]).read_text()):
        {"write": write, "read": read}[job["do"]](job)
