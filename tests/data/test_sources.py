"""Readers: what comes out of each kind of source, and the sentence for each way in which one can be wrong."""

import gzip
import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pictures import colour, folder, noise, refused, save
from PIL import Image

from robustkd.data import decode, image_cache, resize, sources
from robustkd.data.sources import DATASETS, load_dataset, load_images
from robustkd.data.view import View
from robustkd.errors import UsageError

REAL = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of its own for each test."""
    place = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("ROBUSTKD_CACHE", str(place))
    return place


# Words


def test_reading_words_loads_nothing_heavy():
    check = "import sys, robustkd.data.sources; print({'torch', 'sklearn', 'PIL', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_words_are_met_with_the_nearest_and_the_list(tmp_path):
    refused("cifar", "did you mean 'cifar10'", *DATASETS)
    refused("MNIST", "did you mean 'mnist'")
    refused("folder", "folder:PATH")
    refused(str(tmp_path), f"did you mean 'folder:{tmp_path}'")
    for name, kind in {"a.csv": "csv", "b.CSV": "csv", "c.parquet": "parquet", "d.npz": "npz", "e": "npz"}.items():
        (tmp_path / name).touch()
        refused(str(tmp_path / name), f"did you mean '{kind}:{tmp_path / name}'")
    refused(f"cvs:{tmp_path / 'a.csv'}", "did you mean 'csv:PATH'")


# Published data


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
    if not (REAL / "fashion-mnist").is_dir():
        pytest.skip("real data not present")
    source = load_dataset("fashion-mnist", data_dir=str(REAL / "fashion-mnist"))
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
    (tmp_path / "raw").mkdir(exist_ok=True)  # of another data set, where ours lies below its own name
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
    refused(word, word, "cannot be read", str(raw), "--download", data_dir=str(tmp_path))


def test_a_damaged_packed_mnist_is_named(tmp_path):
    for half in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (tmp_path / "raw").mkdir(exist_ok=True)
        (tmp_path / "raw" / f"{half}-ubyte.gz").write_bytes(gzip.compress(b"nothing"))
    refused("fashion-mnist", "train-images-idx3-ubyte.gz", "not the published file", data_dir=str(tmp_path))


@pytest.mark.parametrize("word", ["mnist", "fashion-mnist", "kmnist", "svhn", "cifar10", "cifar100", "stl10"])
def test_missing_data_says_where_and_how_to_fetch_it(tmp_path, word):
    refused(word, word, "is missing", str(tmp_path), "--download", "--data-dir", data_dir=str(tmp_path))


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
    refused("cifar10", "cannot be read", str(place), "--download", data_dir=str(tmp_path))


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


def test_a_failed_download_is_one_sentence(tmp_path, monkeypatch):
    import torchvision

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.cifar, "download_and_extract_archive", offline)
    refused("cifar10", "cannot be downloaded", "no route to host", data_dir=str(tmp_path), download=True)


# Single images


@pytest.mark.parametrize(
    ("name", "image", "options", "expected"),
    [
        ("grey.png", Image.new("L", (9, 7), 77), {}, (77, 77, 77)),
        ("grey.jpg", Image.new("L", (9, 7), 77), {}, (77, 77, 77)),
        ("black-white.png", Image.new("1", (9, 7), 1), {}, (255, 255, 255)),
        ("colour.png", colour((10, 20, 30)), {}, (10, 20, 30)),
        ("clear.png", Image.new("RGBA", (9, 7), (10, 20, 30, 0)), {}, (255, 255, 255)),
        ("solid.webp", Image.new("RGBA", (9, 7), (10, 20, 30, 255)), {"lossless": True}, (10, 20, 30)),
        ("grey-clear.png", Image.new("LA", (9, 7), (10, 0)), {}, (255, 255, 255)),
        ("palette.png", colour((10, 20, 30)).quantize(2), {}, (10, 20, 30)),
        ("palette-clear.png", colour((10, 20, 30)).quantize(2), {"transparency": 0}, (255, 255, 255)),
        ("palette-clear.gif", colour((10, 20, 30)).quantize(2), {"transparency": 0}, (255, 255, 255)),
        ("sixteen.png", Image.fromarray(np.full((7, 9), 0x4DFF, np.uint16)), {}, (0x4D, 0x4D, 0x4D)),
        ("sixteen.tif", Image.fromarray(np.full((7, 9), 0xFFFF, np.uint16)), {}, (255, 255, 255)),
        ("sixteen-other-end.tif", Image.fromarray(np.full((7, 9), 0x4DFF, ">u2")), {}, (0x4D, 0x4D, 0x4D)),
        ("sixteen.pgm", Image.fromarray(np.full((7, 9), 0x4DFF, np.uint16)), {}, (0x4D, 0x4D, 0x4D)),
        ("cmyk.tif", Image.new("CMYK", (9, 7), (255, 0, 0, 0)), {}, (0, 255, 255)),
        ("misnamed.jpg", colour((10, 20, 30)), {"format": "PNG"}, (10, 20, 30)),
    ],
)
def test_every_kind_of_pixel_becomes_8_bits(tmp_path, name, image, options, expected):
    pixels = decode.decode_image(save(image, tmp_path / name, **options), 5)
    assert pixels.shape == (3, 5, 5)
    assert pixels.dtype == np.uint8
    assert (pixels == np.reshape(expected, (3, 1, 1))).all()


def test_cmyk_photographs_are_not_inverted(tmp_path):
    pixels = decode.decode_image(save(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), tmp_path / "red.jpg"), 8)
    assert pixels[0].min() > 240
    assert pixels[1:].max() < 15


def test_the_shorter_side_is_scaled_and_the_centre_kept(tmp_path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 7:17] = 200  # a pixel more on either side: scaling down looks that far
    assert (decode.decode_image(save(Image.fromarray(pixels), tmp_path / "wide.png"), 4) == 200).all()
    assert (
        decode.decode_image(save(Image.fromarray(pixels).rotate(90, expand=True), tmp_path / "tall.png"), 4) == 200
    ).all()


def test_an_image_of_the_wanted_size_is_left_alone(tmp_path):
    image = noise(1, (16, 16, 3))
    assert (decode.decode_image(save(image, tmp_path / "a.png"), 16) == np.asarray(image).transpose(2, 0, 1)).all()


def test_large_photographs_are_close_to_their_exact_reduction(tmp_path):
    image = noise(1, (9, 9, 3)).resize((128, 128), Image.Resampling.BICUBIC)
    quick = decode.decode_image(save(image, tmp_path / "a.jpg", quality=98), 32).astype(int)
    exact = decode.decode_image(save(image, tmp_path / "a.png"), 32).astype(int)
    assert np.abs(quick - exact).mean() < 3


# Where the first row and the first column of what was stored belong, as EXIF 2.3 says of each value.
TURNED = {
    **{1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left")},
    **{5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom")},
}


@pytest.mark.parametrize("value", TURNED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_photographs_are_turned_upright(tmp_path, name, value):
    stored = Image.new("L", (16, 16))
    stored.paste(120, (0, 0, 8, 16))  # its first columns
    stored.paste(250, (0, 0, 16, 8))  # its first rows, which lie over them
    notes = Image.Exif()
    notes[0x0112] = value
    pixels = decode.decode_image(save(stored, tmp_path / name, exif=notes, quality=95), 16)[0].astype(int)
    sides = {"top": pixels[2], "bottom": pixels[13], "left": pixels[:, 2], "right": pixels[:, 13]}
    across, along = TURNED[value]
    opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
    assert sides[across].min() > 230  # bright from end to end
    assert sides[opposite[across]].min() < 20  # half of it black
    assert sides[along].min() in range(100, 140)  # bright, then the grey of the first columns


def test_damaged_notes_do_not_make_a_photograph_unreadable(tmp_path, capfd):
    notes = Image.Exif()
    notes[0x0112] = 6
    for number, kind in enumerate(("cat", "dog")):
        save(colour((255, 0, 0)), tmp_path / kind / "0.jpg", exif=notes.tobytes()[: -6 - number])
    source = load_dataset(f"folder:{tmp_path}", image_size=8)
    assert source.images[:, 0].min() > 240
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"])
def test_moving_pictures_and_stacks_are_named(tmp_path, name):
    more = [noise(2, (16, 16, 3))]
    save(noise(1, (16, 16, 3)), tmp_path / "cat" / name, save_all=True, append_images=more)
    folder(tmp_path)
    refused(f"folder:{tmp_path}", f"cat/{name} (it contains more than one image)")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif", "a.bmp", "a.ppm", "a.jp2", "a.jpg"])
def test_truncated_files_are_named(tmp_path, name):
    folder(tmp_path)
    file = save(noise(1, (40, 40, 3)), tmp_path / "cat" / name)
    assert len(load_dataset(f"folder:{tmp_path}").labels) == 5
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    sentence = refused(f"folder:{tmp_path}", f"1 of 5 image files cannot be read: cat/{name} (")
    assert "0x" not in sentence


def test_a_telephones_second_view_is_no_animation(tmp_path):
    second = [colour((0, 0, 255), (32, 32))]
    file = save(colour((255, 0, 0), (32, 32)), tmp_path / "a.jpg", format="MPO", save_all=True, append_images=second)
    with Image.open(file) as opened:
        assert opened.format == "MPO"
        assert opened.n_frames == 2
    assert decode.decode_image(file, 8)[0].min() > 240


def spoilt(root):
    """Every kind of unreadable image in one class."""
    place = root / "cat"
    for name in ("cut.jpg", "cut.png"):
        whole = save(noise(1, (64, 64, 3)), place / name).read_bytes()
        (place / name).write_bytes(whole[: len(whole) // 2])
    (place / "text.jpg").write_text("not an image")
    (place / "empty.png").write_bytes(b"")
    (place / "photo.heic").write_bytes(b"\0\0\0\x18ftypheic")
    save(noise(1), place / "other.jpg", format="PCX")  # of the formats that Pillow knows, not all are let in
    (place / "gone.png").symlink_to(root / "nowhere")
    save(noise(1), place / "moving.gif", save_all=True, append_images=[noise(2)])
    save(Image.new("F", (9, 9), 0.5), place / "float.tif")
    return root


SPOILT = [
    "cut.jpg",
    "cut.png",
    "empty.png",
    "float.tif",
    "gone.png",
    "moving.gif",
    "other.jpg",
    "photo.heic",
    "text.jpg",
]


@pytest.mark.parametrize("name", SPOILT)
def test_each_unreadable_image_is_named(tmp_path, name):
    root = spoilt(folder(tmp_path))
    for other in set(SPOILT) - {name}:
        (root / "cat" / other).unlink()
    refused(f"folder:{root}", f"cat/{name}", "1 of 5", "--skip-bad-images")


def test_unreadable_images_are_left_out_on_request_and_listed(tmp_path):
    root = spoilt(folder(tmp_path))
    assert "9 of 13" in refused(f"folder:{root}", "and 6 more")
    source = load_dataset(f"folder:{root}", skip_bad_images=True)
    assert source.skipped == tuple(f"cat/{name}" for name in SPOILT)
    assert source.files == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert list(source.labels) == [0, 0, 1, 1]
    clean = load_dataset(f"folder:{folder(tmp_path / 'clean')}")
    assert (source.images == clean.images).all()
    assert source.fingerprint == clean.fingerprint
    refused(f"folder:{root}", "cannot be read")  # a cache made without them does not make them readable


def test_a_class_of_unreadable_images_is_named(tmp_path):
    root = folder(tmp_path)
    for file in (root / "dog").iterdir():
        file.write_text("not an image")
    refused(f"folder:{root}", "no readable images", "dog", skip_bad_images=True)
    for file in (root / "cat").iterdir():
        file.write_text("not an image")
    refused(f"folder:{root}", "none of the 4", "not an image", skip_bad_images=True)


# Folders


def test_class_folders(tmp_path):
    root = folder(tmp_path, ("dog", "cat", "ant"))
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


def test_what_is_no_image_or_hidden_is_ignored(tmp_path):
    root = folder(tmp_path)
    plain = load_dataset(f"folder:{root}").fingerprint
    for name in ("notes.txt", "labels.csv", "Thumbs.db", ".0.png", "._1.png"):
        (root / "cat" / name).write_text("not an image")
    folder(root, part="cat/.ipynb_checkpoints")
    folder(root / "__MACOSX")
    folder(root / ".git")
    (root / "README.md").write_text("about")
    assert load_dataset(f"folder:{root}").fingerprint == plain


def test_images_in_folders_within_a_class_belong_to_it(tmp_path):
    root = folder(tmp_path)
    save(noise(5), root / "cat" / "monday" / "0.PNG")
    assert load_dataset(f"folder:{root}").files == (
        "cat/0.png",
        "cat/1.png",
        "cat/monday/0.PNG",
        "dog/0.png",
        "dog/1.png",
    )


def test_only_grey_images_make_one_channel(tmp_path):
    root = folder(tmp_path)
    for kind in ("cat", "dog"):
        save(Image.fromarray(np.asarray(noise(3, (9, 9)))), root / kind / "0.png")
        save(noise(4, (9, 9)).convert("RGB"), root / kind / "1.png")  # grey in three channels is grey
    source = load_dataset(f"folder:{root}", image_size=9)
    assert source.images.shape == (4, 1, 9, 9)
    assert (source.images[0, 0] == np.asarray(noise(3, (9, 9)))).all()
    save(noise(5), root / "dog" / "2.png")
    assert load_dataset(f"folder:{root}", image_size=9).images.shape == (5, 3, 9, 9)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_parts(tmp_path, val):
    for part in ("train", val, "test"):
        folder(tmp_path, part=part)
    source = load_dataset(f"folder:{tmp_path}")
    assert source.classes == ("cat", "dog")
    for row, file in enumerate(source.files):
        part, kind, _ = file.split("/")
        assert source.parts[row] == ("val" if part == val else part)
        assert source.classes[source.labels[row]] == kind


def test_a_class_called_train_is_a_class(tmp_path):
    source = load_dataset(f"folder:{folder(tmp_path, ('bus', 'car', 'train'))}")
    assert source.classes == ("bus", "car", "train")
    assert source.parts is None


def test_tiny_imagenet(tmp_path):
    for kind in ("n01", "n02", "n03"):
        for one in range(2):
            save(noise(one), tmp_path / "train" / kind / "images" / f"{kind}_{one}.JPEG")
    for one in range(3):
        save(noise(one), tmp_path / "val" / "images" / f"val_{one}.JPEG")
        save(noise(one), tmp_path / "test" / "images" / f"test_{one}.JPEG")
    notes = "".join(f"val_{one}.JPEG\t{kind}\t0\t0\t62\t62\n" for one, kind in enumerate(("n03", "n01", "n03")))
    (tmp_path / "val" / "val_annotations.txt").write_text(notes)
    (tmp_path / "words.txt").write_text("n01\tgoldfish, Carassius\nn02\tcrane\nn03\tcrane, bird\nn04\tboat\n")
    source = load_dataset(f"folder:{tmp_path}")
    assert source.classes == ("goldfish", "n02", "n03")
    assert source.files[-3:] == tuple(f"val/images/val_{one}.JPEG" for one in range(3))
    assert list(source.labels) == [0, 0, 1, 1, 2, 2, 2, 0, 2]
    assert list(source.parts) == ["train"] * 6 + ["test"] * 3
    (tmp_path / "val" / "images" / "val_1.JPEG").unlink()
    refused(f"folder:{tmp_path}", "val/images/val_1.JPEG", "No such file")


def test_folders_that_say_too_little(tmp_path):
    refused(f"folder:{folder(tmp_path / 'photos').parent}/photo", "there is no", "did you mean 'photos'")
    (tmp_path / "empty").mkdir()
    refused(f"folder:{tmp_path / 'empty'}", "contains no class folders")
    refused(f"folder:{folder(tmp_path / 'one', ['cat'])}", "only one class", "'cat'")
    refused(f"folder:{tmp_path / 'one' / 'cat' / '0.png'}", "is a file, not a folder")
    (folder(tmp_path / "hollow") / "bird").mkdir()
    refused(f"folder:{tmp_path / 'hollow'}", "no images", "bird")
    folder(tmp_path / "flat", ("train", "test"))
    refused(f"folder:{tmp_path / 'flat'}", "train contains no class folders")
    folder(tmp_path / "tested", ("cat", "dog", "test"))
    refused(f"folder:{tmp_path / 'tested'}", "'test'", "but no 'train'")


def test_parts_that_disagree(tmp_path):
    folder(tmp_path, part="train")
    folder(tmp_path, ("cat", "dog", "newt"), part="test")
    refused(f"folder:{tmp_path}", "test has classes that train does not have", "newt")
    shutil.rmtree(tmp_path / "test")
    folder(tmp_path, part="tests")
    refused(f"folder:{tmp_path}", "'tests' is next to 'train'")


# The cache


def test_the_second_read_decodes_nothing(tmp_path, monkeypatch):
    root = folder(tmp_path)
    first = load_dataset(f"folder:{root}")
    monkeypatch.setattr(decode, "decode_image", lambda *_: pytest.fail("decoded again"))
    second = load_dataset(f"folder:{root}")
    assert (first.images == second.images).all()
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("change", ["size", "file", "time", "name"])
def test_what_has_changed_is_decoded_again(tmp_path, monkeypatch, change):
    root = folder(tmp_path)
    load_dataset(f"folder:{root}")
    decoded = []
    picture = decode.decode_image
    monkeypatch.setattr(decode, "decode_image", lambda file, *rest: decoded.append(file) or picture(file, *rest))
    if change == "file":
        save(noise(9, (9, 9, 3)), root / "cat" / "2.png")
    if change == "time":
        os.utime(root / "cat" / "0.png", ns=(0, 0))
    if change == "name":
        (root / "cat" / "0.png").rename(root / "cat" / "7.png")
    load_dataset(f"folder:{root}", image_size=16 if change == "size" else 32)
    assert len(decoded) == 4 + (change == "file")


def test_an_interrupted_decode_leaves_nothing_to_be_mistaken(tmp_path, monkeypatch, cache):
    root = folder(tmp_path)

    def interrupted(file, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_dataset(f"folder:{root}")
    assert not list(cache.iterdir())
    assert (load_dataset(f"folder:{root}").images[0] == decode.decode_image(root / "cat" / "0.png", 32)).all()


def test_images_without_their_record_are_not_a_cache(tmp_path, cache):
    root = folder(tmp_path)
    right = np.array(load_dataset(f"folder:{root}").images)
    next(cache.glob("*.json")).unlink()
    np.save(next(cache.glob("*.npy")), np.zeros_like(right))
    assert (load_dataset(f"folder:{root}").images == right).all()


def test_a_file_that_can_be_read_again_is_not_left_out_for_ever(tmp_path, monkeypatch):
    root = folder(tmp_path)
    picture = decode.decode_image

    def away(file, *rest):
        if file.name == "1.png":
            raise OSError("the drive is away")
        return picture(file, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode_image", away)
        assert len(load_dataset(f"folder:{root}", skip_bad_images=True).labels) == 2
    assert len(load_dataset(f"folder:{root}", skip_bad_images=True).labels) == 4


def test_a_copy_elsewhere_is_the_same_data(tmp_path):
    root = folder(tmp_path / "here")
    copy = shutil.copytree(root, tmp_path / "there", copy_function=shutil.copyfile)
    one, two = load_dataset(f"folder:{root}"), load_dataset(f"folder:{copy}")
    assert one.fingerprint == two.fingerprint
    (copy / "cat").rename(copy / "cow")
    assert load_dataset(f"folder:{copy}").fingerprint != one.fingerprint
    save(noise(99), root / "cat" / "0.png")
    assert load_dataset(f"folder:{root}").fingerprint != one.fingerprint


def test_equal_names_sizes_and_times_elsewhere_are_not_the_same_cache(tmp_path):
    for place, seed in (("one", 0), ("two", 50)):
        for number, kind in enumerate(("cat", "dog")):
            os.utime(save(noise(seed + number), tmp_path / place / kind / "0.bmp"), ns=(0, 0))
    one, two = (load_dataset(f"folder:{tmp_path / place}").images for place in ("one", "two"))
    assert (one != two).any()


def test_the_cache_folder_is_chosen_and_refused(tmp_path, monkeypatch, cache):
    root = folder(tmp_path / "photos")
    load_dataset(f"folder:{root}", cache_dir=tmp_path / "mine")
    assert list((tmp_path / "mine").glob("*.npy"))
    assert not list(cache.iterdir())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROBUSTKD_CACHE", str(tmp_path / "file" / "below"))
    refused(f"folder:{root}", str(tmp_path / "file" / "below"), "cannot be written", "ROBUSTKD_CACHE")
    monkeypatch.setenv("ROBUSTKD_CACHE", str(tmp_path / "full"))
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    refused(f"folder:{root}", "0.0 GB free", "ROBUSTKD_CACHE")
    monkeypatch.setenv("ROBUSTKD_CACHE", "")
    assert image_cache._default_cache_dir().name == "robustkd"


def test_no_progress_is_drawn_where_nobody_looks(tmp_path, capfd):
    load_dataset(f"folder:{folder(tmp_path, count=300)}", image_size=4)
    assert capfd.readouterr() == ("", "")


def test_real_photographs():
    if not (REAL / "clothing").is_dir():
        pytest.skip("real data not present")
    source = load_dataset(f"folder:{REAL / 'clothing'}")
    assert source.images.shape == (3781, 3, 32, 32)
    assert {part: int((source.parts == part).sum()) for part in ("train", "val", "test")} == {
        "train": 3068,
        "val": 341,
        "test": 372,
    }
    assert len(source.classes) == 10
    assert 60 < source.images.mean() < 220


# Images without labels


def test_images_of_a_folder_and_of_one_file(tmp_path):
    root = folder(tmp_path)
    names, images = load_images(root, image_size=8, channels=3)
    assert names == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    assert (images == load_dataset(f"folder:{root}", image_size=8).images).all()
    names, grey = load_images(root / "cat" / "1.png", image_size=8, channels=1)
    assert names == ["1.png"]
    assert grey.shape == (1, 1, 8, 8)
    weights = np.array([0.299, 0.587, 0.114])  # ITU-R 601, what grey means to Pillow
    assert np.abs(grey[0, 0] - np.tensordot(weights, images[1], 1)).max() <= 1


def test_images_of_nothing_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    for path, said in ((tmp_path / "emty", "did you mean 'empty'"), (tmp_path / "empty", "contains no image files")):
        with pytest.raises(UsageError, match=said):
            load_images(path, image_size=8, channels=3)
    root = spoilt(folder(tmp_path / "photos"))
    with pytest.raises(UsageError, match=r"9 of 13.*cut\.jpg"):
        load_images(root, image_size=8, channels=3)
    names, images = load_images(root, image_size=8, channels=3, skip_bad_images=True)
    assert len(names) == len(images) == 4


# Images that another data set lends


def test_fitted_images_are_what_picture_makes_of_a_file(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (3, 3, 12, 8), dtype=np.uint8)
    for row, pixels in enumerate(images):
        save(Image.fromarray(pixels.transpose(1, 2, 0)), tmp_path / f"{row}.png")
    for channels, size in ((3, 8), (1, 8), (3, 5), (1, 20)):
        made = resize.fit_images(images, (channels, size, size))
        assert made.shape == (3, channels, size, size)
        for row in range(3):
            assert (made[row] == decode.decode_image(tmp_path / f"{row}.png", size, channels)).all()
    assert resize.fit_images(images, (3, 12, 8)) is images
    grey = resize.fit_images(images, (1, 12, 8))
    assert (resize.fit_images(grey, (3, 12, 8)) == grey).all()  # grey in three channels


def lent(word, beside):
    """All images of a lender, as a view of another data set shows them."""
    lender = sources.load_foreign_dataset(word, beside)
    everything = np.arange(len(lender.labels))
    view = View((beside, lender), everything, np.zeros_like(everything), origin=np.ones_like(everything))
    return view.images()


def test_foreign_images_take_the_shape_of_those_beside_them(tmp_path):
    digits, photos = load_dataset("digits"), load_dataset(f"folder:{folder(tmp_path)}", image_size=16)
    images = lent("digits", photos)
    assert images.shape == (1797, 3, 16, 16)
    assert (images[:, :1] == images).all()
    assert (images == resize.fit_images(digits.images, (3, 16, 16))).all()
    images = lent(f"folder:{tmp_path}", digits)
    assert images.shape[1:] == (1, 8, 8)
    assert (images == resize.fit_images(load_dataset(f"folder:{tmp_path}", image_size=8).images, (1, 8, 8))).all()
    one = sources.load_foreign_dataset(f"folder:{tmp_path}", digits)
    assert (
        one.fingerprint != sources.load_foreign_dataset(f"folder:{tmp_path}", photos_of(tmp_path / "more")).fingerprint
    )


def test_a_lender_is_read_as_the_data_set_was(tmp_path):
    root = folder(tmp_path)
    (root / "cat" / "bad.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="--skip-bad-images"):
        sources.load_foreign_dataset(f"folder:{root}", load_dataset("digits"))
    lender = sources.load_foreign_dataset(f"folder:{root}", load_dataset("digits", skip_bad_images=True))
    assert lender.skipped == ("cat/bad.png",)


def photos_of(root):
    return load_dataset(f"folder:{folder(root, ('ant', 'bee'))}", image_size=16)


def test_a_data_set_lends_nothing_to_itself(tmp_path):
    photos = load_dataset(f"folder:{folder(tmp_path)}", image_size=16)
    sources.save_npz(photos, tmp_path / "copy.npz")
    rows = [f"{file},{file[:3]}" for file in photos.files]
    (tmp_path / "copy.csv").write_text("\n".join(["image,label", *rows]))
    for word in (f"folder:{tmp_path}", f"npz:{tmp_path / 'copy.npz'}", f"csv:{tmp_path / 'copy.csv'}"):
        with pytest.raises(UsageError, match="is the data set itself: foreign images must come from another"):
            sources.load_foreign_dataset(word, photos)
    with pytest.raises(UsageError, match="no data set is called 'digit'"):
        sources.load_foreign_dataset("digit", photos)


def test_the_list_names_every_word():
    assert set(sources._TORCHVISION) < set(DATASETS)
    assert all("\n" not in summary for summary in DATASETS.values())
