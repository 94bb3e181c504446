"""The shim sees what happens, in order, and breaks what it is told to; the model of a disk loses what it must."""

import errno
from pathlib import Path

import pytest

from faults.broken import unseen
from faults.commands import Ended, Server
from faults.power import Disk, Loss
from faults.shim import Operation, Watch

pytestmark = pytest.mark.usefixtures("shim")

KNOWN = """
import os, subprocess, sys
from pathlib import Path
place = Path(sys.argv[1])
(place / "a").mkdir()
with open(place / "a/b", "wb") as file:
    file.write(b"0123456789")
    file.flush()
    os.fsync(file.fileno())
os.rename(place / "a/b", place / "a/c")
folder = os.open(place / "a", os.O_RDONLY)
os.fsync(folder)
os.close(folder)
with open(place / "a/c", "r+b") as file:
    file.truncate(4)
os.link(place / "a/c", place / "d")
child = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text('child')"
subprocess.run([sys.executable, "-c", child, place / "e"], check=True)
os.unlink(place / "d")
os.unlink(place / "e")
(place / "a/c").read_bytes()
os.unlink(place / "a/c")
os.rmdir(place / "a")
"""
OPERATIONS = [
    ("mkdir", "a"), ("create", "a/b"), ("write", "a/b"), ("fsync", "a/b"), ("rename", "a/b"), ("fsyncdir", "a"),
    ("open", "a/c"), ("truncate", "a/c"), ("link", "a/c"), ("create", "e"), ("write", "e"), ("unlink", "d"),
    ("unlink", "e"), ("unlink", "a/c"), ("rmdir", "a"),
]  # fmt: skip


def run(server: Server, tmp_path: Path, script: str, watch: Watch) -> Ended:
    (tmp_path / "script.py").write_text(script)
    watch.root.mkdir()
    watch.prepare()
    return server.run([watch.root], script=tmp_path / "script.py", watch=watch)


def test_every_operation_is_seen_also_of_a_child(server: Server, tmp_path: Path) -> None:
    watch = Watch(tmp_path / "watch", tmp_path / "w")
    assert run(server, tmp_path, KNOWN, watch).problem() is None
    found = [(one.kind, str(Path(one.path).relative_to(watch.root))) for one in watch.operations()]
    assert found == OPERATIONS
    assert [one.size for one in watch.operations() if one.kind == "write"] == [10, 5]


@pytest.mark.parametrize("at", range(1, len(OPERATIONS) + 1))
def test_a_kill_comes_just_before(server: Server, tmp_path: Path, at: int) -> None:
    watch = Watch(tmp_path / "watch", tmp_path / "w", "kill", at)
    assert run(server, tmp_path, KNOWN, watch).code == -9
    assert len(watch.operations()) == at
    there = {str(path.relative_to(watch.root)) for path in watch.root.rglob("*")}
    after = [set(), {"a"}, {"a", "a/b"}, {"a", "a/b"}, {"a", "a/b"}, {"a", "a/c"}, {"a", "a/c"}, {"a", "a/c"},
             {"a", "a/c"}, {"a", "a/c", "d"}, {"a", "a/c", "d", "e"}, {"a", "a/c", "d", "e"}, {"a", "a/c", "e"},
             {"a", "a/c"}, {"a"}]  # fmt: skip
    assert there == after[at - 1]


def test_half_of_a_write(server: Server, tmp_path: Path) -> None:
    watch = Watch(tmp_path / "watch", tmp_path / "w", "tear", 3)
    assert run(server, tmp_path, KNOWN, watch).code == -9
    assert (watch.root / "a/b").read_bytes() == b"01234"


@pytest.mark.parametrize(("at", "kind"), list(enumerate((kind for kind, _ in OPERATIONS), 1)))
def test_a_failure_says_what_it_is_told_to(server: Server, tmp_path: Path, at: int, kind: str) -> None:
    watch = Watch(tmp_path / "watch", tmp_path / "w", "fail", at, errno.EDQUOT)
    ended = run(server, tmp_path, KNOWN, watch)
    assert ended.code == 1
    assert "Disk quota exceeded" in ended.err, kind


