"""A ledger says what is done: across kills, other settings, other processes."""

import errno
import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from helpers import tree
from taskcatalog.errors import ConflictError, InputError
from taskcatalog.runs.files import folder_locked, write_signed
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts
from taskcatalog.runs.parts import finished as part_with
from taskcatalog.runs.stage import Stage

STAGE = Stage("stage", ("[a-z]", "files/[a-z]"))
KNOWN = {"kind": "Facts", "facts": {"amount": 1, "is_last": True}}


def begin(folder: Path, settings: dict[str, object] | None = None, force: bool = False) -> Ledger:
    return Ledger.begin(folder, STAGE, {"from": "x"}, settings or {"n": (2, 3)}, force=force)


def add_part(ledger: Ledger, name: str, content: str = "content") -> Path:
    path = ledger.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    ledger.finish_part(name, part_with(ledger.folder, [path], Facts(amount=1)))
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def finished(folder: Path) -> dict[str, str]:
    """A complete output of two files, and a note of somebody's."""
    with begin(folder) as ledger:
        add_part(ledger, "a")
        add_part(ledger, "files/b")
        ledger.finish({})
    (folder / "note.txt").write_text("mine")
    (folder / "files/note.txt").write_text("mine too")
    return tree(folder)


def test_same_run_goes_on(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        (ledger.folder / "b.123.partial").write_text("half")
        (ledger.folder / "c").write_text("whole, but not recorded")
    with begin(tmp_path / "out") as ledger:
        assert list(ledger.parts) == ["a"]
        assert sorted(path.name for path in ledger.folder.iterdir()) == ["a", "ledger.json"]


def test_finished_ledger_does_not_tell_the_order_of_parts(tmp_path: Path) -> None:
    for out, order in (("one", "ab"), ("two", "ba")):
        with begin(tmp_path / out) as ledger:
            for name in order:
                add_part(ledger, name)
            ledger.finish({"rows": 2})
    assert (tmp_path / "one/ledger.json").read_bytes() == (tmp_path / "two/ledger.json").read_bytes()


@pytest.mark.parametrize("damage", [lambda line: line[:-5], lambda line: line.replace(b"amount", b"bmount")])
@pytest.mark.parametrize("number", range(3))
def test_a_damaged_line_of_the_journal(tmp_path: Path, number: int, damage: Callable[[bytes], bytes]) -> None:
    """Cut by a kill, or changed: its part alone is done again."""
    with begin(tmp_path / "out") as ledger:
        for name in "abc":
            add_part(ledger, name)
    journal = tmp_path / "out" / "ledger.parts.jsonl"
    lines = journal.read_bytes().splitlines()
    lines[number] = damage(lines[number])
    journal.write_bytes(b"\n".join(lines))
    with begin(tmp_path / "out") as ledger:
        assert ledger.parts.keys() == set("abc") - {"abc"[number]}
        add_part(ledger, "abc"[number])
        assert list(Ledger.read(ledger.folder).parts) == list(ledger.parts)


def test_work_files_go_when_the_stage_is_complete(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        add_part(ledger, "work/w")
        ledger.finish({})
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "ledger.json"]
    assert list(Ledger.read(tmp_path / "out").parts) == ["a"]


def test_a_kill_between_complete_and_clean(tmp_path: Path) -> None:
    """The journal is still there, beside a ledger that is complete: it goes at the next run."""
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        journal = ledger.folder / "ledger.parts.jsonl"
        lines = journal.read_bytes()
        ledger.finish({})
    assert not journal.exists()
    journal.write_bytes(lines)
    with begin(tmp_path / "out") as ledger:
        assert ledger.complete
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "ledger.json"]


