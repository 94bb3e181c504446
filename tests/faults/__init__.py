"""Breaks taskcatalog on purpose: every file operation, commands at once, every kind of file, every parser.

``python -m faults`` (or ``make faults``) does all of it and prints a table; the tests do a seeded selection.

    shim.c, shim.py   numbers the file operations of a command and breaks one of them
    server.py         runs commands in forks of a process that has imported all, so that thousands take minutes
    stages.py         the tiny inputs, and a command for every stage
    power.py          what a disk would hold after a loss of power
    broken.py         breaks operation k of a stage, does it again, compares
    pairs.py          two commands at once on the same files
    damage.py         files of every kind, damaged
    hostile.py        hostile input for every parser
    kills.py          kills of real commands from outside, at a part or at any moment
"""
