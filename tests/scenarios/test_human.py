"""human: the published files, custom files, and files that do not belong to the data set."""

import io
import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import scenarios
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from scenarios.human import Human

REAL = Path(__file__).parents[3] / "shared" / "data" / "cifar10n"
TEN = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def source(labels, classes, tested=0, name="toy", parts=None):
    labels = np.asarray(labels, dtype=np.int64)
    if tested:
        labels = np.concatenate([labels, np.arange(tested) % len(classes)])
        parts = np.repeat(["train", "test"], [len(labels) - tested, tested])
    images = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (len(labels), 1, 1, 1))
    return Source(name, images, labels, tuple(classes), truth=labels.copy(), parts=parts)


def cifar(classes):
    """Return the published labels of CIFAR-10 or CIFAR-100 with blank images, followed by 10,000 test rows."""
    if not REAL.exists():
        pytest.skip(f"CIFAR-N is not at {REAL}")
    with np.load(REAL / f"cifar{classes}n_labels.npz") as file:
        labels = file["clean_label"]
    names = TEN if classes == 10 else [f"class {number}" for number in range(classes)]
    return source(labels, names, 10000, f"cifar{classes}")


def train(shown):
    return View.of(shown, np.flatnonzero(shown.parts == "train") if shown.parts is not None else None)


def assert_rejected(words, view, *parts):
    with pytest.raises(UsageError) as caught:
        scenarios.parse(words)(view)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value), str(caught.value)


# The published files: noise rates, and their range over the classes.


@pytest.mark.parametrize("file", ["CIFAR-10_human.pt", "cifar10n_labels.npz"])
@pytest.mark.parametrize(
    ("column", "rate", "least", "most"),
    [
        ("aggre", 0.0901, 0.026, 0.175),
        ("random1", 0.1723, None, None),
        ("random2", 0.1812, None, None),
        ("random3", 0.1764, None, None),
        ("worse", 0.4021, 0.278, 0.513),
        ("worse_label", 0.4021, 0.278, 0.513),
    ],
)
def test_cifar10n(file, column, rate, least, most):
    view = train(cifar(10))
    scenario = scenarios.parse(f"human({column}, file={REAL / file})")
    after = scenario(view)
    wrong = after.labels != view.labels
    assert round(wrong.mean(), 4) == rate
    rates = scenario.corruption_rates(view)
    assert rates == pytest.approx([wrong[view.labels == label].mean() for label in range(10)])
    if least:
        assert (round(rates.min(), 3), round(rates.max(), 3)) == (least, most)
    assert np.array_equal(after.rows, view.rows)


def test_frequent_human_confusions():
    view = train(cifar(10))
    after = scenarios.parse(f"human(worse, file={REAL / 'CIFAR-10_human.pt'})")(view)
    for true, shown, share in (("truck", "automobile", 0.282), ("automobile", "truck", 0.247), ("cat", "dog", 0.206)):
        labels = after.labels[view.labels == TEN.index(true)]
        assert round((labels == TEN.index(shown)).mean(), 3) == share
    assert (after.counts.min(), after.counts.max()) == (4040, 6053)


def test_cifar100n():
    view = train(cifar(100))
    scenario = scenarios.parse(f"human(column=noisy, file={REAL / 'cifar100n_labels.npz'})")
    after = scenario(view)
    assert round((after.labels != view.labels).mean(), 4) == 0.4020
    assert (round(scenario.corruption_rates(view).min(), 3), round(scenario.corruption_rates(view).max(), 3)) == (
        0.080,
        0.874,
    )
    assert (after.counts.min(), after.counts.max()) == (199, 865)
    assert_rejected(
        f"human(noisy_coarse_label, file={REAL / 'cifar100n_labels.npz'})", view, "names 20 superclasses", "'noisy'"
    )


def test_a_subset_of_rows_gets_its_own_labels():
    shown = cifar(10)
    whole = scenarios.parse(f"human(worse, file={REAL / 'cifar10n_labels.npz'})")
    rows = np.random.default_rng(0).permutation(50000)[:4000]
    assert np.array_equal(whole(View.of(shown, rows)).labels, whole(train(shown)).labels[rows])


