"""Folders of images: classes and parts from folder names, and the layouts that are refused."""

import shutil

import numpy as np
import pytest

import scenarios
from robustkd.data import decode
from robustkd.data.sources import load_dataset
from robustkd.data.view import View
from tests.data.image_files import REAL_DATA, assert_refused, make_folder, noise_image, save_image


def test_class_folders(tmp_path):
    root = make_folder(tmp_path, ("dog", "cat", "ant"))
    source = load_dataset(f"folder:{root}", image_size=8)
    assert source.classes == ("ant", "cat", "dog")
    assert source.images.shape == (6, 3, 8, 8)
    assert isinstance(source.images, np.memmap)
    assert not source.images.flags.writeable
    assert source.files[:2] == ("ant/0.png", "ant/1.png")
    assert list(source.labels) == [0, 0, 1, 1, 2, 2]
    assert source.labels.dtype == np.int64
    assert source.truth is None
    assert source.parts is None
    assert source.flips
    for row, file in enumerate(source.files):
        assert (source.images[row] == decode.decode_image(root / file, 8)).all()


def test_other_and_hidden_files_are_ignored(tmp_path):
    root = make_folder(tmp_path)
    plain = load_dataset(f"folder:{root}").fingerprint
    for name in ("notes.txt", "labels.csv", "Thumbs.db", ".0.png", "._1.png"):
        (root / "cat" / name).write_text("not an image")
    make_folder(root, part="cat/.ipynb_checkpoints")
    make_folder(root / "__MACOSX")
    make_folder(root / ".git")
    (root / "README.md").write_text("about")
    assert load_dataset(f"folder:{root}").fingerprint == plain


def test_subfolders_belong_to_their_class(tmp_path):
    root = make_folder(tmp_path)
    save_image(noise_image(5), root / "cat" / "monday" / "0.PNG")
    assert load_dataset(f"folder:{root}").files == (
        "cat/0.png",
        "cat/1.png",
        "cat/monday/0.PNG",
        "dog/0.png",
        "dog/1.png",
    )


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_parts(tmp_path, val):
    for part in ("train", val, "test"):
        make_folder(tmp_path, part=part)
    source = load_dataset(f"folder:{tmp_path}")
    assert source.classes == ("cat", "dog")
    for row, file in enumerate(source.files):
        part, kind, _ = file.split("/")
        assert source.parts[row] == ("val" if part == val else part)
        assert source.classes[source.labels[row]] == kind


def test_a_class_called_train_is_a_class(tmp_path):
    source = load_dataset(f"folder:{make_folder(tmp_path, ('bus', 'car', 'train'))}")
    assert source.classes == ("bus", "car", "train")
    assert source.parts is None


def test_tiny_imagenet(tmp_path):
    for kind in ("n01", "n02", "n03"):
        for one in range(2):
            save_image(noise_image(one), tmp_path / "train" / kind / "images" / f"{kind}_{one}.JPEG")
    for one in range(3):
        save_image(noise_image(one), tmp_path / "val" / "images" / f"val_{one}.JPEG")
        save_image(noise_image(one), tmp_path / "test" / "images" / f"test_{one}.JPEG")
    notes = "".join(f"val_{one}.JPEG\t{kind}\t0\t0\t62\t62\n" for one, kind in enumerate(("n03", "n01", "n03")))
    (tmp_path / "val" / "val_annotations.txt").write_text(notes)
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tcrane\nn03\tcrane, bird\nn04\tboat\n")
    source = load_dataset(f"folder:{tmp_path}")
    assert source.classes == ("goldfish", "n02", "n03")
    assert source.files[-3:] == tuple(f"val/images/val_{one}.JPEG" for one in range(3))
    assert list(source.labels) == [0, 0, 1, 1, 2, 2, 2, 0, 2]
    assert list(source.parts) == ["train"] * 6 + ["val"] * 3
    (tmp_path / "val" / "images" / "val_1.JPEG").unlink()
    assert_refused(f"folder:{tmp_path}", "val/images/val_1.JPEG", "No such file")


