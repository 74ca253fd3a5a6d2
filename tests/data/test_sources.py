"""Loading data sets by name: published ones, foreign ones, images without labels, and unknown names."""

import gzip
import hashlib
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from robustkd.data import resize, sources
from robustkd.data.sources import DATASETS, load_dataset, load_images
from robustkd.data.view import View
from robustkd.errors import UsageError
from tests.data.image_files import (
    REAL_DATA,
    add_unreadable_images,
    assert_refused,
    make_folder,
    noise_image,
    save_image,
)


def test_importing_sources_loads_no_large_library():
    check = "import sys, robustkd.data.sources; print({'torch', 'sklearn', 'PIL', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_names_give_the_closest_and_the_list(tmp_path):
    assert_refused("cifar", "did you mean 'cifar10'", *DATASETS)
    assert_refused("MNIST", "did you mean 'mnist'")
    assert_refused("folder", "folder:PATH")
    assert_refused(str(tmp_path), f"did you mean 'folder:{tmp_path}'")
    for name, kind in {"a.csv": "csv", "b.CSV": "csv", "c.parquet": "parquet", "d.npz": "npz", "e": "npz"}.items():
        (tmp_path / name).touch()
        assert_refused(str(tmp_path / name), f"did you mean '{kind}:{tmp_path / name}'")
    assert_refused(f"cvs:{tmp_path / 'a.csv'}", "did you mean 'csv:PATH'")


def test_digits():
    source = load_dataset("digits")
    assert source.images.shape == (1797, 1, 8, 8)
    assert source.images.dtype == np.uint8
    assert (source.images.min(), source.images.max()) == (0, 255)
    assert source.classes == tuple("0123456789")
    assert source.parts is None
    assert not source.flips
    assert (source.truth == source.labels).all()
    assert source.fingerprint == load_dataset("digits").fingerprint


def test_fashion_mnist_is_read_packed_from_a_read_only_folder():
    if not (REAL_DATA / "fashion-mnist").is_dir():
        pytest.skip("real data not present")
    source = load_dataset("fashion-mnist", data_dir=str(REAL_DATA / "fashion-mnist"))
    assert source.images.shape == (70000, 1, 28, 28)
    assert [(source.parts == part).sum() for part in ("train", "test")] == [60000, 10000]
    assert list(source.parts[[0, -1]]) == ["train", "test"]
    assert source.classes[9] == "Ankle boot"
    assert source.labels[0] == 9
    assert set(np.bincount(source.labels)) == {7000}
    assert not source.flips


@pytest.mark.parametrize(("word", "place"), [("mnist", "MNIST/raw"), ("kmnist", "raw")])
def test_mnists_in_either_layout(tmp_path, word, place):
    raw = tmp_path / place
    raw.mkdir(parents=True)
    (tmp_path / "raw").mkdir(exist_ok=True)  # of another data set, if this one is in a folder of its own name
    for half, count in (("train", 5), ("t10k", 3)):
        images = np.arange(count * 784, dtype=np.uint8).tobytes()
        header = b"".join(n.to_bytes(4, "big") for n in (2051, count, 28, 28))
        (raw / f"{half}-images-idx3-ubyte").write_bytes(header + images)
        header = b"".join(n.to_bytes(4, "big") for n in (2049, count))
        (raw / f"{half}-labels-idx1-ubyte").write_bytes(header + bytes(range(count)))
    source = load_dataset(word, data_dir=str(tmp_path))
    assert source.images.shape == (8, 1, 28, 28)
    assert list(source.labels) == [0, 1, 2, 3, 4, 0, 1, 2]
    assert source.classes == (tuple("0123456789") if word == "mnist" else source.classes)
    assert len(source.classes) == 10
    (raw / "train-images-idx3-ubyte").write_bytes(b"cut off")
    assert_refused(word, word, "cannot be read", str(raw), "--download", data_dir=str(tmp_path))


def test_a_damaged_packed_mnist_is_named(tmp_path):
    for half in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{half}-ubyte.gz").write_bytes(gzip.compress(b"nothing"))
    assert_refused("fashion-mnist", "train-images-idx3-ubyte.gz", "not the published file", data_dir=str(tmp_path))


@pytest.mark.parametrize("word", ["mnist", "fashion-mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10"])
def test_missing_data_name_the_folder_and_the_options(tmp_path, word):
    assert_refused(word, word, "is missing", str(tmp_path), "--download", "--data-dir", data_dir=str(tmp_path))


