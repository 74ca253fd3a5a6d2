"""The wheel that is built contains every file of the packages, and nothing else."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import robustkd

HOME = Path(__file__).parents[1]
PACKAGES = ("robustkd", "scenarios", "pipelines")
# What pip calls, in this environment, so that nothing is downloaded.
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel, built from a copy, because building writes into the folder."""
    pytest.importorskip("setuptools", minversion="77")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("dist")
    for name in PACKAGES:
        shutil.copytree(HOME / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOME / name, copy)
    done = subprocess.run([sys.executable, "-c", BUILD, str(out)], cwd=copy, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return zipfile.ZipFile(out / done.stdout.split()[-1])


def test_the_wheel_has_all_files_of_the_packages_with_their_content(wheel: zipfile.ZipFile) -> None:
    files = {path for name in PACKAGES for path in (HOME / name).rglob("*") if path.is_file()}
    expected = {path.relative_to(HOME).as_posix(): path for path in files if path.parent.name != "__pycache__"}
    packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == expected.keys()
    others = {name for name in packed if not name.endswith(".py")}
    assert {"robustkd/py.typed", "pipelines/report/templates/report.html.j2"} <= others
    assert all(wheel.read(name) == expected[name].read_bytes() for name in others)


def test_the_wheel_says_version_licence_and_command(wheel: zipfile.ZipFile) -> None:
    information = f"robustkd-{robustkd.__version__}.dist-info"
    assert f"Version: {robustkd.__version__}\n" in wheel.read(f"{information}/METADATA").decode()
    assert "robustkd = pipelines.cli:main" in wheel.read(f"{information}/entry_points.txt").decode()
    assert f"{information}/licenses/LICENSE" in wheel.namelist()
