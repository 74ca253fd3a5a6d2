"""The check-data command: findings, output and exit code."""

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
    """Write class folders of distinct pictures."""
    seed = 0
    for part, count in (("train", train), ("test", test)):
        for kind in kinds:
            Path(root, part, kind).mkdir(parents=True)
            for number in range(count):
                picture(seed := seed + 1).save(Path(root, part, kind, f"{number}.png"))
    return Path(root)


def run_check(capsys, *arguments):
    """Run the command; return exit code, standard output and standard error."""
    code = 0
    try:
        cli.main(["check-data", *map(str, arguments)])
    except SystemExit as exit_:
        code = exit_.code
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def run_json_check(capsys, *arguments):
    code, out, err = run_check(capsys, *arguments, "--json")
    report = json.loads(out)
    assert err == ""
    assert code == {"clean": 0, "warnings": 1, "errors": 2}[report["verdict"]]
    for severity in ("error", "warning", "note"):
        assert report[f"{severity}s"] == sum(finding["severity"] == severity for finding in report["findings"])
    return code, report, {finding["name"]: finding for finding in report["findings"]}


def test_a_clean_folder(capsys):
    folder("data")
    code, out, _ = run_check(capsys, "folder:data")
    assert code == 0
    assert out.startswith("folder:data: 50 images of 2 classes\n")
    assert "files of 40x48 pixels (width x height), 50 of 50" in out
    assert out.rstrip().endswith("clean: 0 errors, 0 warnings, 4 notes")
    assert "split: train/ 42 images -> 38 training, 4 held out; test/ 8 images -> test" in out
    code, report, _ = run_json_check(capsys, "folder:data")
    assert code == 0
    assert report["classes"] == [
        {"class": "dress", "train": 21, "val": 0, "test": 4},
        {"class": "hat", "train": 21, "val": 0, "test": 4},
    ]
    assert run_json_check(capsys, "folder:data", "--least", "22")[0] == 1
    assert "enlarged" in run_json_check(capsys, "folder:data", "--image-size", "44")[2]


def test_all_problems_of_a_folder_are_reported_at_once(capsys):
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
    code, report, findings = run_json_check(capsys, "folder:data")
    assert code == 2
    assert {name for name, finding in findings.items() if finding["severity"] == "error"} == {
        *("exact leak", "two labels", "unreadable")
    }
    assert {name for name, finding in findings.items() if finding["severity"] == "warning"} == {
        *("near leak", "exact duplicates", "constant", "names alike")
    }
    assert findings["exact leak"]["examples"] == ["test/dress/leak.png = train/dress/0.png"]
    assert findings["near leak"]["examples"] == ["test/dress/near.jpg ~ train/dress/1.png"]
    assert findings["two labels"]["examples"] == ["train/hat/same.png [hat] = train/dress/2.png [dress]"]
    assert findings["names alike"]["examples"] == ["'Hat ' and 'hat'"]
    why = dict(text.split(": ") for text in findings["unreadable"]["examples"])
    assert "truncated" in why["train/dress/cut.png"]
    assert why["train/dress/moving.gif"] == "it contains more than one image"
    assert why["train/dress/gone.png"] == "No such file or directory"
    assert report["images"] == 75 + 4
    _, out, _ = run_check(capsys, "folder:data")
    assert "error   exact leak: 1 of 14 test images is an exact copy of train images" in out
    assert out.index("error ") < out.index("warning ") < out.index("note ")


def test_a_class_without_images_is_an_error_of_the_data_set(capsys):
    root = folder("data")
    for file in (root / "train" / "hat").iterdir():
        file.write_text("no image")
    code, _, findings = run_json_check(capsys, "folder:data")
    assert code == 2
    assert findings["no images"]["examples"] == ["hat"]
    assert findings["unreadable"]["count"] == 21
    assert findings["unreadable"]["examples"][0] == "train/hat/0.png: not an image of a known format"


def test_a_table_with_clean_labels(capsys):
    folder("data", test=0)
    rows = [f"train/{kind}/{n}.png,{kind},{'hat' if n < 5 else ''}" for kind in ("dress", "hat") for n in range(21)]
    Path("data/table.csv").write_text("\n".join(["image,label,clean_label", *rows]))
    code, _, findings = run_json_check(capsys, "csv:data/table.csv")
    assert code == 0
    assert findings["clean labels"]["sentence"].startswith("10 of 42 images have a clean label; 5 of these (50.0 %)")
    assert findings["sizes"]["count"] == 42