def test_other_settings_are_refused_and_force_starts_anew(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        ledger.finish({})
    with pytest.raises(ConflictError, match=r"n was \[2, 3\], not \[2\].*--force"):
        begin(tmp_path / "out", {"n": (2,)})
    assert Ledger.read(tmp_path / "out").complete
    with begin(tmp_path / "out", {"n": (2,)}, force=True) as ledger:
        assert ledger.parts == {}
        assert names(ledger.folder) == [".replaced", "ledger.json"]
        add_part(ledger, "b")
        ledger.finish({})
    assert names(tmp_path / "out") == ["b", "ledger.json"]


def test_files_of_others_are_never_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(ConflictError, match="did not write"):
        begin(tmp_path, force=True)
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_a_finished_stage_is_left_alone(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        ledger.finish({})
    (tmp_path / "out/notes.txt").write_text("my own")
    (tmp_path / "out/work").mkdir()
    (tmp_path / "out/work/left").write_text("by a kill at the very end")
    with pytest.raises(KeyboardInterrupt), begin(tmp_path / "out"):
        raise KeyboardInterrupt
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a", "ledger.json", "notes.txt"]


def test_a_failing_stage_leaves_its_neighbours_alone(tmp_path: Path) -> None:
    """It made the folder that both are in, and takes back its own only."""
    failing = begin(tmp_path / "new" / "one")
    with begin(tmp_path / "new" / "two") as other:
        add_part(other, "a")
        failing.__exit__(ZeroDivisionError)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["two"]
    assert list(Ledger.read(tmp_path / "new" / "two").parts) == ["a"]


def test_two_processes_do_not_write_to_one_folder(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as first:
        add_part(first, "a")
        with pytest.raises(ConflictError, match="another taskcatalog command"):
            begin(tmp_path / "out")
        assert list(Ledger.read(first.folder).parts) == ["a"]
    begin(tmp_path / "out").__exit__(None)


def test_a_run_that_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), begin(tmp_path / "new" / "out"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_are_named(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        for name in "abc":
            add_part(ledger, name)
        ledger.finish({})
    (tmp_path / "out/a").unlink()
    (tmp_path / "out/b").write_text("CONTENT")
    problems = Ledger.read(tmp_path / "out").damaged_files()
    assert [problem.split(": ")[1][:10] for problem in problems] == ["is missing", "its conten"]
    (tmp_path / "out/ledger.json").write_text("{")
    with pytest.raises(InputError, match=r"ledger.json.*not JSON"):
        Ledger.read(tmp_path / "out")


@pytest.mark.parametrize("n_parts", [0, 1])
def test_a_replaced_output_comes_back_unless_the_new_one_has_begun(tmp_path: Path, n_parts: int) -> None:
    before = finished(tmp_path / "out")
    with suppress(ZeroDivisionError), begin(tmp_path / "out", {"n": 4}, force=True) as ledger:
        for i in range(n_parts):
            add_part(ledger, "pq"[i])
        _ = 1 / 0
    if n_parts:
        assert names(tmp_path / "out") == [".replaced", "files", "ledger.json", "ledger.parts.jsonl", "note.txt", "p"]
        with pytest.raises(ConflictError, match="n was 4, not"):
            begin(tmp_path / "out")
        begin(tmp_path / "out", force=True).__exit__(None)  # what it was: no need to make it anew
    assert tree(tmp_path / "out") == before


def test_a_replaced_output_goes_when_the_new_one_is_complete(tmp_path: Path) -> None:
    finished(tmp_path / "out")
    for _ in range(2):
        with begin(tmp_path / "out", {"n": 4}, force=True) as ledger:  # stopped, and gone on with
            add_part(ledger, "p" if "p" not in ledger.parts else "q")
    with begin(tmp_path / "out", {"n": 4}) as ledger:
        ledger.finish({})
    assert names(tmp_path / "out") == ["files", "ledger.json", "note.txt", "p", "q"]
    assert names(tmp_path / "out/files") == ["note.txt"]


@pytest.mark.parametrize("moved", range(5))
def test_a_kill_while_an_output_is_set_aside(tmp_path: Path, moved: int) -> None:
    """After each of its steps, and before the new ledger is there: the next command finds the old output."""
    before = finished(tmp_path / "out")
    aside = tmp_path / "out/.replaced"
    for name in ["", "ledger.json", "a", "files/b"][:moved]:
        (aside / name).parent.mkdir(parents=True, exist_ok=True)
        if name:
            (tmp_path / "out" / name).rename(aside / name)
    begin(tmp_path / "out").__exit__(None)
    assert tree(tmp_path / "out") == before
    assert not aside.exists()


def test_an_output_that_cannot_be_set_aside_stays(tmp_path: Path) -> None:
    """Here because a file stands where a folder is to be."""
    finished(tmp_path / "out")
    (tmp_path / "out/.replaced").mkdir()
    (tmp_path / "out/.replaced/files").write_text("mine")
    before = tree(tmp_path / "out")
    with pytest.raises(OSError, match="Not a directory"):
        begin(tmp_path / "out", {"n": 4}, force=True)
    assert tree(tmp_path / "out") == before
    begin(tmp_path / "out").__exit__(None)
    assert tree(tmp_path / "out") == before


def test_files_of_others_stay_in_a_folder_of_a_stage(tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = [
        "note.txt",
        "files/note.txt",
        ".replaced/note.txt",
        "nested/ledger.json",
        "nested/files/a",
        "files/x.partial",
        "AB",
    ]
    with begin(out) as ledger:
        add_part(ledger, "a")
        for name in mine:
            (out / name).parent.mkdir(exist_ok=True)
            (out / name).write_text("mine")
        (out / "b").write_text("of the stage, from a run that was killed before it could list it")
    with begin(out) as ledger:  # goes on
        assert not (out / "b").exists()
        ledger.finish({})
    with begin(out, {"n": 5}, force=True) as ledger:
        add_part(ledger, "c")
        ledger.finish({})
    with pytest.raises(ZeroDivisionError), begin(out, {"n": 6}, force=True):
        _ = 1 / 0
    assert set(tree(out)) == {*mine, "c", "ledger.json"}


def test_a_run_that_fails_at_once_leaves_files_of_others(tmp_path: Path) -> None:
    with suppress(ZeroDivisionError), begin(tmp_path / "out"):
        (tmp_path / "out/note.txt").write_text("mine")
        _ = 1 / 0
    assert names(tmp_path / "out") == ["note.txt"]


def test_links_that_somebody_put_stay(tmp_path: Path) -> None:
    for name in ("work", "files"):
        (tmp_path / "elsewhere" / name).mkdir(parents=True)
    with begin(tmp_path / "out") as ledger:
        for name in ("work", "files"):
            (ledger.folder / name).symlink_to(tmp_path / "elsewhere" / name)
        for name in ("work/w", "files/a", "a"):
            add_part(ledger, name)
        ledger.finish({})
    with begin(tmp_path / "out", {"n": 5}, force=True) as ledger:
        add_part(ledger, "c")
        ledger.finish({})
    assert names(tmp_path / "out") == ["c", "files", "ledger.json", "work"]
    assert [path.is_symlink() for path in sorted((tmp_path / "out").iterdir())] == [False, True, False, True]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["a", "files/a", "work/w"])
@pytest.mark.parametrize("damage", [Path.unlink, cut, flip])
def test_lost_parts_are_done_again(tmp_path: Path, name: str, damage: Callable[[Path], object]) -> None:
    with begin(tmp_path / "out") as ledger:
        for part in ("b", name):
            add_part(ledger, part)
    damage(tmp_path / "out" / name)
    with begin(tmp_path / "out") as ledger:
        assert list(ledger.parts) == ["b"]
        add_part(ledger, name)
    with begin(tmp_path / "out") as ledger:
        assert sorted(ledger.parts) == sorted(["b", name])


def test_what_is_read_must_be_the_same_while_a_run_goes_on(tmp_path: Path) -> None:
    def begin_with(stamp: str, force: bool = False) -> Ledger:
        return Ledger.begin(tmp_path / "out", STAGE, {}, {}, stamp=stamp, force=force)

    with begin_with("one") as ledger:
        add_part(ledger, "a")
        ledger.forget(list(ledger.parts))
        add_part(ledger, "b")
    with pytest.raises(ConflictError, match=r"what it reads was changed since it began.*--force"):
        begin_with("other")
    with begin_with("one") as ledger:
        ledger.finish({})
    content = (tmp_path / "out/ledger.json").read_bytes()
    assert b"one" not in content
    begin_with("other").__exit__(None)  # a complete one says nothing of times
    assert (tmp_path / "out/ledger.json").read_bytes() == content


def test_a_setting_that_a_ledger_does_not_know_is_its_default(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        ledger.finish({})
    newer = Stage("stage", STAGE.files, {"new": 0.5})
    inputs, settings = {"from": "x"}, {"n": (2, 3)}
    Ledger.begin(tmp_path / "out", newer, inputs, settings | {"new": 0.5}).__exit__(None)
    with pytest.raises(ConflictError, match=r"new was 0.5, not 0.6"):
        Ledger.begin(tmp_path / "out", newer, inputs, settings | {"new": 0.6})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("parts", {"a": KNOWN | {"files": {"../../secret": {"bytes": 1, "sha256": "", "xxh3": ""}}}}),
        ("parts", {"a": KNOWN | {"files": {"/etc/passwd": {"bytes": 1, "sha256": "", "xxh3": ""}}}}),
        ("parts", {"a": KNOWN | {"files": {"a": {"bytes": "1"}}}}),
        ("parts", {"a": KNOWN | {"files": ["a"]}}),
        ("parts", {"a": KNOWN | {"files": {}, "facts": {"amount": "1", "is_last": True}}}),
        ("parts", {"a": {"files": {}, "facts": KNOWN["facts"]}}),
        ("parts", {"a": []}),
        ("parts", 5),
        ("settings", []),
        ("complete", "yes"),
        ("unheard", 1),
    ],
)
def test_a_ledger_that_was_made_by_hand(tmp_path: Path, field: str, value: object) -> None:
    """Also where its digest was made to fit."""
    with begin(tmp_path / "out") as ledger:
        ledger.finish({})
    content = json.loads((tmp_path / "out/ledger.json").read_text())
    del content["sha256"]
    write_signed(tmp_path / "out/ledger.json", content | {field: value})
    with pytest.raises(InputError, match=r"ledger.json: is no ledger \(.*\): restore it"):
        Ledger.read(tmp_path / "out")


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test machine has one: what its system call says stands in for it."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(ConflictError, match=r"out: its file system has no locks"):
        begin(tmp_path / "out")
    with folder_locked(tmp_path, shared=True):
        pass
