"""The rooms of the house import one way: down the list."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import taskcatalog

HOUSE = Path(taskcatalog.__file__).parent
FLOORS = [
    ["__main__"],
    ["cli"],
    ["embedded"],
    ["planning", "verification"],
    ["web", "publish", "figures"],
    ["questions"],
    ["tasks"],
    ["lm"],
    ["counting"],
    ["catalog"],
    ["tokenizing"],
    ["converting"],
    ["documents"],
    ["stores"],
    ["tables", "vocabulary", "find_tokenizer"],
    ["runs"],
    ["compiled", "display", "ids", "sizes", "storage"],
    ["settings", "terminal"],
    ["errors", "version"],
]
"""From the roof down: a room imports from rooms below it, and from itself."""
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
NEEDS_TORCH = {"lm", "tasks"}


def modules() -> list[tuple[str, ast.Module]]:
    found = []
    for path in sorted(HOUSE.rglob("*.py")):
        relative = path.relative_to(HOUSE)
        if relative != Path("__init__.py"):  # it names what every room offers, and imports nothing by itself
            found.append((relative.parts[0].removesuffix(".py"), ast.parse(path.read_text())))
    return found


def imported(tree: ast.Module) -> list[str]:
    """The dotted names that a module imports, wherever in it."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names.append(str(node.module))
    return names


def test_every_module_is_in_a_room() -> None:
    assert {room for room, _ in modules()} <= FLOOR_OF.keys()


def test_imports_go_one_way() -> None:
    against = [
        (room, name)
        for room, tree in modules()
        for name in imported(tree)
        if name.startswith("taskcatalog.")
        and (other := name.split(".")[1]) != room
        and FLOOR_OF[other] <= FLOOR_OF[room]
    ]
    assert against == []


def test_only_rooms_that_run_a_model_import_torch() -> None:
    users = {
        room
        for room, tree in modules()
        for name in imported(tree)
        if name.split(".")[0] in ("torch", "transformers", "safetensors")
    }
    assert users <= NEEDS_TORCH


def test_no_module_is_too_long_to_read() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in HOUSE.rglob("*.py")}
    assert {name: n for name, n in lengths.items() if n > 500} == {}


def test_no_function_is_too_long_to_read() -> None:
    lengths = {
        f"{room}: {node.name}": node.end_lineno - node.lineno + 1
        for room, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None
    }
    assert {name: n for name, n in lengths.items() if n > 60} == {}


def test_no_imports_in_a_circle() -> None:
    """Between modules of one room, too, and wherever in a module an import stands."""
    trees = {name_of(path): ast.parse(path.read_text()) for path in HOUSE.rglob("*.py")}
    graph = {name: {other for other in imported(tree) if other in trees} for name, tree in trees.items()}
    assert len(graph) > 50
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from error


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(HOUSE.parent).with_suffix("").parts)
