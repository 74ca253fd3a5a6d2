"""Questions about the structure of folders."""

from robustkd.data.folder_tree import FolderTree, enclosing_folders, join

TREE = FolderTree(["a", "a/10", "a/9", "b", "b/c"], ["a/9/1.png", "a/9/2.png", "a/10/1.png", "b/1.png"])


def test_folders_and_images_are_counted_at_every_depth():
    assert TREE.subfolders("") == ["a", "b"]
    assert TREE.subfolders("a") == ["9", "10"]
    assert TREE.subfolders("a/9") == []
    assert TREE.at_level(2) == ["a/10", "a/9", "b/c"]
    assert [TREE.count_images(folder) for folder in ("", "a", "a/9", "b/c")] == [4, 3, 2, 0]
    assert [TREE.count_images_in(folder) for folder in ("", "a", "a/9", "b")] == [0, 0, 2, 1]


def test_an_only_subfolder_has_nothing_next_to_it():
    assert TREE.only_subfolder("a") is None
    assert TREE.only_subfolder("b") is None
    assert FolderTree(["x", "x/y"], ["x/y/1.png"]).only_subfolder("x") == "x/y"


def test_paths():
    assert (join("", "a"), join("a", "b")) == ("a", "a/b")
    assert (enclosing_folders(""), enclosing_folders("a")) == ([""], ["a", ""])
