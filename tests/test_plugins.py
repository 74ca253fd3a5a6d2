"""Users' files that extend the registries."""

from pathlib import Path

import pytest

from robustkd.criteria import CRITERIA
from robustkd.data.augmentations import AUGMENTATIONS
from robustkd.data.user_datasets import USER_DATASETS
from robustkd.errors import UsageError
from robustkd.hashing import file_digest
from robustkd.methods import METHODS
from robustkd.plugins import load_plugins, plugin_digests, plugin_paths
from tests.helpers import toy_registry


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files: one with a method and a criterion, one with a scenario."""
    contents = {
        "mine.py": "def method(student): ...\ndef loss(data): ...\nMETHODS, CRITERIA = {'mine': method}, {'own': loss}\n",
        "more.py": "def fog(*, density: float = 1.0): ...\nSCENARIOS = {'fog': fog}\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    return [tmp_path / name for name in contents]


def test_paths_are_separated_by_commas() -> None:
    assert plugin_paths("a.py, folder/b.py") == ["a.py", "folder/b.py"]
    assert plugin_paths(None) == plugin_paths("") == []


def test_each_dictionary_of_a_file_feeds_its_registry(files: list[Path]) -> None:
    load_plugins(str(files[0]))
    assert METHODS.parse("mine").load().__name__ == "method"
    assert CRITERIA.parse("own").load().__name__ == "loss"
    load_plugins(str(files[0]))  # twice does no harm: options are read by several stages


def test_further_registries_are_fed_where_they_are_given(files: list[Path]) -> None:
    scenarios = toy_registry()
    load_plugins(",".join(map(str, files)), {"SCENARIOS": scenarios})
    assert scenarios.parse("fog(density=2)").kwargs() == {"density": 2}
    assert "mine" in METHODS


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--plug .*absent\.py: there is no such file"):
        load_plugins(str(tmp_path / "absent.py"))


def test_a_files_digest_changes_with_its_content(files: list[Path]) -> None:
    plug = ",".join(map(str, files))
    before = plugin_digests(plug)
    assert before == [file_digest(file) for file in files]
    files[1].write_text(files[1].read_text() + "# changed\n")
    assert [one == other for one, other in zip(before, plugin_digests(plug), strict=True)] == [True, False]
    assert plugin_digests(None) == []


def test_data_sets_and_augmentations_are_registered_too(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("DATASETS, AUGMENTATIONS = {'photos': lambda: None}, {'fog': object}\n")
    load_plugins(str(tmp_path / "mine.py"))
    assert "photos" in USER_DATASETS
    assert "fog" in AUGMENTATIONS
