"""Checks of a data set: each defect is reported with its rows, and sound data give no warning."""

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


def findings_by_name(data, **options):
    """The findings by name, without the descriptive notes."""
    findings = checks.check_source(data, **options)
    assert [checks.SEVERITY_ORDER.index(f.severity) for f in findings] == sorted(
        checks.SEVERITY_ORDER.index(f.severity) for f in findings
    )
    names = [finding.name for finding in findings]
    assert len(set(names)) == len(names) or any("leak" in name for name in names)
    return {finding.name: finding for finding in findings if finding.name not in ("shape", "balance")}


def test_sound_data_give_only_notes():
    assert {finding.severity for finding in checks.check_source(source(parts=split()), least=20)} == {"note"}


@pytest.mark.parametrize(
    ("row", "other", "expected"),
    [
        (3, 55, "1 of 10 test images is an exact copy of train images"),
        (3, 45, "1 of 10 val images is an exact copy of train images"),
        (45, 55, "1 of 10 test images is an exact copy of val images"),
    ],
)
def test_a_copy_in_another_part_is_a_leak(row, other, expected):
    images, parts = pictures(60), split()
    labels = np.arange(60) % 2
    images[other], labels[other] = images[row], labels[row]
    findings = findings_by_name(source(images, labels, parts), least=1)
    assert findings.keys() == {"exact leak"}
    assert findings["exact leak"].severity == "error"
    assert findings["exact leak"].sentence == expected
    assert findings["exact leak"].examples == (f"row {other} ({parts[other]}) = row {row} ({parts[row]})",)
    images[other] = jpeg(images[row])
    findings = findings_by_name(source(images, labels, parts), least=1)
    assert findings.keys() == {"near leak"}
    assert findings["near leak"].severity == "warning"
    assert findings["near leak"].examples == (f"row {other} ({parts[other]}) ~ row {row} ({parts[row]})",)


def test_copies_within_and_across_parts_are_distinguished():
    images = pictures(60)
    images[[1, 2, 50]] = images[0]  # three in train, one in test
    images[51] = jpeg(images[0])
    labels = np.zeros(60, np.int64)
    labels[30:40] = 1
    findings = {f.name: f for f in checks.check_source(source(images, labels, split()), least=1)}
    assert (findings["exact leak"].count, findings["exact duplicates"].count) == (1, 2)
    assert findings["exact duplicates"].examples == ("row 1 (train) = row 0 (train)", "row 2 (train) = row 0 (train)")
    assert findings["near leak"].examples == ("row 51 (test) ~ row 0 (train)",)
    assert findings["near duplicates"].examples == ("row 51 (test) ~ row 50 (test)",)


def test_copies_equal_plain_loops():
    """Leaks and repetitions, counted image by image."""
    random = np.random.default_rng(0)
    images, parts = pictures(40)[random.integers(0, 40, 60)], np.array(split())[random.permutation(60)]
    findings = checks.check_source(source(images, np.zeros(60, np.int64), parts), least=1)
    texts = [image.tobytes() for image in images]
    for early, late in (("train", "test"), ("train", "val"), ("val", "test")):
        leaked = sum(
            parts[i] == late and any(texts[j] == texts[i] for j in np.flatnonzero(parts == early)) for i in range(60)
        )
        counts = [
            f.count
            for f in findings
            if f.name == "exact leak" and f"{late} images" in f.sentence and f"of {early}" in f.sentence
        ]
        assert counts == ([leaked] if leaked else [])
    again = sum(any(parts[j] == parts[i] and texts[j] == texts[i] for j in range(i)) for i in range(60))
    assert [f.count for f in findings if f.name == "exact duplicates"] == [again]


