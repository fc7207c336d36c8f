"""What the package imports is declared, what is declared is imported, and the licence's text goes along."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
DISTRIBUTIONS = {
    "PIL": "pillow",
    "yaml": "pyyaml",
    "sklearn": "scikit-learn",
    "grpc": "grpcio",
    "mlflow": "mlflow-skinny",
}
OF_USERS = {extra: needs for extra, needs in PROJECT["optional-dependencies"].items() if extra != "test"}


def declared(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~; ]", each)[0].lower().replace("_", "-") for each in requirements}


def imported(tree: ast.AST) -> Iterator[str]:
    """The distributions that a piece of code imports from outside."""
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        for top in (name.partition(".")[0] for name in names):
            if top not in sys.stdlib_module_names | {"batchseg"}:
                yield DISTRIBUTIONS.get(top, top).lower().replace("_", "-")


def users() -> dict[str, set[Path]]:
    """Which modules import what."""
    found = defaultdict(set)
    for path in (ROOT / "batchseg").rglob("*.py"):
        for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
            found[name].add(path)
    return found


def test_what_is_imported_is_declared_and_the_other_way_round() -> None:
    optional = {name for needs in OF_USERS.values() for name in declared(needs)}
    needed = declared(PROJECT["dependencies"])
    assert not needed & optional
    assert set(users()) == needed | optional


@pytest.mark.parametrize("extra", OF_USERS)
def test_an_extra_is_imported_in_functions_that_name_it_where_it_is_missing(extra: str) -> None:
    for name in declared(OF_USERS[extra]):
        for path in users()[name]:
            text = path.read_text(encoding="utf-8")
            tree = ast.parse(text)
            tree.body = [node for node in tree.body if not isinstance(node, ast.FunctionDef)]
            assert name not in imported(tree), f"{path.name} imports {name} whether it is there or not"
            assert "except ImportError" in text and f"pip install 'batchseg[{extra}]'" in text


def test_the_tests_extra_has_all_others() -> None:
    assert f"batchseg[{','.join(OF_USERS)}]" in PROJECT["optional-dependencies"]["test"]


def test_scenes_without_scikit_learn_are_one_sentence(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['sklearn'] = sys.modules['sklearn.datasets'] = None\n"
        "from batchseg.cli.group import cli\n"
        f"cli(['digits', {str(tmp_path / 'out')!r}, '--count', '1'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "the digit scenes need scikit-learn: pip install 'batchseg[scenes]'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_licence_s_text_goes_along() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    (file,) = PROJECT["license-files"]
    words = " ".join((ROOT / file).read_text(encoding="utf-8").split())
    assert words.startswith("Apache License Version 2.0, January 2004 http://www.apache.org/licenses/")
    assert "END OF TERMS AND CONDITIONS APPENDIX" in words
