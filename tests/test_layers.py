"""The house: rooms in layers, imports that point downwards, no circles, and no public name in two rooms."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "batchseg"
MODULES = sorted(PACKAGE.rglob("*.py"))

# from the top; what stands in one row does not know of each other
LAYERS = (
    {"__main__"},
    {"cli"},
    {"training"},
    {"pipeline", "cluster"},
    {"exports", "reporting"},
    {"inspect", "comparison", "scenes"},
    {"engine", "results"},
    {"stages", "source"},
    {"segmentors", "metrics"},
    {"images", "labels", "storage"},
    {"config"},
    {"errors"},
    {"schema"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
TOP_MODULES = {"__init__", "__main__", "errors", "schema"}


def place(module: str) -> str:
    """batchseg.stages.score -> stages; the package itself has no place."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> Iterator[str]:
    """Every module of the package that a file names: in functions and for types alone as well."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}, line {node.lineno}: relative imports hide where they point"
            # `from batchseg import x` means the module x, or a name that only the package itself has
            whole = node.module == "batchseg"
            names = [f"batchseg.{alias.name}" if whole else str(node.module) for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] == "batchseg")


def name_of(path: Path) -> str:
    return ".".join(("batchseg", *path.relative_to(PACKAGE).with_suffix("").parts))


def public_names(path: Path) -> Iterator[str]:
    """The classes and functions a module defines for others."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            yield node.name


# the package's __init__ names everything for the user, lazily, and is no layer
EDGES = [
    (name_of(path), target)
    for path in MODULES
    if path != PACKAGE / "__init__.py"
    for target in imports(path)
    if target != "batchseg.__version__"
]


def test_every_module_has_its_place() -> None:
    assert {place(name_of(path)) for path in MODULES} - {"__init__"} == set(RANK)
    assert {path.stem for path in PACKAGE.glob("*.py")} == TOP_MODULES


def test_imports_point_downwards() -> None:
    assert len(EDGES) > 100
    upwards = [
        f"{source} imports {target}"
        for source, target in EDGES
        if place(source) != place(target) and RANK[place(source)] >= RANK[place(target)]
    ]
    assert upwards == []


def test_no_circles_inside_a_room() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for source, target in EDGES:
        if place(source) == place(target):
            graph[source].add(target)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as exc:
        pytest.fail(f"a circle: {' -> '.join(exc.args[1])}")


def test_no_public_name_stands_in_two_rooms() -> None:
    homes: dict[str, set[str]] = defaultdict(set)
    for path in MODULES:
        for name in public_names(path):
            homes[name].add(name_of(path))
    assert {name: sorted(places) for name, places in homes.items() if len(places) > 1} == {}


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "common", "misc"])
def test_no_module_is_named_after_nothing(name: str) -> None:
    assert [path for path in PACKAGE.rglob(f"{name}*") if path.stem == name] == []


def test_files_stay_small() -> None:
    lines = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 300} == {}


def test_every_test_file_has_a_name_of_its_own() -> None:
    """Two of one name in different folders cannot be collected together."""
    names = Counter(path.name for path in Path(__file__).parent.rglob("test_*.py"))
    assert [name for name, times in names.items() if times > 1] == []
