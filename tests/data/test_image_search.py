"""Every file below a folder is an image, hidden, a program's, or accounted for."""

import os

import pytest

from robustkd.data.image_search import NOT_AN_IMAGE, find_images, list_image_files
from tests.data.image_files import make_folder, noise_image, save_image


def test_images_at_any_depth_and_empty_folders(tmp_path):
    root = make_folder(tmp_path, ("cat", "dog/day 1"), 1)
    (root / "dog" / "none").mkdir()
    found = find_images(root)
    assert found.images == ["cat/0.png", "dog/day 1/0.png"] == list_image_files(root)
    assert found.folders == ["cat", "dog", "dog/day 1", "dog/none"]
    assert found.unread == found.outputs == {}


def test_linked_folders_are_entered_and_loops_are_not(tmp_path):
    make_folder(tmp_path / "elsewhere", ("more",), 3)
    root = make_folder(tmp_path / "photos", ("cat", "dog"), 1)
    (root / "cat" / "linked").symlink_to(tmp_path / "elsewhere" / "more")
    (root / "dog" / "loop").symlink_to(root)
    (root / "bird").symlink_to(tmp_path / "elsewhere" / "more")
    found = find_images(root)
    assert found.images == [
        *(f"bird/{number}.png" for number in range(3)),
        *("cat/0.png", *(f"cat/linked/{number}.png" for number in range(3)), "dog/0.png"),
    ]
    assert found.unread == {"dog/loop": "a link to a folder around it"}


def test_what_is_not_read_is_named_with_its_reason(tmp_path):
    root = make_folder(tmp_path, ("cat",), 1)
    content = (root / "cat" / "0.png").read_bytes()
    reasons = {
        "notes.txt": NOT_AN_IMAGE,
        "README": NOT_AN_IMAGE,
        "a.mp4": "a video",
        "b.zip": "an archive that is not unpacked",
        "c.DNG": "an image format that is not decoded",
        "d.jpg_large": "an image under another extension",
        "e": "an image under another extension",
        "gone.txt2": "a broken link",
        "pipe": "not a regular file",
    }
    for name in reasons:
        (root / "cat" / name).write_bytes(content if name in ("d.jpg_large", "e") else b"text")
    for name, replace in {"gone.txt2": lambda path: path.symlink_to("nowhere"), "pipe": os.mkfifo}.items():
        (root / "cat" / name).unlink()
        replace(root / "cat" / name)
    assert find_images(root).unread == {f"cat/{name}": reason for name, reason in sorted(reasons.items())}
    assert find_images(root).images == ["cat/0.png"]


@pytest.mark.parametrize("signature", [b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"\0\0\0\x18ftypheic"])
def test_images_are_recognised_by_their_first_bytes(tmp_path, signature):
    (tmp_path / "x.xyz").write_bytes(signature + b"\0" * 20)
    assert find_images(tmp_path).unread == {"x.xyz": "an image under another extension"}


def test_a_folder_that_cannot_be_entered_is_named(tmp_path, monkeypatch):
    root = make_folder(tmp_path, ("cat", "dog"), 1)
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    found = find_images(root)
    assert found.unread == {"dog": "a folder that cannot be entered (Permission denied)"}
    assert found.images == ["cat/0.png"]


def test_folders_of_systems_and_drives_are_hidden(tmp_path):
    root = make_folder(tmp_path, ("cat", "cat/@eaDir/0.png", "#recycle", "__MACOSX", ".git", "__pycache__"), 1)
    found = find_images(root)
    assert found.images == ["cat/0.png"]
    assert found.folders == ["cat"]
    assert found.unread == {}


def test_the_output_of_programs_is_not_entered(tmp_path):
    root = make_folder(tmp_path, ("cat",), 1)
    for place in ("results/one/study.json", "results/two/study.json", "mlruns/1/" + "0a" * 16 + "/artifacts/x.txt"):
        file = root / place
        file.parent.mkdir(parents=True)
        file.write_text('{"robustkd": "0.1.0"}')
        save_image(noise_image(0), file.parent / "figure.png")
    (root / "studies").mkdir()
    (root / "results" / "table.txt").touch()
    (root / "mlflow.db").touch()
    found = find_images(root)
    assert found.images == ["cat/0.png"]
    assert found.folders == ["cat"]
    assert found.unread == {}
    assert found.outputs == {"mlruns": "MLflow", "results": "robustkd", "studies": "robustkd"}


def test_outputs_next_to_images_do_not_hide_these(tmp_path):
    root = make_folder(tmp_path, ("cat",), 1)
    (root / "cat" / "study-1").mkdir()
    (root / "cat" / "study-1" / "study.json").write_text('{"robustkd": "0.1.0"}')
    found = find_images(root)
    assert found.images == ["cat/0.png"]
    assert found.outputs == {"cat/study-1": "robustkd"}
    assert find_images(root / "cat" / "study-1").outputs == {".": "robustkd"}