def test_a_different_order_of_images_is_rejected():
    """TensorFlow's copy of CIFAR-10 has a different order."""
    shown = cifar(10)
    order = np.random.default_rng(0).permutation(50000)
    other = source(shown.labels[order], TEN, 10000, "cifar10")
    differ = int((other.labels[:50000] != shown.labels[:50000]).sum())
    assert_rejected(
        f"human(worse, file={REAL / 'CIFAR-10_human.pt'})", train(other), f"for {differ} of 50000 images", "order"
    )
    assert_rejected(
        f"human(worse, file={REAL / 'CIFAR-10_human.pt'})", train(cifar(100)), "the labels of cifar100 for", "of 50000"
    )


def test_other_labels_under_a_published_name_are_rejected(tmp_path):
    shown = cifar(10)
    with np.load(REAL / "cifar10n_labels.npz") as file:
        columns = dict(file)
    columns["worse_label"][7] += 1
    np.savez(tmp_path / "mine.npz", **columns)
    assert_rejected(f"human(worse, file={tmp_path / 'mine.npz'})", train(shown), "'worse_label'", "rename the column")
    assert len(scenarios.parse(f"human(aggre, file={tmp_path / 'mine.npz'})")(train(shown))) == 50000
    columns["mine"] = columns.pop("worse_label")
    del columns["clean_label"]
    np.savez(tmp_path / "mine.npz", **columns)
    assert len(scenarios.parse(f"human(mine, file={tmp_path / 'mine.npz'})")(train(shown))) == 50000
    assert_rejected(f"human(aggre, file={tmp_path / 'mine.npz'})", train(shown), "has no column 'clean_label'", "order")


# Custom files


@pytest.fixture
def toy():
    return source([0, 1, 2, 0, 1, 2, 0, 1], ["cat", "dog", "eel"])


def write(path, text, encoding="utf-8"):
    path.write_bytes(text.encode(encoding))
    return path


CSVS = {
    "names": "anna,clean_label\ndog,cat\ndog,dog\neel,eel\n,cat\ndog,dog\neel,eel\ncat,cat\n-1,dog\n",
    "numbers": "anna,clean_label\n1,0\n1,1\n2,2\n-1,0\n1,1\n2,2\n0,0\n,1\n",
    "floats": "anna\n1.0\n1.0\n2.0\n\n1.0\n2.0\n0.0\n-1.0\n",
    "an empty cell": 'anna\n1\n1\n2\n""\n1\n2\n0\n\n',
    "two empty cells": "anna;bert;\n1;0;\n1;;\n2;0;\n;;\n1;;\n2;1;\n0;0;\n;;\n",
    "Windows": '\ufeffanna,"bert, who"\r\n"dog",0\r\ndog,0\r\n eel,0\r\n,0\r\ndog ,0\r\neel,0\r\ncat,0\r\n,0\r\n',
}


@pytest.mark.parametrize("text", CSVS.values(), ids=CSVS)
def test_a_custom_csv(tmp_path, toy, text):
    scenario = Human("anna", str(write(tmp_path / "ours.csv", text)))
    after = scenario(View.of(toy))
    assert after.labels.tolist() == [1, 1, 2, 0, 1, 2, 0, 1], "a row without a label keeps the one shown"
    assert scenario.corruption_rates(View.of(toy)) == pytest.approx([1 / 3, 0, 0])


@pytest.mark.parametrize(
    "labels",
    [
        np.array([1, 1, 2, -1, 1, 2, 0, 1], np.int8),
        np.array([1, 1, 2, np.nan, 1, 2, 0, 1]),
        np.array(["dog", "dog", "eel", "", "dog", "eel", "cat", "dog"]),
        np.array([b"dog", b"dog", b"eel", b"", b"dog", b"eel", b"cat", b"dog"]),
    ],
)
def test_a_custom_npz(tmp_path, toy, labels):
    np.savez(tmp_path / "ours.npz", anna=labels, bert=np.arange(8))
    assert Human("anna", str(tmp_path / "ours.npz"))(View.of(toy)).labels.tolist() == [1, 1, 2, 0, 1, 2, 0, 1]


