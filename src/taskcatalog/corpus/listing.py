"""What lies in a folder, here or remote."""

from taskcatalog.errors import InputError
from taskcatalog.storage import AnyPath


def list_folder(folder: AnyPath) -> list[AnyPath]:
    """All that lies directly in a folder, sorted by name. Raises InputError where it cannot be listed."""
    try:
        return sorted(folder.iterdir(), key=lambda path: path.name)
    except Exception as error:  # what a connection can raise is as many as there are protocols
        raise InputError(f"{folder}: cannot be listed: {error}") from error