def test_incomplete_layouts_are_refused(tmp_path):
    assert_refused(f"folder:{make_folder(tmp_path / 'photos').parent}/photo", "there is no", "did you mean 'photos'")
    (tmp_path / "empty").mkdir()
    assert_refused(f"folder:{tmp_path / 'empty'}", "contains no class folders")
    assert_refused(f"folder:{make_folder(tmp_path / 'one', ['cat'])}", "only one class", "'cat'")
    assert_refused(f"folder:{tmp_path / 'one' / 'cat' / '0.png'}", "is a file, not a folder")
    (make_folder(tmp_path / "hollow") / "bird").mkdir()
    assert_refused(f"folder:{tmp_path / 'hollow'}", "no images", "bird")
    make_folder(tmp_path / "flat", ("train", "test"))
    assert_refused(f"folder:{tmp_path / 'flat'}", "'train' contains no class folders", "--class-level 1")
    make_folder(tmp_path / "tested", ("cat", "dog", "test"))
    assert_refused(f"folder:{tmp_path / 'tested'}", "'test'", "but no 'train'", "--class-level 1")


def test_parts_with_different_classes_are_refused(tmp_path):
    make_folder(tmp_path, part="train")
    make_folder(tmp_path, ("cat", "dog", "newt"), part="test")
    assert_refused(f"folder:{tmp_path}", "test has classes that train does not have", "newt")
    shutil.rmtree(tmp_path / "test")
    make_folder(tmp_path, part="tests")
    assert_refused(f"folder:{tmp_path}", "'tests' is next to 'train'")


def test_a_class_of_unreadable_images_is_named(tmp_path):
    root = make_folder(tmp_path)
    for file in (root / "dog").iterdir():
        file.write_text("not an image")
    assert_refused(f"folder:{root}", "no readable images", "dog", skip_bad_images=True)
    for file in (root / "cat").iterdir():
        file.write_text("not an image")
    assert_refused(f"folder:{root}", "none of the 4", "not an image", skip_bad_images=True)


def test_real_photographs():
    if not (REAL_DATA / "clothing").is_dir():
        pytest.skip("real data not present")
    source = load_dataset(f"folder:{REAL_DATA / 'clothing'}")
    assert source.images.shape == (3781, 3, 32, 32)
    assert {part: int((source.parts == part).sum()) for part in ("train", "val", "test")} == {
        "train": 3068,
        "val": 341,
        "test": 372,
    }
    assert len(source.classes) == 10
    assert 60 < source.images.mean() < 220


def test_a_nameless_matrix_follows_the_order_of_numbers(tmp_path):
    numbers = [str(number) for number in range(12)]
    make_folder(tmp_path, numbers, count=3)
    rows = [f"{number}/{image}.png,{number}" for number in numbers for image in range(3)]
    (tmp_path / "mine.csv").write_text("\n".join(["image,label", *rows]))
    transitions = np.eye(12)
    transitions[2, [2, 3]] = 0, 1  # all of class 2 are shown as 3
    np.savetxt(tmp_path / "T.csv", transitions, delimiter=",")
    for name in (f"folder:{tmp_path}", f"csv:{tmp_path / 'mine.csv'}"):
        source = load_dataset(name, image_size=8)
        assert list(source.classes) == numbers
        (step,) = scenarios.parse(f"matrix(file={tmp_path / 'T.csv'})")
        shown = step.apply(View.of(source))
        changed = {(source.classes[a], source.classes[b]) for a, b in zip(source.labels, shown.labels, strict=True)}
        assert changed - {(name, name) for name in numbers} == {("2", "3")}