def test_cifar10(tmp_path, monkeypatch):
    import torchvision

    place = tmp_path / "cifar-10-batches-py"
    place.mkdir()
    pixels = np.arange(2 * 3072).reshape(2, 3072).astype(np.uint8)
    named = {"batches.meta": {"label_names": ["aeroplane", "car"]}}
    batches = {name: {"data": pixels, "labels": [1, 0]} for name in ("data_batch_1", "test_batch")}
    sums = {}
    for name, content in {**named, **batches}.items():
        (place / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((place / name).read_bytes()).hexdigest()
    kind = torchvision.datasets.CIFAR10
    monkeypatch.setattr(kind, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": sums["batches.meta"]})
    source = load_dataset("cifar10", data_dir=str(tmp_path))
    assert (source.images[:2].reshape(2, -1) == pixels).all()
    assert source.images.flags.c_contiguous
    assert list(source.parts) == ["train", "train", "test", "test"]
    assert source.classes == ("aeroplane", "car")
    assert list(source.truth) == [1, 0, 1, 0]
    assert source.flips
    (place / "data_batch_1").write_bytes(b"cut off")
    assert_refused("cifar10", "cannot be read", str(place), "--download", data_dir=str(tmp_path))


def test_svhn_and_stl10(tmp_path, monkeypatch):
    import torchvision
    from scipy.io import savemat

    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 2), dtype=np.uint8)
    sums = {}
    for part in ("train", "test"):
        savemat(tmp_path / f"{part}_32x32.mat", {"X": pixels, "y": np.array([[10], [3]], np.uint8)})
        sums[part] = ["", f"{part}_32x32.mat", None]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", sums)
    source = load_dataset("svhn", data_dir=str(tmp_path))
    assert (source.images[1] == pixels[..., 1].transpose(2, 0, 1)).all()
    assert list(source.labels) == [0, 3, 0, 3]
    assert source.classes == tuple("0123456789")

    place = tmp_path / "stl10_binary"
    place.mkdir()
    for part in ("train", "test"):
        (place / f"{part}_X.bin").write_bytes(bytes(2 * 3 * 96 * 96))
        (place / f"{part}_y.bin").write_bytes(bytes([2, 1]))
    (place / "class_names.txt").write_text("airplane\nbird\n")
    kind = torchvision.datasets.STL10
    monkeypatch.setattr(kind, "train_list", [["train_X.bin", None], ["train_y.bin", None]])
    monkeypatch.setattr(kind, "test_list", [["test_X.bin", None], ["test_y.bin", None]])
    source = load_dataset("stl10", data_dir=str(tmp_path))
    assert source.images.shape == (4, 3, 96, 96)
    assert list(source.labels) == [1, 0, 1, 0]
    assert source.classes == ("airplane", "bird")


def test_a_failed_download_is_reported_in_one_line(tmp_path, monkeypatch):
    import torchvision

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", offline)
    assert_refused("cifar10", "cannot be downloaded", "no route to host", data_dir=str(tmp_path), download=True)


def test_images_of_a_folder_and_of_one_file(tmp_path):
    root = make_folder(tmp_path)
    names, images, _ = load_images(root, image_size=8, channels=3)
    assert names == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    assert (images == load_dataset(f"folder:{root}", image_size=8).images).all()
    names, grey, _ = load_images(root / "cat" / "1.png", image_size=8, channels=1)
    assert names == ["1.png"]
    assert grey.shape == (1, 1, 8, 8)
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601, what grey means to Pillow
    assert np.abs(grey[0, 0] - np.tensordot(weights, images[1], 1)).max() <= 1


def test_paths_without_images_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, expected in (
        (tmp_path / "emty", "did you mean 'empty'"),
        (tmp_path / "empty", "contains no image files"),
    ):
        with pytest.raises(UsageError, match=expected):
            load_images(path, image_size=8, channels=3)
    root = add_unreadable_images(make_folder(tmp_path / "photos"))
    with pytest.raises(UsageError, match=r"9 of 13.*cut\.jpg"):
        load_images(root, image_size=8, channels=3)
    names, images, _ = load_images(root, image_size=8, channels=3, skip_bad_images=True)
    assert len(names) == len(images) == 4


def load_resized(name, own):
    """All images of a foreign data set, as a view of the own one shows them."""
    foreign = sources.load_foreign_dataset(name, own)
    everything = np.arange(len(foreign.labels))
    view = View((own, foreign), everything, np.zeros_like(everything), origin=np.ones_like(everything))
    return view.images()