def test_class_names_that_look_like_numbers_are_names(tmp_path):
    shown = source([0, 1, 2, 0], ["3", "5", "7"])
    path = write(tmp_path / "ours.csv", "anna,clean_label\n5,3\n5,5\n7,7\n3,3\n")
    assert Human("anna", str(path))(View.of(shown)).labels.tolist() == [1, 1, 2, 0]
    write(path, "anna,clean_label\n1,0\n1,1\n2,2\n0,0\n")
    assert Human("anna", str(path))(View.of(shown)).labels.tolist() == [1, 1, 2, 0], "a changed file is read again"


def test_a_file_may_have_labels_for_all_non_test_or_training_rows(tmp_path):
    shown = source(np.zeros(10), ["a", "b"], parts=np.array(["test", "val", "train", "train", "val"] * 2))
    for length, rows in ((10, range(10)), (8, [1, 2, 3, 4, 6, 7, 8, 9]), (4, [2, 3, 7, 8])):
        path = write(tmp_path / "ours.csv", "anna\n" + "1\n" * length)
        assert np.flatnonzero(Human("anna", str(path))(View.of(shown)).labels).tolist() == list(rows)
    write(path, "anna\n1\n1\n")
    assert_rejected(f"human(anna, file={path})", View.of(shown), "has 2 labels, but toy has 4 or 8 or 10 images")


def test_foreign_images_and_earlier_steps(tmp_path):
    rng = np.random.default_rng(0)
    labels = np.arange(100) % 4
    shown = Source("toy", rng.integers(0, 256, (100, 1, 8, 8), dtype=np.uint8), labels, tuple("abcd"), truth=labels)
    human = (labels + (np.arange(100) % 2)) % 4
    np.savez(tmp_path / "ours.npz", anna=human)
    text = f"human(anna, file={tmp_path / 'ours.npz'})"
    view = View.of(shown)
    assert np.array_equal(scenarios.parse(f"noise0.5+{text}")(view).labels, human), (
        "annotators see the image, not the label"
    )
    middle = scenarios.parse("openset(0.3, source=digits)+noise0.5")(view)
    after = scenarios.parse(f"openset(0.3, source=digits)+noise0.5+{text}")(view)
    assert np.array_equal(after.labels, np.where(middle.foreign, middle.labels, human))