def parts_of(source):
    """The number of images in each part."""
    return dict(zip(*np.unique(source.parts, return_counts=True), strict=True)) if source.parts is not None else None


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Training", "Testing"),
        ("TRAIN", "TEST"),
        ("training_set", "test_set"),
        ("seg_train", "seg_test"),
        ("train", "eval"),
        ("training_set/training_set", "test_set/test_set"),
        ("Final_Training/Images", "Final_Test/Images"),
    ],
)
def test_parts_by_the_names_of_public_data_sets(tmp_path, train, test):
    for part in (train, test):
        make_folder(tmp_path, part=part)
    source = load_dataset(f"folder:{tmp_path}")
    assert source.classes == ("cat", "dog")
    assert parts_of(source) == {"test": 4, "train": 4}
    assert source.part_names == {"train": f"{train}/", "test": f"{test}/"}
    assert source.notes == ()


def test_class_folders_that_contain_parts(tmp_path):
    for part in ("train", "Test"):
        make_folder(tmp_path, (f"cat/{part}", f"dog/{part}"))
    source = load_dataset(f"folder:{tmp_path}")
    assert source.classes == ("cat", "dog")
    assert parts_of(source) == {"test": 4, "train": 4}
    assert source.files[0] == "cat/Test/0.png"
    assert source.part_names == {"train": "*/train/", "test": "*/Test/"}


def test_folders_of_the_same_names_in_all_classes_are_refused_with_both_readings(tmp_path):
    root = make_folder(tmp_path, ("color/cat", "color/dog", "grey/cat", "grey/dog", "grey/fox"))
    assert_refused(
        f"folder:{root}",
        "the folders color and grey contain folders of the same names, as cat and dog",
        "--class-level 1 takes the former as the classes, --class-level 2 the latter",
    )
    assert load_dataset(f"folder:{root}", class_level=1).classes == ("color", "grey")
    source = load_dataset(f"folder:{root}", class_level=2)
    assert source.classes == ("cat", "dog", "fox")
    assert source.parts is None
    assert source.notes == ("the classes are the folders at level 2, those in color and grey together",)
    assert_refused(f"folder:{root}", "no folder is 3 levels below the path", class_level=3)


def test_the_level_of_classes_below_parts(tmp_path):
    for part in ("train", "test"):
        make_folder(tmp_path, ("2021/cat", "2021/dog", "2022/cat", "2022/dog"), part=part)
    assert_refused(
        f"folder:{tmp_path}", "2021 and 2022 contain folders of the same names", "--class-level 2", "--class-level 3"
    )
    source = load_dataset(f"folder:{tmp_path}", class_level=3)
    assert source.classes == ("cat", "dog")
    assert parts_of(source) == {"test": 8, "train": 8}
    assert load_dataset(f"folder:{tmp_path}", class_level=2).classes == ("2021", "2022")
    assert load_dataset(f"folder:{tmp_path}", class_level=1, min_class=1).classes == ("test", "train")


def test_a_common_folder_with_images_next_to_it_is_no_class(tmp_path):
    root = make_folder(tmp_path, ("cat", "dog", "cat/new", "cat/old", "dog/new", "dog/old"))
    assert load_dataset(f"folder:{root}").classes == ("cat", "dog")


def test_classes_called_like_parts(tmp_path):
    root = make_folder(tmp_path, ("invalid", "valid"))
    assert_refused(f"folder:{root}", "there is 'valid' but no 'train'", "--class-level 1 says so")
    assert load_dataset(f"folder:{root}", class_level=1).classes == ("invalid", "valid")


def test_folders_without_labels_are_named(tmp_path):
    for part in ("seg_train/seg_train", "seg_test/seg_test"):
        make_folder(tmp_path, part=part)
    save_image(noise_image(1), tmp_path / "seg_pred" / "seg_pred" / "1.png")
    save_image(noise_image(2), tmp_path / "seg_train" / "seg_train" / "loose.png")
    save_image(noise_image(2), tmp_path / "loose.png")
    source = load_dataset(f"folder:{tmp_path}")
    assert source.notes == ("seg_pred/ is not used: its 1 images are not in class folders, so they have no labels",)
    assert source.unread == dict.fromkeys(("loose.png", "seg_train/seg_train/loose.png"), "outside class folders")
    assert len(source.files) == 8


def test_a_part_twice_is_refused(tmp_path):
    for part in ("train", "Training", "test"):
        make_folder(tmp_path, part=part)
    assert_refused(f"folder:{tmp_path}", "'Training' and 'train' would both be the train part")