def test_foreign_images_are_resized_to_the_own_shape(tmp_path):
    digits, photos = load_dataset("digits"), load_dataset(f"folder:{make_folder(tmp_path)}", image_size=16)
    images = load_resized("digits", photos)
    assert images.shape == (1797, 3, 16, 16)
    assert (images[:, :1] == images).all()
    assert (images == resize.fit_images(digits.images, (3, 16, 16))).all()
    images = load_resized(f"folder:{tmp_path}", digits)
    assert images.shape[1:] == (1, 8, 8)
    assert (images == resize.fit_images(load_dataset(f"folder:{tmp_path}", image_size=8).images, (1, 8, 8))).all()
    one = sources.load_foreign_dataset(f"folder:{tmp_path}", digits)
    assert (
        one.fingerprint != sources.load_foreign_dataset(f"folder:{tmp_path}", photos_of(tmp_path / "more")).fingerprint
    )


def test_foreign_data_sets_are_loaded_with_the_same_options(tmp_path):
    root = make_folder(tmp_path)
    (root / "cat" / "bad.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="--skip-bad-images"):
        sources.load_foreign_dataset(f"folder:{root}", load_dataset("digits"))
    foreign = sources.load_foreign_dataset(f"folder:{root}", load_dataset("digits", skip_bad_images=True))
    assert foreign.skipped == ("cat/bad.png",)


def photos_of(root):
    return load_dataset(f"folder:{make_folder(root, ('ant', 'bee'))}", image_size=16)


def test_a_data_set_is_not_foreign_to_itself(tmp_path):
    photos = load_dataset(f"folder:{make_folder(tmp_path)}", image_size=16)
    sources.save_npz(photos, tmp_path / "copy.npz")
    rows = [f"{file},{file[:3]}" for file in photos.files]
    (tmp_path / "copy.csv").write_text("\n".join(["image,label", *rows]))
    for word in (f"folder:{tmp_path}", f"npz:{tmp_path / 'copy.npz'}", f"csv:{tmp_path / 'copy.csv'}"):
        with pytest.raises(UsageError, match="is the data set itself: foreign images must come from another"):
            sources.load_foreign_dataset(word, photos)
    with pytest.raises(UsageError, match="no data set is called 'digit'"):
        sources.load_foreign_dataset("digit", photos)


def test_all_published_data_sets_are_listed():
    assert set(sources._TORCHVISION) < set(DATASETS)
    assert all("\n" not in summary for summary in DATASETS.values())


def test_names_that_are_not_utf_8_are_escaped(tmp_path):
    root = make_folder(tmp_path)
    for name in (b"good\xe9.png", b"bad\xe9.png"):
        file = root / "cat" / os.fsdecode(name)
        save_image(noise_image(7), file) if name.startswith(b"good") else file.write_bytes(b"no image")
    source = load_dataset(f"folder:{root}", skip_bad_images=True)
    assert "cat/good\\udce9.png" in source.files
    assert source.skipped == ("cat/bad\\udce9.png",)
    names, images, _ = load_images(root / "cat", image_size=8, channels=3, skip_bad_images=True)
    assert names == ["0.png", "1.png", "good\\udce9.png"]
    assert images[2].any()
    (root / "dog").rename(root / os.fsdecode(b"d\xe9g"))
    assert_refused(f"folder:{root}", "the class 'd\\udce9g' has a name that is not UTF-8", skip_bad_images=True)


def test_options_for_tables_are_not_ignored_silently(tmp_path):
    make_folder(tmp_path)
    source = load_dataset(f"folder:{tmp_path}", label_column="class", root="/", image_size=8)
    assert source.notes[-1] == "it is not a table, so --label-column, --root had no effect"
    assert load_dataset("digits").notes == ()
    source = load_dataset(f"folder:{tmp_path}", header=False, value_range="0,4095", image_size=8)
    assert source.notes[-2:] == (
        "it is not a CSV file, so --no-header had no effect",
        "no image file has more than 8 bits, so --value-range had no effect",
    )
    assert source.value_range is None
    assert load_dataset("digits", class_level=1).notes == (
        "it is not a folder of images, so --class-level had no effect",
    )


def test_the_current_folder_is_a_folder(tmp_path, monkeypatch):
    from robustkd.data.labelled_images import load_labelled_images

    monkeypatch.chdir(make_folder(tmp_path))
    names = load_dataset("folder:.").files
    loaded = load_labelled_images("folder:.", (3, 8, 8), ("cat", "dog"))
    assert tuple(loaded.names) == names
    assert loaded.labels == ["cat", "cat", "dog", "dog"]
    assert load_labelled_images("cat/0.png", (3, 8, 8), ("cat", "dog")).names == ["0.png"]