@pytest.mark.parametrize("before", ["noise0.4", "noise0.4+longtail10", "openset(0.3, source=digits)+noise0.4"])
def test_corruption_rates_are_relative_to_the_labels_shown(tmp_path, before):
    """Annotators see the image: after noise they change nearly every label that the noise changed, not one in five."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 5
    shown = Source("toy", rng.integers(0, 256, (1000, 1, 8, 8), dtype=np.uint8), labels, tuple("abcde"), truth=labels)
    np.savez(
        tmp_path / "ours.npz", anna=np.where(rng.random(1000) < 0.2, (labels + 1) % 5, np.where(labels, labels, -1))
    )
    scenario = Human("anna", str(tmp_path / "ours.npz"))
    view = scenarios.parse(before)(View.of(shown))
    after, rates = scenario(view), scenario.corruption_rates(view)
    realised = [(after.labels != view.labels)[view.labels == label].mean() for label in range(5)]
    assert rates == pytest.approx(realised)
    assert rates[1:].mean() > 0.25


def test_a_file_is_read_once_per_source(tmp_path, toy, monkeypatch):
    from scenarios import human

    text = "anna\ndog\ndog\neel\n\ndog\neel\ncat\ndog\n"
    path, reads = write(tmp_path / "ours.csv", text), []
    monkeypatch.setattr(
        human.csv_reader,
        "read_csv_rows",
        lambda *a, read=human.csv_reader.read_csv_rows, **k: reads.append(a) or read(*a, **k),
    )
    scenario = Human("anna", str(path))
    for view in (View.of(toy), View.of(toy, np.arange(4), seed=1)):
        scenario.corruption_rates(view)
        first = scenario(view).labels[:3].tolist()
    assert (len(reads), first) == (1, [1, 1, 2])
    assert scenario(View.of(source(toy.labels, ["eel", "dog", "cat"]))).labels[2] == 0, (
        "class numbers depend on the class names"
    )
    write(path, text.replace("dog", "eel", 1))
    assert scenario(View.of(toy)).labels[:3].tolist() == [2, 1, 2]
    assert len(reads) == 3


def test_a_million_labels_in_a_second(tmp_path):
    from time import process_time

    labels = np.random.default_rng(0).integers(0, 10, 1_000_000)
    shown = source(labels, TEN)
    np.savez(tmp_path / "ours.npz", anna=(labels + 1) % 10, clean_label=labels)
    view, before = View.of(shown), process_time()
    after = Human("anna", str(tmp_path / "ours.npz"))(view)
    assert process_time() - before < 1
    assert (after.labels == (labels + 1) % 10).all()


def test_invalid_files_are_rejected(tmp_path, toy):
    view = View.of(toy)
    path = write(tmp_path / "ours.csv", CSVS["names"])
    with pytest.raises(UsageError, match="needs a value for file"):
        scenarios.parse("human(column=worse)")
    assert_rejected(
        f"human(ana, file={path})", view, "has no column 'ana' (did you mean 'anna'?); it has: anna, clean_label"
    )
    assert_rejected(f"human(anna, file={tmp_path / 'our.csv'})", view, "there is no", "did you mean 'ours.csv'?")
    assert_rejected(f"human(anna, file={tmp_path})", view, "is a folder, not a file")
    for text, part in (
        (
            "anna\n" + "cow\n" * 8,
            "there is no class 'cow'; there are: cat, dog, eel; nor is it a class number from 0 to 2",
        ),
        ("anna\n" + "dogg\n" * 8, "there is no class 'dogg' (did you mean 'dog'?)"),
        ("anna\n" + "3\n" * 8, "no class '3'"),
        ("anna\n" + "-2\n" * 8, "no class '-2'"),
        ("anna\n" + "0.5\n" * 8, "no class '0.5'"),
        ("anna\n" + "0\n" * 7, "has 7 labels, but toy has 8 images"),
        ("anna,clean_label\n" + "0,0\n" * 8, "differs from the labels of toy for 5 of 8 images"),
        ("row,anna\n" + "0,1,\n" * 8, "line 2 of "),
        ("anna,bert,anna\n" + "0,1,1\n" * 8, "two columns of"),
        ("anna\n" + "0\n" * 8 + "\n", "has 9 labels, but toy has 8 images"),
        ("", "ours.csv is empty"),
        ('anna\n"', "is not a valid CSV file: line 2"),
    ):
        assert_rejected(f"human(anna, file={write(path, text)})", view, part)
    assert_rejected(f"human(anna, file={write(tmp_path / 'a.txt', 'anna')})", view, "is not a .pt, .npz, .csv file")
    np.savez(tmp_path / "a.npz", anna=np.zeros((8, 2), int))
    assert_rejected(f"human(anna, file={tmp_path / 'a.npz'})", view, "columns of one length", "anna (8, 2)")
    np.savez(tmp_path / "a.npz", anna=np.zeros(8, int), bert=np.zeros(7, int))
    assert_rejected(f"human(anna, file={tmp_path / 'a.npz'})", view, "columns of one length", "bert (7,)")
    np.savez(tmp_path / "a.npz", anna=np.array([{}] * 8))
    assert_rejected(f"human(anna, file={tmp_path / 'a.npz'})", view, "cannot be read as columns of labels")


# Pickles


def write_pt(path, content, protocol=2):
    """Write a pickle in a zip file, as torch.save does."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content if isinstance(content, bytes) else pickle.dumps(content, protocol))
        archive.writestr("archive/version", "3\n")
    return path


