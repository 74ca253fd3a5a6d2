"""Pages of the documentation: code runs as written, block by block, and tables are those of the files that they name."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

HOME = Path(__file__).parents[1]
FILE = re.compile(r"# file: (\S+)\n")


def code_blocks(page: Path) -> list[str]:
    """Return a page's Python code, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_page(name: str, folder: Path) -> None:
    """Write the blocks that are files, and run the others as one script."""
    script = []
    for block in code_blocks(HOME / "docs" / name):
        if named := FILE.match(block):
            (folder / named[1]).write_text(block, encoding="utf-8")
        else:
            script.append(block)
    (folder / "page.py").write_text("\n\n".join(script), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(HOME),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": "file:///nowhere",
    }
    done = subprocess.run([sys.executable, "page.py"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_page_on_python_runs_as_written(tmp_path: Path) -> None:
    run_page("python.md", tmp_path)


def names_of_tests(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    functions = (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    )
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_line_on_faults_names_a_test_that_exists() -> None:
    page = (HOME / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| cause ")]
    assert len(rows) > 20
    for row in rows:
        cause, effect, remedy, test = (cell.strip() for cell in row.strip("|").split(" | "))
        assert all((cause, effect, remedy)), row
        path, _, name = test.strip("`").partition("::")
        assert name in names_of_tests(HOME / path), f"{test}: there is no such test"


@pytest.mark.slow
def test_the_page_on_notebooks_runs_as_written(tmp_path: Path) -> None:
    run_page("notebook.md", tmp_path)


@pytest.mark.parametrize("name", ["python.md", "notebook.md", "networks.md"])
def test_the_code_of_a_page_compiles(name: str) -> None:
    blocks = code_blocks(HOME / "docs" / name)
    assert blocks
    for block in blocks:
        ast.parse(block)


def test_the_documented_errors_are_those_of_the_table() -> None:
    table = pd.read_csv(HOME / "benchmarks" / "verdicts-error.csv").set_index(["setting", "seeds"])
    lines = (HOME / "docs" / "verdicts.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")][2:]
    assert [row[0] for row in rows] == list(table.index.unique("setting"))
    for name, se_seeds, se_images, *shares in rows:
        assert float(se_seeds) == pytest.approx(table.loc[(name, 5), "se seeds"], abs=0.0051)
        assert float(se_images) == pytest.approx(table.loc[(name, 5), "se images"], abs=0.0051)
        for column, cell in zip(
            ("crossed, a comparison", "crossed, a study", "seeds, a comparison"), shares, strict=True
        ):
            measured = [100 * table.loc[(name, n), column] for n in (5, 10)]
            assert [float(x) for x in cell.split(", ")] == pytest.approx(measured, abs=0.051)