def test_the_output_of_programs_is_no_class(tmp_path):
    root = make_folder(tmp_path)
    (root / "studies" / "cat-clean").mkdir(parents=True)
    (root / "studies" / "cat-clean" / "study.json").write_text('{"robustkd": "0.1.0"}')
    source = load_dataset(f"folder:{root}")
    assert source.classes == ("cat", "dog")
    assert source.notes == ("what programs wrote is not read: studies/ (by robustkd)",)
    assert_refused(f"folder:{root / 'studies' / 'cat-clean'}", "was written by robustkd")


def test_hints_at_the_path_that_was_meant(tmp_path):
    root = make_folder(tmp_path / "archive" / "photos")
    assert_refused(f"folder:{tmp_path / 'archive'}", "only one class, 'photos'", f"did you mean 'folder:{root}'?")
    flat = tmp_path / "flat"
    save_image(noise_image(1), flat / "1.png")
    (flat / "labels.csv").write_text("image,label\n")
    assert_refused(f"folder:{flat}", "contains no class folders", f"did you mean 'csv:{flat / 'labels.csv'}'?")


def test_parts_in_folders_named_by_class_and_part(tmp_path):
    root = make_folder(tmp_path / "inner", ("cat/cat_train", "cat/cat_test", "dog/dog_train", "dog/dog_test"))
    assert parts_of(load_dataset(f"folder:{root}")) == {"test": 4, "train": 4}
    root = make_folder(tmp_path / "outer", ("cat_train", "cat_test", "dog_train", "dog_test"))
    assert_refused(f"folder:{root}", "named by class and part", "--class-level 1 says so")
    assert len(load_dataset(f"folder:{root}", class_level=1).classes) == 4


def test_parts_in_some_classes_only_are_refused(tmp_path):
    root = make_folder(tmp_path, ("cat/train", "cat/test", "dog"))
    assert_refused(f"folder:{root}", "'cat' contains test and train, but 'dog' does not")
    (root / "dog").rename(root / ".dog")
    make_folder(root, ("dog/train",))
    assert parts_of(load_dataset(f"folder:{root}")) == {"test": 2, "train": 4}


def test_sites_that_share_most_classes_are_refused_in_spite_of_a_stray_image(tmp_path):
    root = make_folder(tmp_path, ("north/cat", "north/dog", "south/cat", "south/dog", "south/fox"), 6)
    save_image(noise_image(1), root / "north" / "map.png")
    assert_refused(f"folder:{root}", "folders of the same names, as cat and dog")


def test_classes_with_folders_of_their_own_are_classes(tmp_path):
    root = make_folder(tmp_path, ("cat/tom", "cat/kitty", "dog/rex", "dog/kitty"))
    assert load_dataset(f"folder:{root}").classes == ("cat", "dog")
    root = make_folder(tmp_path / "images", ("cat/images", "dog/images"))
    assert load_dataset(f"folder:{root}").classes == ("cat", "dog")


def test_accents_of_either_encoding_are_the_same_class(tmp_path):
    make_folder(tmp_path, ("cafe\u0301", "bar"), part="train")
    make_folder(tmp_path, ("caf\u00e9", "bar"), part="test")
    assert load_dataset(f"folder:{tmp_path}").classes == ("bar", "caf\u00e9")


def test_names_of_classes_in_a_file_of_another_encoding(tmp_path):
    root = make_folder(tmp_path)
    (root / "words.txt").write_bytes(b"cat\ttiger\ndog\twol\xe7f\n")
    assert load_dataset(f"folder:{root}").classes[0] == "tiger"


def test_a_part_without_images_is_named(tmp_path):
    make_folder(tmp_path, part="train")
    (tmp_path / "val").mkdir()
    for name in ("cat", "dog"):
        (tmp_path / "test" / name).mkdir(parents=True)
    assert load_dataset(f"folder:{tmp_path}").notes == ("test/ contains no images", "val/ contains no images")
