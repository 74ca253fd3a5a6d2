"""The public names of the package: lazy, complete, and documented."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import robustkd
from tools.house import import_graph, load_modules

HOME = Path(__file__).parents[1]


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, robustkd; dir(robustkd); print([m for m in ('torch', 'pandas', 'mlflow', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=HOME, check=True)
    assert done.stdout.strip() == "[]"


def test_the_package_imports_none_of_its_modules_at_run_time() -> None:
    assert import_graph(load_modules(HOME))["robustkd"] == set()


@pytest.mark.parametrize("name", robustkd.__all__)
def test_public_names_are_documented_and_defined_under_their_own_name(name: str) -> None:
    value = getattr(robustkd, name)
    assert value.__name__ == name
    assert inspect.getdoc(value)
    assert name in dir(robustkd)


def test_type_checkers_see_the_names_that_are_loaded_lazily() -> None:
    tree = ast.parse((HOME / "robustkd" / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module != "robustkd"]
    (packages,) = [node for node in block.body if isinstance(node, ast.ImportFrom) and node.module == "robustkd"]
    assert tuple(alias.name for alias in packages.names) == robustkd._PACKAGES
    assert {alias.name: node.module for node in imports for alias in node.names} == robustkd._DEFINED_IN
    assert sorted(robustkd._DEFINED_IN) == sorted(robustkd.__all__)


def test_registries_are_attributes_and_unknown_names_are_refused() -> None:
    assert "hinton" in robustkd.methods.METHODS
    assert "balanced" in robustkd.criteria.CRITERIA
    with pytest.raises(AttributeError, match="no attribute 'run_studdy'"):
        _ = robustkd.run_studdy
