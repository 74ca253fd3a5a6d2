"""Findings: each defect is named with its rows, and what is sound is not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from robustkd.data import checks
from robustkd.data.view import Source
from tests.data.test_duplicates import jpeg, pictures

CLASSES = ("cat", "dog")


def source(images=None, labels=None, parts=None, classes=CLASSES, **more):
    images = pictures(60) if images is None else images
    labels = np.arange(len(images)) % len(classes) if labels is None else np.asarray(labels)
    return Source("toy", images, labels, classes, parts=None if parts is None else np.array(parts), **more)


def split(train=40, val=10, test=10):
    return ["train"] * train + ["val"] * val + ["test"] * test


def found(data, **options):
    """Findings but the notes on how the data are, by name."""
    told = checks.check_source(data, **options)
    assert [checks.SEVERITY_ORDER.index(f.severity) for f in told] == sorted(
        checks.SEVERITY_ORDER.index(f.severity) for f in told
    )
    names = [finding.name for finding in told]
    assert len(set(names)) == len(names) or any("leak" in name for name in names)
    return {finding.name: finding for finding in told if finding.name not in ("shape", "balance")}


def test_sound_data_give_notes_only():
    assert {finding.severity for finding in checks.check_source(source(parts=split()), least=20)} == {"note"}


@pytest.mark.parametrize(
    ("row", "other", "said"),
    [
        (3, 55, "1 of 10 test images is an exact copy of train images"),
        (3, 45, "1 of 10 val images is an exact copy of train images"),
        (45, 55, "1 of 10 test images is an exact copy of val images"),
    ],
)
def test_a_copy_in_another_part_is_a_leak(row, other, said):
    images, parts = pictures(60), split()
    labels = np.arange(60) % 2
    images[other], labels[other] = images[row], labels[row]
    told = found(source(images, labels, parts), least=1)
    assert told.keys() == {"exact leak"}
    assert told["exact leak"].severity == "error"
    assert told["exact leak"].sentence == said
    assert told["exact leak"].examples == (f"row {other} ({parts[other]}) = row {row} ({parts[row]})",)
    images[other] = jpeg(images[row])
    told = found(source(images, labels, parts), least=1)
    assert told.keys() == {"near leak"}
    assert told["near leak"].severity == "warning"
    assert told["near leak"].examples == (f"row {other} ({parts[other]}) ~ row {row} ({parts[row]})",)


def test_copies_within_a_part_and_across_are_told_apart():
    images = pictures(60)
    images[[1, 2, 50]] = images[0]  # three in train, one in test
    images[51] = jpeg(images[0])
    labels = np.zeros(60, np.int64)
    labels[30:40] = 1
    told = {f.name: f for f in checks.check_source(source(images, labels, split()), least=1)}
    assert (told["exact leak"].count, told["exact duplicates"].count) == (1, 2)
    assert told["exact duplicates"].examples == ("row 1 (train) = row 0 (train)", "row 2 (train) = row 0 (train)")
    assert told["near leak"].examples == ("row 51 (test) ~ row 0 (train)",)
    assert told["near duplicates"].examples == ("row 51 (test) ~ row 50 (test)",)


def test_copies_against_plain_loops():
    """Who leaks and who repeats, counted image by image."""
    random = np.random.default_rng(0)
    images, parts = pictures(40)[random.integers(0, 40, 60)], np.array(split())[random.permutation(60)]
    told = checks.check_source(source(images, np.zeros(60, np.int64), parts), least=1)
    texts = [image.tobytes() for image in images]
    for early, late in (("train", "test"), ("train", "val"), ("val", "test")):
        leaked = sum(
            parts[i] == late and any(texts[j] == texts[i] for j in np.flatnonzero(parts == early)) for i in range(60)
        )
        counts = [
            f.count
            for f in told
            if f.name == "exact leak" and f"{late} images" in f.sentence and f"of {early}" in f.sentence
        ]
        assert counts == ([leaked] if leaked else [])
    again = sum(any(parts[j] == parts[i] and texts[j] == texts[i] for j in range(i)) for i in range(60))
    assert [f.count for f in told if f.name == "exact duplicates"] == [again]


def test_an_image_under_two_labels():
    images = pictures(60)
    images[[7, 8]] = images[0], jpeg(images[1])
    labels = np.arange(60) % 2
    told = found(source(images, labels))
    assert told["two labels"].severity == "error"
    assert told["two labels"].examples == ("row 7 [dog] = row 0 [cat]",)
    assert told["two labels, nearly"].severity == "warning"
    assert told["two labels, nearly"].examples == ("row 1 [dog] ~ row 8 [cat]",)
    labels[[7, 8]] = labels[[0, 1]]
    assert found(source(images, labels)).keys() == {"exact duplicates", "near duplicates"}


def test_images_of_one_colour_are_named_and_are_no_copies():
    images = pictures(60)
    images[[4, 59]] = np.array([10, 20, 30], np.uint8)[:, None, None]
    told = found(source(images, parts=split()), least=1)
    assert told.keys() == {"constant"}
    assert told["constant"].examples == ("row 4 (train)", "row 59 (test)")


def test_small_and_missing_classes():
    labels = np.array([0] * 35 + [1] * 5 + [2] * 20)
    told = found(source(labels=labels, parts=split(), classes=("cat", "dog", "cow")), least=6)
    assert told["no images"].severity == "error"
    assert told["no images"].examples == ("cow",)
    assert told["few images"].examples == ("dog: 5",)
    assert "few images" not in found(source(labels=labels, parts=split(), classes=("cat", "dog", "cow")), least=5)


@pytest.mark.parametrize(
    ("names", "alike", "slips"),
    [
        (("Hat ", "hat", "T-shirt", "t-Shirt"), 2, 0),
        (("ice cream", "icecream"), 1, 0),
        (("shirt", "skirt", "dress"), 0, 1),
        (("short", "shorts", "shoe"), 0, 1),
        (("1", "2", "a", "b", "A"), 0, 0),
        (("cat", "rat", "bat"), 0, 0),
        (("class1", "class2", "class10", "speed 20", "speed 30"), 0, 0),
        (("Maus", "Haus", "mauſ"), 1, 1),
        (("abcd", "bcda", "abdc"), 0, 0),
    ],
)
def test_names(names, alike, slips):
    told = {finding.name: finding for finding in checks.check_class_names(names)}
    assert (told["names alike"].count if alike else "names alike" not in told) == (alike or True)
    assert ("names one letter apart" in told) == bool(slips)
    if slips:
        assert told["names one letter apart"].count == slips
        assert told["names one letter apart"].severity == "note"


def test_slips_against_the_edit_distance():
    """All words of four to six letters out of two that one edit makes one."""
    random = np.random.default_rng(0)
    words = sorted({"".join(random.choice(["a", "b"], random.integers(4, 7))) for _ in range(30)})

    def one_edit(a, b):
        if len(a) == len(b):
            return sum(x != y for x, y in zip(a, b, strict=True)) == 1
        a, b = sorted((a, b), key=len)
        return len(b) - len(a) == 1 and any(b[:i] + b[i + 1 :] == a for i in range(len(b)))

    expected = {(a, b) for a in words for b in words if a < b and one_edit(a, b)}
    assert expected
    assert set(checks._one_letter_apart(words)) == expected


def test_balance():
    def told(*counts):
        return checks.check_balance(checks.ClassCounts(tuple("abc"), np.array([counts, (0, 0, 0), (0, 0, 0)]).T))[0]

    assert told(10, 10, 10).sentence == "all classes have 10 training images"
    one = told(2, 198, 100)
    assert (one.severity, "1 to 99.0" in one.sentence) == ("note", True)
    share = np.array([2, 198, 100]) / 300
    assert f"evenness {-sum(p * np.log(p) for p in share) / np.log(3):.3f}" in one.sentence
    assert told(2, 200, 100).severity == "warning"


def test_clean_labels_are_counted_where_they_are():
    labels = np.arange(60) % 2
    truth = np.full(60, -1)
    truth[:10] = labels[:10]
    truth[3] = 0
    told = found(source(labels=labels, truth=truth))["clean labels"]
    assert told.sentence == "10 of 60 images have a clean label; 1 of these (10.0 %) are labelled otherwise"
    assert told.examples == ("row 3: dog, clean cat",)
    assert "clean labels" not in found(replace(source(labels=labels), truth=labels))


def test_sizes_come_from_the_files(tmp_path):
    for name, size in (("a.png", (40, 40)), ("b.png", (16, 40)), ("c.png", (10, 200)), ("d.jpg", (300, 310))):
        Image.new("RGB", size).save(tmp_path / name)
    (tmp_path / "e.png").write_text("no image")
    told = {
        f.name: f
        for f in checks.check_file_sizes(tmp_path, ["a.png", "b.png", "c.png", "d.jpg", "e.png", "f.png", "a.png"], 32)
    }
    assert told["sizes"].sentence.startswith("files of 16x40 to 300x310 pixels")
    assert told["enlarged"].examples == ("b.png: 16x40", "c.png: 10x200")
    assert (told["long"].severity, told["long"].examples) == ("warning", ("c.png: 10x200",))
    assert checks.check_file_sizes(tmp_path, ["f.png"], 32) == []