def test_an_image_under_two_labels():
    images = pictures(60)
    images[[7, 8]] = images[0], jpeg(images[1])
    labels = np.arange(60) % 2
    findings = findings_by_name(source(images, labels))
    assert findings["two labels"].severity == "error"
    assert findings["two labels"].examples == ("row 7 [dog] = row 0 [cat]",)
    assert findings["two labels, nearly"].severity == "warning"
    assert findings["two labels, nearly"].examples == ("row 1 [dog] ~ row 8 [cat]",)
    labels[[7, 8]] = labels[[0, 1]]
    assert findings_by_name(source(images, labels)).keys() == {"exact duplicates", "near duplicates"}


def test_images_of_one_colour_are_listed_and_not_compared():
    images = pictures(60)
    images[[4, 59]] = np.array([10, 20, 30], np.uint8)[:, None, None]
    findings = findings_by_name(source(images, parts=split()), least=1)
    assert findings.keys() == {"constant"}
    assert findings["constant"].examples == ("row 4 (train)", "row 59 (test)")


def test_small_and_missing_classes():
    labels = np.array([0] * 35 + [1] * 5 + [2] * 20)
    findings = findings_by_name(source(labels=labels, parts=split(), classes=("cat", "dog", "cow")), least=6)
    assert findings["no images"].severity == "error"
    assert findings["no images"].examples == ("cow",)
    assert findings["few images"].examples == ("dog: 5",)
    assert "few images" not in findings_by_name(
        source(labels=labels, parts=split(), classes=("cat", "dog", "cow")), least=5
    )


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
def test_similar_class_names(names, alike, slips):
    findings = {finding.name: finding for finding in checks.check_class_names(names)}
    assert (findings["names alike"].count if alike else "names alike" not in findings) == (alike or True)
    assert ("names one letter apart" in findings) == bool(slips)
    if slips:
        assert findings["names one letter apart"].count == slips
        assert findings["names one letter apart"].severity == "note"


def test_similar_names_have_an_edit_distance_of_one():
    """Random words of four to six letters, a and b, against a direct definition."""
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
    def balance(*counts):
        return checks.check_balance(checks.ClassCounts(tuple("abc"), np.array([counts, (0, 0, 0), (0, 0, 0)]).T))[0]

    assert balance(10, 10, 10).sentence == "all classes have 10 training images"
    one = balance(2, 198, 100)
    assert (one.severity, "1 to 99.0" in one.sentence) == ("note", True)
    share = np.array([2, 198, 100]) / 300
    assert f"evenness {-sum(p * np.log(p) for p in share) / np.log(3):.3f}" in one.sentence
    assert balance(2, 200, 100).severity == "warning"


def test_clean_labels_are_counted_where_known():
    labels = np.arange(60) % 2
    truth = np.full(60, -1)
    truth[:10] = labels[:10]
    truth[3] = 0
    findings = findings_by_name(source(labels=labels, truth=truth))["clean labels"]
    assert findings.sentence == "10 of 60 images have a clean label; 1 of these (10.0 %) are labelled otherwise"
    assert findings.examples == ("row 3: dog, clean cat",)
    assert "clean labels" not in findings_by_name(replace(source(labels=labels), truth=labels))


def test_sizes_are_read_from_the_files(tmp_path):
    for name, size in (("a.png", (40, 40)), ("b.png", (16, 40)), ("c.png", (10, 200)), ("d.jpg", (300, 310))):
        Image.new("RGB", size).save(tmp_path / name)
    (tmp_path / "e.png").write_text("no image")
    findings = {
        f.name: f
        for f in checks.check_file_sizes(tmp_path, ["a.png", "b.png", "c.png", "d.jpg", "e.png", "f.png", "a.png"], 32)
    }
    assert findings["sizes"].sentence.startswith("files of 16x40 to 300x310 pixels")
    assert findings["enlarged"].examples == ("b.png: 16x40", "c.png: 10x200")
    assert (findings["long"].severity, findings["long"].examples) == ("warning", ("c.png: 10x200",))
    assert checks.check_file_sizes(tmp_path, ["f.png"], 32) == []
