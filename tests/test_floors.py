"""The architecture, read from the imports: floors, no circles, nothing imported inside functions."""

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import sparseshape_jax

PACKAGE = Path(sparseshape_jax.__file__).parent
FLOORS = (
    {"errors", "checks", "output", "cli", "parallel", "preprocessing", "cache", "downloads", "memory", "presets"},
    {"top_k", "models", "observers"},
    {"data", "predictor", "weights", "results", "figures", "relevance", "frequency"},
    {"stimuli", "report", "fid"},
    {"evaluation", "synthesis", "training", "stylize"},
    {"classifier", "adain", "few_shot"},
    {"jobs"},
)
APART = {"evaluation", "synthesis", "training"}
INSIDE_FUNCTIONS = {
    ("cli.py", "jax"): "`--help` answers without JAX",
    ("top_k/spec.py", "sparseshape_jax.top_k.operator"): "settings hold a TopK, and import no JAX",
    ("stimuli/edges.py", "cv2"): "an extra",
    ("training/log.py", "tensorboardX"): "an extra",
}
TYPES_ONLY = {
    "__init__.py": "what needs JAX is imported on first use",
    "few_shot/__init__.py": "settings are part of the room, and import no JAX",
    "fid/__init__.py": "settings are part of the room, and import no JAX",
    "preprocessing.py": "the catalog of weights is listed without JAX",
    "relevance/__init__.py": "settings hold a Composite, and import no JAX",
    "top_k/spec.py": "settings import no JAX",
    "observers/decisions.py": "the observers' statistics import NumPy only",
}

FILES = {path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.stmt]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node) for alias in node.names)


def file_of(name: str) -> str | None:
    """The file that the import of a dotted name reads, if it is one of ours: that of a module, or of its parent."""
    first, *parts = name.split(".")
    if first != "sparseshape_jax":
        return None
    for path in ("/".join(parts), "/".join(parts[:-1])):
        for candidate in (f"{path}.py", f"{path}/__init__.py") if path else ("__init__.py",):
            if candidate in FILES:
                return candidate
    return None


GRAPH = {
    file: {found for name, _ in imports(tree) if (found := file_of(name)) not in (None, file)}
    for file, tree in FILES.items()
}


def room(file: str) -> str:
    return file.partition("/")[0].removesuffix(".py")


def floor(file: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room(file) in rooms)


def test_every_room_has_a_floor():
    rooms = {room(file) for file in FILES} - {"__init__"}
    assert rooms == set().union(*FLOORS)


@pytest.mark.parametrize("file", [file for file in FILES if file != "__init__.py"])
def test_no_file_imports_a_floor_above(file):
    above = [other for other in GRAPH[file] if other != "__init__.py" and floor(other) > floor(file)]
    assert not above


def test_rooms_of_one_floor_import_one_way_only():
    rooms: dict[str, set[str]] = {}
    for file, others in GRAPH.items():
        rooms.setdefault(room(file), set()).update(room(other) for other in others if room(other) != room(file))
    rooms.pop("__init__")
    try:
        TopologicalSorter(rooms).prepare()
    except CycleError as error:
        pytest.fail(f"rooms import each other: {error.args[1]}")
    assert not [(one, other) for one in APART for other in rooms[one] & APART]


def test_no_files_import_each_other():
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(f"files import each other: {error.args[1]}")


def test_imports_are_at_the_top_of_files():
    inside = set()
    for file, tree in FILES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for name, _ in imports(node):
                    inside.add((file, name.rpartition(".")[0] if file_of(name) else name.partition(".")[0]))
    assert inside == set(INSIDE_FUNCTIONS)


def test_types_are_imported_apart_only_where_settings_need_it():
    apart = {
        file
        for file, tree in FILES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")
    }
    assert apart == set(TYPES_ONLY)


def test_optimizers_depend_on_nothing_else():
    for file in FILES:
        if file.startswith("synthesis/optimize/"):
            others = {other for other in GRAPH[file] if not other.startswith("synthesis/optimize/")}
            assert others <= {"errors.py"}, file
