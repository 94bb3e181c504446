"""A pool such as a cluster has: each job is a file that a process of its own reads, and what happens is one, too.

``python file_pool.py JOB EVENTS`` is such a process: it shares nothing with the command but files.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from taskcatalog.errors import TaskcatalogError
from taskcatalog.runs.jobs import Event, Lost, Waiting, events_of


@dataclass(frozen=True)
class FilePool:
    folder: Path
    """Where the files go."""

    def run(self, waiting: Waiting) -> Generator[Event, None, None]:
        while (taken := waiting.take()) is not None:
            job, told = self.folder / "job.pickle", self.folder / "events.pickle"
            job.write_bytes(pickle.dumps(taken))
            environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            done = subprocess.run([sys.executable, __file__, job, told], env=environment, check=False)
            with told.open("rb") as events:
                while events.peek(1):
                    event: Event | Exception = pickle.load(events)
                    if isinstance(event, Exception):
                        raise event
                    yield event
            if done.returncode:
                yield Lost(taken[0].name, f"exit code {done.returncode}")


def main(job: Path, told: Path) -> None:
    with told.open("wb", buffering=0) as events:
        try:
            for event in events_of(*pickle.loads(job.read_bytes())):
                events.write(pickle.dumps(event))
        except TaskcatalogError as error:
            events.write(pickle.dumps(error))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
