"""``python -m taskcatalog`` is the command ``taskcatalog``."""

from taskcatalog.cli import main

main()
