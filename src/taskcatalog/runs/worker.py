"""A worker process of the pool ``Processes``: ``python -m taskcatalog.runs.worker DESCRIPTOR PARENT``."""

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection

from taskcatalog.errors import TaskcatalogError
from taskcatalog.runs.jobs import events_of

NUMBER = "TASKCATALOG_WORKER"
"""The environment's variable that says which worker of its pool a process is."""
_WATCH_SECONDS = 0.5


def worker_number() -> int:
    """Which worker of its pool this process is, from 0: so that each may have a device of its own."""
    return int(os.environ.get(NUMBER, "0"))


def main(connection: Connection, parent: int) -> None:
    """Does a job after the other, until the connection is closed."""
    _live_with_parent(parent)
    while True:
        try:
            job, first = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            for event in events_of(job, first):
                connection.send(event)
        except Exception as error:
            if not isinstance(error, TaskcatalogError):
                error.add_note(traceback.format_exc())  # a traceback does not travel by itself
            connection.send(error)


def _live_with_parent(parent: int) -> None:
    """Makes this process end when its command is interrupted or killed."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    main(Connection(int(sys.argv[1])), int(sys.argv[2]))
