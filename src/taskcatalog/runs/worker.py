"""A worker process of ``streams``: ``python -m taskcatalog.runs.worker DESCRIPTOR PARENT``."""

import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection

from taskcatalog.errors import TaskcatalogError

_WATCH_SECONDS = 0.5


def main(connection: Connection, parent: int) -> None:
    """Does a stream after the other, until the connection is closed."""
    _live_with_parent(parent)
    try:
        do = connection.recv()
    except (EOFError, ConnectionError):
        return
    while True:
        try:
            stream, skip = connection.recv()
        except (EOFError, ConnectionError):
            return
        try:
            for result in do(stream, skip):
                connection.send(("result", result))
            connection.send(("end", None))
        except Exception as error:
            if not isinstance(error, TaskcatalogError):
                error.add_note(traceback.format_exc())  # a traceback does not travel by itself
            connection.send(("error", error))


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