class MaliciousCall:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


@pytest.mark.parametrize("kind", ["<i8", "u1", ">i4", "<i2"])
@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_of_integers_round_trip(tmp_path, toy, kind, protocol):
    labels = np.array([1, 1, 2, 0, 1, 2, 0, 1], kind)
    path = write_pt(tmp_path / "ours.pt", {"anna": labels, "clean_label": toy.labels}, protocol)
    assert Human("anna", str(path))(View.of(toy)).labels.tolist() == labels.tolist()


def test_files_of_torch_save_can_be_read(tmp_path, toy):
    import torch

    torch.save({"anna": np.array([1, 1, 2, 0, 1, 2, 0, 1])}, tmp_path / "ours.pt")
    assert Human("anna", str(tmp_path / "ours.pt"))(View.of(toy)).labels.tolist() == [1, 1, 2, 0, 1, 2, 0, 1]
    torch.save({"anna": torch.zeros(8)}, tmp_path / "ours.pt")
    assert_rejected(
        f"human(anna, file={tmp_path / 'ours.pt'})", View.of(toy), "the pickle uses torch._utils._rebuild_tensor_v2"
    )


def test_a_pickle_runs_no_code(tmp_path, toy, monkeypatch):
    import os

    ran = []
    monkeypatch.setattr("builtins.eval", lambda *_: ran.append("eval"))
    marker = tmp_path / "ran"
    attacks = {
        "posix.system": {"anna": MaliciousCall(os.system, f"touch {marker}")},
        "builtins.eval": b"c__builtin__\neval\n(S'1'\ntR.",
        "builtins.getattr": {"anna": MaliciousCall(getattr, np.zeros(1), "tofile")},
        "numpy.save": {"anna": MaliciousCall(np.save, str(marker), np.zeros(1))},
        "_pickle.loads": {
            "anna": MaliciousCall(pickle.loads, pickle.dumps(MaliciousCall(os.system, f"touch {marker}")))
        },
        "numpy.ndarray.tofile": b"\x80\x04\x8c\x05numpy\x8c\x0endarray.tofile\x93.",
        "codecs.open": b"c_codecs\nopen\n(S'x'\ntR.",
        "copyreg._reconstructor": pickle.dumps(MaliciousCall(object.__new__, MaliciousCall), 0),
    }
    for name, attack in attacks.items():
        path = write_pt(tmp_path / f"{name}.pt", attack)
        with pytest.raises(UsageError, match="which labels do not need") as caught:
            Human("anna", str(path))(View.of(toy))
        assert "\n" not in str(caught.value)
    assert not ran
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps([1, 2]),
        pickle.dumps({"anna": [1, 2]}),
        pickle.dumps({"anna": np.zeros(8)}, 2),
        pickle.dumps({"anna": np.array([{}] * 8)}, 2),
        pickle.dumps({"anna": np.zeros(8, int)}, 2)[:-20],
        re.sub(b"K\x08\x85", b"K\x09\x85", pickle.dumps({"anna": np.zeros(8, int)}, 2)),  # declares nine values
        b"",
    ],
)
def test_anything_but_a_dictionary_of_integers_is_rejected(tmp_path, toy, content):
    path = write_pt(tmp_path / "ours.pt", content)
    assert_rejected(f"human(anna, file={path})", View.of(toy), f"{path} cannot be read as columns of labels")


def test_a_file_that_is_not_a_zip_is_rejected(tmp_path, toy):
    path = tmp_path / "ours.pt"
    path.write_bytes(pickle.dumps({"anna": np.zeros(8, int)}))
    assert_rejected(f"human(anna, file={path})", View.of(toy), "cannot be read as columns of labels")
    content = io.BytesIO()
    zipfile.ZipFile(content, "w").close()
    path.write_bytes(content.getvalue())
    assert_rejected(f"human(anna, file={path})", View.of(toy), "cannot be read as columns of labels")
