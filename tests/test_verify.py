"""Whatever is damaged in a store or a catalog, ``verify`` names it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import taskcatalog as tc
from helpers import tree
from taskcatalog.embedded.pipeline import DATA
from taskcatalog.runs.ledger import Ledger
from taskcatalog.runs.parts import Facts, Part
from taskcatalog.tasks.scan import STAGE

TEXT = "import os\nimport sys\nfor name in os.listdir(sys.path[0]):\n    print(name)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, its catalog with tables of every stage, and a set of MDS shards."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "a.txt").write_text(TEXT * 40)
    tc.tokenize(folder / "a.txt", folder / "store", str(DATA), tc.TokenizeSettings(sequence_length=64))
    tc.ngrams(folder / "store", folder / "catalog", tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    for label in ("one", "two"):
        tc.predict(folder / "catalog", str(DATA), label=label)
    settings = tc.ScanSettings(all_measures=True, min_divergence=0)
    tc.scan(folder / "store", str(DATA), folder / "catalog", settings, label="one")
    tc.convert(folder / "store", folder / "mds", tc.ConvertSettings(format="mds"))
    return folder


def remove(path: Path) -> None:
    path.unlink()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


@pytest.mark.parametrize("damage", [remove, empty, cut, flip, lengthen])
@pytest.mark.parametrize("what", ["store", "catalog", "mds"])
def test_every_damaged_file_is_named(made: Path, tmp_path: Path, what: str, damage: Callable[[Path], None]) -> None:
    copy = shutil.copytree(made / what, tmp_path / what)
    assert tc.verify(copy) == []
    # Without its ledger, a set of MDS shards is one like any other.
    for name in tree(copy).keys() - ({"ledger.json"} if what == "mds" and damage is remove else set()):
        file = copy / name
        content = file.read_bytes()
        damage(file)
        said = "\n".join(tc.verify(copy))
        # Of a file that says what the others are, its folder is named where it is gone.
        assert str(file) in said or (damage is remove and f"{file.parent}: " in said), (name, said)
        file.write_bytes(content)
    assert tc.verify(copy) == []


def test_folders_in_the_wrong_place(made: Path, tmp_path: Path) -> None:
    """Each is as its ledger says, and yet the tables would be wrong: copied, moved, of another store."""
    other = tmp_path / "other"
    (tmp_path / "b.txt").write_text(TEXT * 20)
    tc.tokenize(tmp_path / "b.txt", tmp_path / "store", str(DATA), tc.TokenizeSettings(sequence_length=64))
    tc.ngrams(tmp_path / "store", other, tc.NgramSettings(n=(2, 3), min_prefix_count=10))
    tc.predict(other, str(DATA), label="three")
    cases: list[tuple[Path, str, str, list[str]]] = [
        (made / "catalog/predictions/one", "predictions/one.bak", "holds what is of the model one", ["predictions"]),
        (made / "catalog/scan_4/one", "scan_4/old", "holds what is of the model one", ["scan_4", "measures_4"]),
        (made / "catalog/scan_4/one", "scan_3/one", "holds prompts of 4 tokens", ["scan_3"]),
        (made / "catalog/predictions/one", "scan_4/two", "holds what the stage predict made", ["scan_4"]),
        (made / "store", "predictions/store", "holds what the stage tokenize made", ["predictions", "top_bigrams"]),
        (other / "predictions/three", "predictions/three", "is about another store", ["predictions", "top_bigrams"]),
        (other / "ngrams", "ngrams", "is about another store than this catalog", ["bigrams", "top_trigrams"]),
    ]
    for i, (source, target, message, tables) in enumerate(cases):
        copy = shutil.copytree(made / "catalog", tmp_path / str(i))
        shutil.copytree(source, copy / target, dirs_exist_ok=True)
        assert any(problem.startswith(f"{copy / target}: {message}") for problem in tc.verify(copy)), target
        with tc.Catalog(copy) as opened:
            for table in tables:
                with pytest.raises(tc.InputError, match=rf"{target}: {message}.*in the wrong place"):
                    opened.sql(f"SELECT * FROM {table}")
            assert opened.sql("SELECT count(*) FROM tokens").fetchall()


def test_an_unfinished_stage(made: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(made / "catalog", tmp_path / "c")
    inputs = {"store": tc.Catalog(copy).identity.fingerprint}
    with Ledger.begin(copy / "scan_2/one", STAGE, inputs, {"label": "one", "prompt_length": 2}) as ledger:
        ledger.finish_part("collect-0", Part.of({}, Facts(amount=1)))
    assert tc.verify(copy) == [f"{copy}/scan_2/one: is not finished: run its command again"]