def test_arrays(capsys):
    images = pictures(60).transpose(0, 2, 3, 1)
    np.savez("toy.npz", X=images, y=np.arange(60) % 2, X_test=images[:3], y_test=np.arange(3) % 2)
    code, report, findings = run_json_check(capsys, "npz:toy.npz")
    assert (code, report["errors"]) == (2, 1)
    assert findings["exact leak"]["count"] == 3
    assert findings["exact leak"]["examples"][1] == "row 61 (test) = row 1 (train)"
    assert "and 0 more" not in run_check(capsys, "npz:toy.npz")[1]


@pytest.mark.parametrize(
    ("arguments", "captured"),
    [
        (["folder:lost"], "there is no lost"),
        (["folder:"], "no data set is called 'folder:'"),
        (["digit"], "did you mean 'digits'"),
        (["digits", "--least", "0"], "--least is '0' but should be greater than or equal to 1"),
        (["digits", "--image-size", "4"], "--image-size is '4' but should be 'auto' or greater than or equal to 8"),
        (["digits", "--json", "--lest", "3"], "--least"),
        ([], "SPEC"),
    ],
)
def test_invalid_arguments_are_refused(capsys, arguments, captured):
    code, out, err = run_check(capsys, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("robustkd: ")
    assert err.count("\n") == 1
    assert captured in err


def test_other_errors_of_a_folder_are_refused_as_usual(capsys):
    Path("data/hat").mkdir(parents=True)
    picture(0).save("data/hat/0.png")
    code, out, err = run_check(capsys, "folder:data")
    assert (code, out) == (2, "")
    assert "only one class" in err


def test_options_say_how_a_table_is_read(capsys):
    folder("data", test=0)
    Path("lists").mkdir()
    rows = [f"data/train/{kind}/{n},{kind},{n % 2},{n < 3}" for kind in ("dress", "hat") for n in range(21)]
    Path("lists/table.csv").write_text("\n".join(["file_name,kind,label,is_test", *rows]))
    arguments = ("csv:lists/table.csv", "--root", ".", "--label-column", "kind")
    _, report, findings = run_json_check(capsys, *arguments)
    assert [(entry["class"], entry["train"], entry["test"]) for entry in report["classes"]] == [
        ("dress", 18, 3),
        ("hat", 18, 3),
    ]
    assert findings["sizes"]["count"] == 42
    notes = [finding["sentence"] for finding in report["findings"] if finding["name"] == "reading"]
    assert notes == [
        "the column 'file_name' is read as image",
        "the column 'is_test' is read as the split into train, val and test",
    ]
    _, report, _ = run_json_check(capsys, *arguments, "--split-column", "none")
    assert [entry["train"] for entry in report["classes"]] == [21, 21]
    Path("lists/plain.csv").write_text("\n".join(row.split(",")[0] + " " + row.split(",")[1] for row in rows))
    _, report, _ = run_json_check(capsys, "csv:lists/plain.csv", "--root", ".", "--no-header")
    assert [entry["train"] for entry in report["classes"]] == [21, 21]


def test_what_is_not_read_is_a_warning_unless_it_is_certainly_no_image(capsys):
    root = folder("data")
    (root / "README.md").write_text("about")
    code, _, findings = run_json_check(capsys, "folder:data")
    assert code == 0
    assert findings["not read"]["severity"] == "note"
    (root / "train" / "dress" / "turn.mp4").write_bytes(b"video")
    code, report, _ = run_json_check(capsys, "folder:data")
    assert code == 1
    unread = [finding for finding in report["findings"] if finding["name"] == "not read"]
    assert [finding["examples"] for finding in unread] == [
        ["train/dress/turn.mp4: a video"],
        ["README.md: not an image"],
    ]


def test_classes_without_test_images_are_named(capsys):
    root = folder("data")
    shutil.rmtree(root / "test" / "hat")
    code, _, findings = run_json_check(capsys, "folder:data")
    assert code == 1
    assert findings["untested"]["examples"] == ["hat"]
