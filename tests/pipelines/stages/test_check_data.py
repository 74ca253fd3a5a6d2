"""check-data as a user types it: what it says, and the exit code."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines import cli
from tests.data.test_duplicates import pictures


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROBUSTKD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def picture(seed):
    return Image.fromarray(pictures(1, seed, (48, 40))[0].transpose(1, 2, 0))


def folder(root, kinds=("dress", "hat"), train=21, test=4):
    """Class folders of pictures, no two alike."""
    seed = 0
    for part, count in (("train", train), ("test", test)):
        for kind in kinds:
            Path(root, part, kind).mkdir(parents=True)
            for number in range(count):
                picture(seed := seed + 1).save(Path(root, part, kind, f"{number}.png"))
    return Path(root)


def typed(capsys, *arguments):
    """The exit code and what was written."""
    code = 0
    try:
        cli.main(["check-data", *map(str, arguments)])
    except SystemExit as exit_:
        code = exit_.code
    said = capsys.readouterr()
    return code, said.out, said.err


def reported(capsys, *arguments):
    code, out, err = typed(capsys, *arguments, "--json")
    report = json.loads(out)
    assert err == ""
    assert code == {"clean": 0, "warnings": 1, "errors": 2}[report["verdict"]]
    for severity in ("error", "warning", "note"):
        assert report[f"{severity}s"] == sum(finding["severity"] == severity for finding in report["findings"])
    return code, report, {finding["name"]: finding for finding in report["findings"]}


def test_a_sound_folder(capsys):
    folder("data")
    code, out, _ = typed(capsys, "folder:data")
    assert code == 0
    assert out.startswith("folder:data: 50 images of 2 classes\n")
    assert "files of 40x48 pixels (width x height), 50 of 50" in out
    assert out.rstrip().endswith("clean: 0 errors, 0 warnings, 3 notes")
    code, report, _ = reported(capsys, "folder:data")
    assert code == 0
    assert report["classes"] == [
        {"class": "dress", "train": 21, "val": 0, "test": 4},
        {"class": "hat", "train": 21, "val": 0, "test": 4},
    ]
    assert reported(capsys, "folder:data", "--least", "22")[0] == 1
    assert "enlarged" in reported(capsys, "folder:data", "--image-size", "44")[2]


def test_a_broken_folder_is_told_in_one_go(capsys):
    root = folder("data", ("Hat ", "hat", "dress"))
    dress = root / "train" / "dress"
    shutil.copy(dress / "0.png", root / "test" / "dress" / "leak.png")
    Image.open(dress / "1.png").save(root / "test" / "dress" / "near.jpg", quality=75)
    shutil.copy(dress / "2.png", root / "train" / "hat" / "same.png")
    Image.new("RGB", (30, 30), (1, 2, 3)).save(dress / "flat.png")
    picture(900).save(dress / "moving.gif", save_all=True, append_images=[picture(901)])
    whole = (dress / "3.png").read_bytes()
    (dress / "cut.png").write_bytes(whole[: len(whole) // 2])
    (dress / "gone.png").symlink_to("nowhere.png")
    code, report, told = reported(capsys, "folder:data")
    assert code == 2
    assert {name for name, finding in told.items() if finding["severity"] == "error"} == {
        *("exact leak", "two labels", "unreadable")
    }
    assert {name for name, finding in told.items() if finding["severity"] == "warning"} == {
        *("near leak", "exact duplicates", "constant", "names alike")
    }
    assert told["exact leak"]["examples"] == ["test/dress/leak.png = train/dress/0.png"]
    assert told["near leak"]["examples"] == ["test/dress/near.jpg ~ train/dress/1.png"]
    assert told["two labels"]["examples"] == ["train/hat/same.png [hat] = train/dress/2.png [dress]"]
    assert told["names alike"]["examples"] == ["'Hat ' and 'hat'"]
    why = dict(text.split(": ") for text in told["unreadable"]["examples"])
    assert "truncated" in why["train/dress/cut.png"]
    assert why["train/dress/moving.gif"] == "it contains more than one image"
    assert why["train/dress/gone.png"] == "No such file or directory"
    assert report["images"] == 75 + 4
    _, out, _ = typed(capsys, "folder:data")
    assert "error   exact leak: 1 of 14 test images is an exact copy of train images" in out
    assert out.index("error ") < out.index("warning ") < out.index("note ")


def test_a_class_without_images_is_an_error_not_a_refusal(capsys):
    root = folder("data")
    for file in (root / "train" / "hat").iterdir():
        file.write_text("no image")
    code, _, told = reported(capsys, "folder:data")
    assert code == 2
    assert told["no images"]["examples"] == ["hat"]
    assert told["unreadable"]["count"] == 21
    assert told["unreadable"]["examples"][0] == "train/hat/0.png: not an image of a known format"


def test_a_table_with_clean_labels(capsys):
    folder("data", test=0)
    rows = [f"train/{kind}/{n}.png,{kind},{'hat' if n < 5 else ''}" for kind in ("dress", "hat") for n in range(21)]
    Path("data/table.csv").write_text("\n".join(["image,label,clean_label", *rows]))
    code, _, told = reported(capsys, "csv:data/table.csv")
    assert code == 0
    assert told["clean labels"]["sentence"].startswith("10 of 42 images have a clean label; 5 of these (50.0 %)")
    assert told["sizes"]["count"] == 42


def test_arrays(capsys):
    images = pictures(60).transpose(0, 2, 3, 1)
    np.savez("toy.npz", X=images, y=np.arange(60) % 2, X_test=images[:3], y_test=np.arange(3) % 2)
    code, report, told = reported(capsys, "npz:toy.npz")
    assert (code, report["errors"]) == (2, 1)
    assert told["exact leak"]["count"] == 3
    assert told["exact leak"]["examples"][1] == "row 61 (test) = row 1 (train)"
    assert "and 0 more" not in typed(capsys, "npz:toy.npz")[1]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["folder:lost"], "there is no lost"),
        (["folder:"], "no data set is called 'folder:'"),
        (["digit"], "did you mean 'digits'"),
        (["digits", "--least", "0"], "--least is 0 but should be greater than or equal to 1"),
        (["digits", "--image-size", "4"], "--image-size is 4 but should be greater than or equal to 8"),
        (["digits", "--json", "--lest", "3"], "--least"),
        ([], "SPEC"),
    ],
)
def test_what_cannot_be_begun(capsys, arguments, said):
    code, out, err = typed(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("robustkd: ")
    assert err.count("\n") == 1
    assert said in err


def test_a_folder_that_is_wrong_in_another_way_keeps_its_sentence(capsys):
    Path("data/hat").mkdir(parents=True)
    picture(0).save("data/hat/0.png")
    code, out, err = typed(capsys, "folder:data")
    assert (code, out) == (2, "")
    assert "only one class" in err
