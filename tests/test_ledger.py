"""A ledger says what is done: across kills, other settings, other processes."""

from pathlib import Path

import pytest

from taskcatalog.catalog.ledger import Ledger
from taskcatalog.errors import ConflictError, InputError


def begin(folder: Path, settings: dict[str, object] | None = None, force: bool = False) -> Ledger:
    return Ledger.begin(folder, "stage", {"from": "x"}, settings or {"n": (2, 3)}, force)


def add_part(ledger: Ledger, name: str, content: str = "content") -> Path:
    path = ledger.folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    ledger.finish_part(name, [path], {"amount": 1})
    return path


def test_same_run_goes_on(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        (ledger.folder / "b.partial").write_text("half")
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


def test_journal_cut_in_its_last_line(tmp_path: Path) -> None:
    with begin(tmp_path / "out") as ledger:
        add_part(ledger, "a")
        add_part(ledger, "b")
    journal = tmp_path / "out" / "ledger.parts.jsonl"
    journal.write_text(journal.read_text()[:-5])
    with begin(tmp_path / "out") as ledger:
        assert list(ledger.parts) == ["a"]
        add_part(ledger, "b")
        assert list(Ledger.read(ledger.folder).parts) == ["a", "b"]


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
        assert [path.name for path in ledger.folder.iterdir()] == ["ledger.json"]


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
