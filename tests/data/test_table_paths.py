"""Paths in tables: relative to a root that none may leave, and names without an ending."""

import re
from pathlib import Path

import pytest

from robustkd.data.sources import load_dataset
from robustkd.data.table_paths import PathResolver
from robustkd.errors import UsageError
from tests.data.image_files import assert_refused, make_folder


@pytest.fixture
def lists(tmp_path: Path) -> Path:
    """Class folders next to a folder for tables."""
    make_folder(tmp_path / "images")
    (tmp_path / "lists").mkdir()
    return tmp_path / "lists"


def write(file: Path, *paths: object) -> str:
    rows = [f"{path},{label}" for path, label in zip(paths, ("cat", "cat", "dog", "dog"), strict=True)]
    file.write_text("\n".join(["image,label", *rows]))
    return f"csv:{file}"


NAMES = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")


def test_a_root_may_be_named(lists: Path) -> None:
    root = lists.parent
    relative = write(lists / "a.csv", *(f"images/{name}" for name in NAMES))
    upwards = write(lists / "b.csv", *(f"../images/{name}" for name in NAMES))
    absolute = write(lists / "c.csv", *(root / "images" / name for name in NAMES))
    for name in (upwards, absolute):
        assert_refused(name, "line 2: ", "is outside", "--root names another", image_size=8)
    sources = [load_dataset(name, root=str(root), image_size=8) for name in (relative, upwards, absolute)]
    assert {source.files for source in sources} == {tuple(f"images/{name}" for name in NAMES)}
    assert load_dataset(absolute, root="/", image_size=8).fingerprint == sources[0].fingerprint


def test_paths_do_not_leave_the_named_root(lists: Path) -> None:
    for path in ("../../etc/a.png", "/etc/a.png", f"{lists.parent}x/a.png", "images/../../a.png", "..", "C:/a.png"):
        name = write(lists / "a.csv", path, *(f"images/{name}" for name in NAMES[1:]))
        assert_refused(name, f"line 2: '{path}' is outside {lists.parent}", root=str(lists.parent))


def test_links_below_the_root_are_followed(tmp_path: Path) -> None:
    make_folder(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "images").symlink_to(tmp_path / "elsewhere")
    name = write(tmp_path / "data" / "a.csv", *(f"images/{name}" for name in NAMES))
    assert len(load_dataset(name, image_size=8).labels) == 4


def test_names_without_an_ending_are_completed(lists: Path) -> None:
    name = write(lists / "a.csv", *(f"images/{name.removesuffix('.png')}" for name in NAMES))
    source = load_dataset(name, root=str(lists.parent), image_size=8)
    assert source.files == tuple(f"images/{name}" for name in NAMES)
    (lists.parent / "images" / "cat" / "0.jpg").touch()
    assert_refused(name, "line 2: 'images/cat/0' may be 0.jpg or 0.png", root=str(lists.parent))


def test_a_name_that_contains_a_dot_is_completed(tmp_path: Path) -> None:
    (tmp_path / "v1.2.png").touch()
    (tmp_path / "v1.3").touch()
    resolver = PathResolver("toy", tmp_path, None, "row {}".format)
    assert resolver.complete_endings(["v1.2", "v1.3", "v1.4"]) == ["v1.2.png", "v1.3", "v1.4"]


@pytest.mark.parametrize("ending", [".png", ""])
def test_the_root_that_was_meant_is_suggested(lists: Path, ending: str) -> None:
    name = write(lists.parent / "a.csv", *(name.replace(".png", ending) for name in NAMES))
    with pytest.raises(
        UsageError, match=re.escape(f"there is one in {lists.parent}/images: --root {lists.parent}/images")
    ):
        load_dataset(name)
    load_dataset(name, root=f"{lists.parent}/images", image_size=8)
