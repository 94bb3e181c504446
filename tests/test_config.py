"""Options in YAML, as people write it and as nobody should."""

from collections.abc import Callable
from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import answer, invoke, refusal


@pytest.fixture(scope="module")
def store(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    (folder / "a.txt").write_text("import os\nimport sys\n" * 50)
    answer("tokenize", folder / "a.txt", "--out", folder / "store", "--tokenizer", demo_data)
    return folder / "store"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    monkeypatch.chdir(tmp_path)

    def written(text: str) -> Path:
        (tmp_path / "c.yaml").write_bytes(text.encode("utf-8", "surrogatepass"))
        return Path("c.yaml")

    return written


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("n: 2", {"bigrams"}),
        ("n: [2, 3]", {"bigrams", "trigrams"}),
        ("n: 2,3", {"bigrams", "trigrams"}),
        ("n: ['2', 3]  # both", {"bigrams", "trigrams"}),
        ("n:\n  - 3\n", {"trigrams"}),
        ("n: &lengths [3]\nworkers: 1", {"trigrams"}),
        ("n: !!int 3", {"trigrams"}),
        ("min_prefix_count: 7\nmin-share: .25\nmemory: 500MB\nforce: yes\nn: 2", {"bigrams"}),
        ("memory: 1GB\nforce: true\nn: 2\n", {"bigrams"}),
        ("\ufeffn: 2\r\nforce: off\r\n", {"bigrams"}),
        ("", {"bigrams", "trigrams"}),
        ("# nothing but a comment\n---\n", {"bigrams", "trigrams"}),
    ],
)
def test_yaml_as_people_write_it(store: Path, write: Callable[[str], Path], text: str, tables: set[str]) -> None:
    answer("ngrams", store, "--out", "c", "--config", write(text))
    assert {name for name in tc.Catalog("c").tables if name in ("bigrams", "trigrams")} == tables


def test_values_that_look_like_something_else(store: Path, write: Callable[[str], Path]) -> None:
    """A number, a date, an argument and an option of another name in the code."""
    answer("ngrams", "--config", write(f"store: {store}\nout: 5"))
    assert tc.Catalog("5").tables
    answer("ngrams", store, "--config", write("out: 2026-01-31"))
    assert tc.Catalog("2026-01-31").tables
    assert answer("sql", "5", "SELECT 1 AS one", "--config", write("format: csv")) == "one\n1\n"
    assert "bos" not in refusal("scan", "nowhere", "--out", "x", "--model", "y", "--config", write("bos: yes"))
    assert "nowhere" in refusal("predict", "nowhere", "--config", write("model: one"))
    assert "bos: 'maybe' is not one of" in refusal(
        "scan", "nowhere", "--out", "x", "--model", "y", "--config", write("bos: maybe")
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n: 2\noutt: x", "line 2: ngrams has no option 'outt': is out meant?"),
        ("zzz: 1", "line 1: ngrams has no option 'zzz'; it has column, force, id-dtype"),
        ("config: c.yaml", "ngrams has no option 'config'"),
        ("n: 2\nworkers: 1\nn: 3", "line 3: n is given a second time"),
        ("min-share: 0.1\nmin_share: 0.2", "line 2: min-share is given a second time"),
        ("workers:", "line 1: workers: has no value: give one, or leave the line out"),
        ("workers: ~", "line 1: workers: has no value"),
        ("n: []", "line 1: n: has an empty list"),
        ("n: [2, null]", "line 1: n: has no value"),
        ("n: {2: 3}", "line 1: n: holds values within values"),
        ("n: [[2]]", "line 1: n: holds values within values"),
        ("memory: [1GB, 2GB]", "line 1: memory: takes one value, and 2 are given"),
        ("<<: {n: 2}", "line 1: has the tag tag:yaml.org,2002:merge"),
        ("n: !!python/object/apply:os.system ['true']", "line 1: n: has the tag tag:yaml.org,2002:python"),
        ("out: !!binary aGVsbG8=", "line 1: out: has the tag"),
        ("? [a, b]\n: 1", "line 1: holds values within values"),
        ("workers: many", "line 1: workers: 'many' is not a valid integer"),
        ("workers: 1e400", "line 1: workers: '1e400' is not a valid integer"),
        ("workers: 99999999999999999999", "line 1: workers is 99999999999999999999: it must be a whole number"),
        ("force: perhaps", "line 1: force: 'perhaps' is not a valid boolean"),
        ("n: 2\nmin-share: .nan", "line 2: min-share: '.nan' is not a valid float"),
        ("n: 2\nmin-share: nan", "line 2: min share is nan: it must be a number from 0 to below 1"),
        ("n: [2, 6]", "line 1: n is (2, 6): it must be one or more"),
        ("n: 2\nmemory: 8", "line 2: '8' is not a size in bytes: it has no unit: write 8GB or 8MB"),
        ("memory: 1000000000", "line 1: '1000000000' is not a size in bytes: it has no unit: write 1000000000B"),
        ("memory: 7B", "line 1: memory is 7 B: counting"),
        ("\tn: 2", "line 1: is not YAML"),
        ("a: [", "is not YAML"),
        ("text", "is not a list of 'option: value' lines"),
        ("- n: 2", "is not a list of 'option: value' lines"),
        ("n: 2\n---\nn: 3", "is not YAML"),
        ("n: *nowhere", "line 1: is not YAML (found undefined alias"),
        ('out: "a\\0b"', "line 1: out: holds a character that no name or text can have"),
        ('memory: "\\ud800"', "line 1: memory: holds a character that no name or text can have"),
        ("\x01", "is not YAML"),
        ("n: 2\ud800", "is not UTF-8"),
    ],
)
def test_yaml_that_is_wrong(store: Path, write: Callable[[str], Path], text: str, message: str) -> None:
    line = refusal("ngrams", store, "--out", "c", "--config", write(text))
    assert line.startswith("taskcatalog: c.yaml: ")
    assert message in line