def test_a_full_disk_stays_full(server: Server, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
place, failed = Path(sys.argv[1]), 0
for i in range(5):
    try:
        (place / str(i)).write_text("x")
    except OSError:
        failed += 1
(place / "0").unlink()
print(failed)
"""
    watch = Watch(tmp_path / "watch", tmp_path / "w", "fill", 4, errno.ENOSPC)
    ended = run(server, tmp_path, script, watch)
    assert (ended.code, ended.out) == (0, "4\n")
    assert [path.name for path in watch.root.iterdir()] == ["1"]


def test_compiled_libraries_are_seen_and_what_is_not_is_found_out(server: Server, tmp_path: Path) -> None:
    script = """
import sys
from pathlib import Path
import duckdb, numpy as np, pyarrow as pa, pyarrow.parquet as pq
place = Path(sys.argv[1])
pq.write_table(pa.table({"a": [1]}), place / "arrow.parquet")
duckdb.sql("SELECT 1 AS a").write_parquet(str(place / "duckdb.parquet"))
with duckdb.connect(str(place / "a.duckdb")) as database:
    database.execute("CREATE TABLE t AS SELECT 1")
np.arange(100).tofile(place / "stdio")
"""
    watch = Watch(tmp_path / "watch", tmp_path / "w")
    assert run(server, tmp_path, script, watch).problem() is None
    written = {Path(one.path).name for one in watch.operations() if one.kind == "write"}
    assert {"arrow.parquet", "duckdb.parquet", "a.duckdb"} <= written
    assert unseen(watch.operations(), tmp_path / "nothing", watch.root) == [str(watch.root / "stdio")]


WRITER = """
import os, sys
from pathlib import Path
place = Path(sys.argv[1])
with open(place / "x.partial", "wb") as file:
    file.write(b"content")
    if "file" in sys.argv:
        file.flush()
        os.fsync(file.fileno())
os.replace(place / "x.partial", place / "x")
if "folder" in sys.argv:
    folder = os.open(place, os.O_RDONLY)
    os.fsync(folder)
"""


@pytest.mark.parametrize(
    ("synced", "loss", "left"),
    [
        ((), "all", {}),
        ((), "data", {"x": b""}),
        (("file",), "all", {}),
        (("file",), "data", {"x": b"content"}),
        (("folder",), "all", {"x": b""}),
        (("file", "folder"), "all", {"x": b"content"}),
    ],
)
def test_a_writer_that_does_not_sync_is_caught(
    server: Server, tmp_path: Path, synced: tuple[str, ...], loss: Loss, left: dict[str, bytes]
) -> None:
    watch = Watch(tmp_path / "watch", tmp_path / "w", keep=True)
    (tmp_path / "script.py").write_text(WRITER)
    watch.root.mkdir()
    watch.prepare()
    ended = server.run([watch.root, *synced], script=tmp_path / "script.py", watch=watch)
    assert ended.problem() is None
    assert after_loss(watch, watch.operations(), tmp_path, loss) == left


def test_what_was_synced_before_a_change_lasts(server: Server, tmp_path: Path) -> None:
    """A file written in place: until it is synced again, it may be as it was."""
    script = WRITER.replace('"x.partial", "wb"', '"x", "r+b"').replace(
        'os.replace(place / "x.partial", place / "x")', ""
    )
    watch = Watch(tmp_path / "watch", tmp_path / "w", keep=True)
    for folder in ("w", "empty"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x").write_bytes(b"as it was before")
    (tmp_path / "script.py").write_text(script)
    watch.prepare()
    assert server.run([watch.root, "file"], script=tmp_path / "script.py", watch=watch).problem() is None
    operations = watch.operations()
    assert [one.kind for one in operations] == ["open", "write", "fsync"]
    assert after_loss(watch, operations[:2], tmp_path, "all") == {"x": b"as it was before"}
    assert after_loss(watch, operations, tmp_path, "all") == {"x": b"contentas before"}


def after_loss(watch: Watch, operations: list[Operation], tmp_path: Path, loss: Loss) -> dict[str, bytes]:
    (tmp_path / "empty").mkdir(exist_ok=True)
    disk = Disk(watch.root.resolve(), tmp_path / "empty", watch.folder / "synced")
    for operation in operations:
        disk.do(operation)
    target = tmp_path / f"left-{len(operations)}"
    disk.write(target, loss)
    return {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*")}
