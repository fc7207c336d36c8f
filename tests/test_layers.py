"""The package is cut in layers: an import points downwards, or stays inside its package."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "batchseg"
MODULES = sorted(PACKAGE.rglob("*.py"))

# from the top; what stands in one row does not know of each other
LAYERS = (
    {"__main__"},
    {"cli"},
    {"cli_cluster", "cli_compare", "cli_inspect", "cli_train"},
    {"cli_options", "terminal_compare", "terminal_inspect", "terminal_train"},
    {"nightly"},
    {"terminal", "pipeline", "training", "analysis", "cluster"},
    {"engine", "preflight"},
    {"results"},
    {"stages"},
    {"segmentors"},
    {"masks", "images"},
    {"upsample", "metrics", "labels", "image_headers", "load", "storage", "keys"},
    {"errors", "class_sums", "strict_yaml"},
    {"config_compare", "config_train"},
    {"config", "schema"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


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


def test_imports_point_downwards() -> None:
    assert len(EDGES) > 100
    upwards = [
        f"{source} imports {target}"
        for source, target in EDGES
        if place(source) != place(target) and RANK[place(source)] >= RANK[place(target)]
    ]
    assert upwards == []


@pytest.mark.parametrize("name", ["utils", "util", "helpers", "common", "misc"])
def test_no_module_is_named_after_nothing(name: str) -> None:
    assert [path for path in PACKAGE.rglob(f"{name}*") if path.stem == name] == []


def test_files_stay_small() -> None:
    lines = {name_of(path): path.read_text(encoding="utf-8").count("\n") for path in MODULES}
    assert {name: count for name, count in lines.items() if count > 400} == {}