def test_sizes_of_other_commands(store: Path, demo_data: Path, write: Callable[[str], Path]) -> None:
    for command, option in (
        (("tokenize", store.parent / "a.txt", "--tokenizer", demo_data, "--out", "s"), "max-document"),
        (("convert", store, "--format", "mds", "--out", "m"), "size-limit"),
        (("plan", store), "disk-rate"),
        (("plan", store), "memory"),
    ):
        line = refusal(*command, "--config", write(f"# a size\n{option}: 12"))
        assert line.startswith("taskcatalog: c.yaml: line 2: '12' is not a size in bytes"), command


def test_the_command_line_wins(store: Path, write: Callable[[str], Path]) -> None:
    config = write("min-share: 7\nn: 2")
    answer("ngrams", store, "--out", "c", "--config", config, "--min-share", 0.1)
    line = refusal("ngrams", store, "--out", "d", "--config", config, "--min-share", 9)
    assert line == "taskcatalog: min share is 9.0: it must be a number from 0 to below 1"
    line = refusal("ngrams", store, "--out", "d", "--config", config)
    assert line == "taskcatalog: c.yaml: line 1: min share is 7.0: it must be a number from 0 to below 1"


def test_yaml_that_would_grow_without_end(store: Path, write: Callable[[str], Path]) -> None:
    """Each level holds the one before nine times over: a billion texts, if anybody wrote them out."""
    levels = ["a0: &a0 [lol, lol]", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))]
    for text in ("\n".join(levels), "n: " + "[" * 100_000, "{" * 5_000, "n: &a [*a]", "- " * 10_000, "x" * 300_000):
        result = invoke("ngrams", store, "--out", "c", "--config", write(text))
        assert result.exit_code == 2
        assert len(result.stderr) < 500
    assert "has more than 256 kB" in result.stderr
    line = refusal("ngrams", store, "--out", "c", "--config", "/dev/zero")
    assert "/dev/zero: has more than 256 kB" in line
    assert "cannot be read: Is a directory" in refusal("ngrams", store, "--out", "c", "--config", ".")
    assert "cannot be read: No such file" in refusal("ngrams", store, "--out", "c", "--config", "none.yaml")
