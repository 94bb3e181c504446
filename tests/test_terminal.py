"""What reaches a terminal, a pipe, a file: what others wrote never steers a terminal."""

import os
import pty
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import taskcatalog
from helpers import answer
from taskcatalog.terminal import one_line, printable

COMMAND = [sys.executable, "-m", "taskcatalog"]
NASTY = "\x1b[31m\x07\x9b2J\u202e\u2066\u200b\ufeff\u2028\x7f"
ESCAPED = r"\x1b[31m\x07\x9b2J\u202e\u2066\u200b\ufeff\u2028\x7f"
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture(scope="module")
def catalog(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "a.txt").write_text("import os\n" * 50)
    answer("tokenize", folder / "a.txt", "--out", folder / "store", "--tokenizer", demo_data)
    answer("ngrams", folder / "store", "--out", folder / "catalog")
    return folder / "catalog"


def on_a_terminal(*arguments: object) -> str:
    """What a command writes where its output and its errors go to a terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=theirs, stderr=theirs, env=ENVIRONMENT):
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 4_096):
                written += block
        except OSError:  # its end, on Linux
            pass
    os.close(ours)
    return written.decode()


def run(*arguments: object, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [*COMMAND, *(part if isinstance(part, bytes) else str(part).encode() for part in arguments)]
    options = {"capture_output": True, "env": ENVIRONMENT} | options
    return subprocess.run(command, check=False, **options)  # type: ignore[call-overload,no-any-return]


def test_what_cannot_be_seen_is_escaped() -> None:
    assert printable(NASTY) == ESCAPED
    assert printable("caf\xe9 \u4e2d \udcff\n") == "caf\xe9 \u4e2d \\udcff\\n"
    assert printable("a\tb\n", "\n\t") == "a\tb\n"
    assert one_line("a\n  b\x1b") == "a b\\x1b"


@pytest.mark.parametrize("kind", ["table", "csv", "json"])
def test_query_results(catalog: Path, kind: str) -> None:
    """A terminal sees escapes; a pipe gets the bytes as they are."""
    query = f"SELECT '{NASTY}' AS text"
    seen = on_a_terminal("sql", catalog, query, "--format", kind)
    assert [c for c in seen if not c.isprintable() and c not in "\r\n\t"] == []
    assert "2J\\u202e\\u2066" in seen
    piped = run("sql", catalog, query, "--format", kind)
    assert piped.returncode == 0
    if kind == "csv":
        assert piped.stdout.decode().rstrip("\n") == "text\n" + NASTY


def test_errors_never_reach_a_terminal_raw(catalog: Path, tmp_path: Path) -> None:
    for arguments in (
        ("sql", catalog, f'SELECT "{NASTY}"'),
        ("sql", f"nowhere{NASTY}"),
        (NASTY,),
        ("sql", f"--{NASTY}"),
    ):
        refused = run(*arguments)
        assert refused.returncode == 2
        text = refused.stderr.decode()
        assert [c for c in text if not c.isprintable()] == ["\n"]
        assert "\\x1b[31m" in text
    (tmp_path / f"{NASTY}.jsonl").write_text("{")
    tokenizer = Path(taskcatalog.__file__).parent / "embedded/data"
    refused = run("tokenize", tmp_path, "--out", tmp_path / "s", "--tokenizer", tokenizer)
    assert f"{ESCAPED}.jsonl: line 1: is not JSON" in refused.stderr.decode()
    assert refused.returncode == 2


def test_the_reader_of_a_pipe_has_gone(catalog: Path) -> None:
    for kind in ("csv", "json"):
        ours, theirs = os.pipe()
        os.close(ours)
        query = "SELECT * FROM range(200000)"
        done = run("sql", catalog, query, "--format", kind, capture_output=False, stdout=theirs, stderr=subprocess.PIPE)
        os.close(theirs)
        assert done.returncode == 141
        assert done.stderr == b""


def test_outputs_that_take_nothing(catalog: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        done = run(
            "sql", catalog, "SELECT 1", "--format", "csv", capture_output=False, stdout=full, stderr=subprocess.PIPE
        )
    assert (done.returncode, done.stderr) == (1, b"taskcatalog: input or output: No space left on device\n")
    closed = subprocess.run(["sh", "-c", 'exec "$@" >&-', "sh", *COMMAND, "complete", str(catalog), "import"],
                            stderr=subprocess.PIPE, env=ENVIRONMENT, check=False)  # fmt: skip
    assert (closed.returncode, closed.stderr) == (0, b"")


def test_an_encoding_that_lacks_characters(catalog: Path) -> None:
    done = run("complete", catalog, "import", env=ENVIRONMENT | {"PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0
    assert rb"\xb7os" in done.stdout


def test_closed_streams(demo_data: Path, tmp_path: Path) -> None:
    """Workers get pipes, and no pipe may stand where a standard stream was."""
    for name in "ab":
        (tmp_path / f"{name}.txt").write_text("import os\n" * 200_000)
    given = [
        "tokenize",
        str(tmp_path),
        "--out",
        str(tmp_path / "store"),
        "--tokenizer",
        str(demo_data),
        "--workers",
        "2",
    ]
    quoted = shlex.join([*COMMAND, *given])
    assert subprocess.run(["sh", "-c", f"{quoted} <&- >&- 2>&-"], env=ENVIRONMENT).returncode == 0
    assert taskcatalog.open_store(tmp_path / "store").n_tokens > 100_000
