"""Decoding image files: size, orientation and bit depth, and the files that cannot be read."""

import numpy as np
import pytest
from PIL import Image

from robustkd.data import decode
from robustkd.data.sources import load_dataset
from tests.data.image_files import (
    UNREADABLE,
    add_unreadable_images,
    assert_refused,
    make_folder,
    noise_image,
    save_image,
    solid_image,
)


@pytest.mark.parametrize(
    ("name", "image", "options", "expected"),
    [
        ("grey.png", Image.new("L", (9, 7), 77), {}, (77, 77, 77)),
        ("grey.jpg", Image.new("L", (9, 7), 77), {}, (77, 77, 77)),
        ("black-white.png", Image.new("1", (9, 7), 1), {}, (255, 255, 255)),
        ("colour.png", solid_image((10, 20, 30)), {}, (10, 20, 30)),
        ("clear.png", Image.new("RGBA", (9, 7), (10, 20, 30, 0)), {}, (255, 255, 255)),
        ("solid.webp", Image.new("RGBA", (9, 7), (10, 20, 30, 255)), {"lossless": True}, (10, 20, 30)),
        ("grey-clear.png", Image.new("LA", (9, 7), (10, 0)), {}, (255, 255, 255)),
        ("palette.png", solid_image((10, 20, 30)).quantize(2), {}, (10, 20, 30)),
        ("palette-clear.png", solid_image((10, 20, 30)).quantize(2), {"transparency": 0}, (255, 255, 255)),
        ("palette-clear.gif", solid_image((10, 20, 30)).quantize(2), {"transparency": 0}, (255, 255, 255)),
        ("sixteen.png", Image.fromarray(np.full((7, 9), 0x4DFF, np.uint16)), {}, (0x4D, 0x4D, 0x4D)),
        ("sixteen.tif", Image.fromarray(np.full((7, 9), 0xFFFF, np.uint16)), {}, (255, 255, 255)),
        ("sixteen-other-end.tif", Image.fromarray(np.full((7, 9), 0x4DFF, ">u2")), {}, (0x4D, 0x4D, 0x4D)),
        ("sixteen.pgm", Image.fromarray(np.full((7, 9), 0x4DFF, np.uint16)), {}, (0x4D, 0x4D, 0x4D)),
        ("cmyk.tif", Image.new("CMYK", (9, 7), (255, 0, 0, 0)), {}, (0, 255, 255)),
        ("misnamed.jpg", solid_image((10, 20, 30)), {"format": "PNG"}, (10, 20, 30)),
    ],
)
def test_every_kind_of_pixel_becomes_8_bits(tmp_path, name, image, options, expected):
    pixels = decode.decode_image(save_image(image, tmp_path / name, **options), 5)
    assert pixels.shape == (3, 5, 5)
    assert pixels.dtype == np.uint8
    assert (pixels == np.reshape(expected, (3, 1, 1))).all()


def test_cmyk_photographs_are_not_inverted(tmp_path):
    pixels = decode.decode_image(save_image(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), tmp_path / "red.jpg"), 8)
    assert pixels[0].min() > 240
    assert pixels[1:].max() < 15


def test_the_shorter_side_is_scaled_and_the_centre_kept(tmp_path):
    pixels = np.zeros((8, 24, 3), np.uint8)
    pixels[:, 7:17] = 200  # a pixel more on either side: scaling down looks that far
    assert (decode.decode_image(save_image(Image.fromarray(pixels), tmp_path / "wide.png"), 4) == 200).all()
    assert (
        decode.decode_image(save_image(Image.fromarray(pixels).rotate(90, expand=True), tmp_path / "tall.png"), 4)
        == 200
    ).all()


def test_an_image_of_the_right_size_is_unchanged(tmp_path):
    image = noise_image(1, (16, 16, 3))
    assert (
        decode.decode_image(save_image(image, tmp_path / "a.png"), 16) == np.asarray(image).transpose(2, 0, 1)
    ).all()


def test_large_photographs_are_close_to_their_exact_reduction(tmp_path):
    image = noise_image(1, (9, 9, 3)).resize((128, 128), Image.Resampling.BICUBIC)
    quick = decode.decode_image(save_image(image, tmp_path / "a.jpg", quality=98), 32).astype(int)
    exact = decode.decode_image(save_image(image, tmp_path / "a.png"), 32).astype(int)
    assert np.abs(quick - exact).mean() < 3


# Where the first row and the first column of what was stored belong, as EXIF 2.3 says of each value.
TURNED = {
    **{1: ("top", "left"), 2: ("top", "right"), 3: ("bottom", "right"), 4: ("bottom", "left")},
    **{5: ("left", "top"), 6: ("right", "top"), 7: ("right", "bottom"), 8: ("left", "bottom")},
}


@pytest.mark.parametrize("value", TURNED)
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_exif_orientation_is_applied(tmp_path, name, value):
    stored = Image.new("L", (16, 16))
    stored.paste(120, (0, 0, 8, 16))  # its first columns
    stored.paste(250, (0, 0, 16, 8))  # its first rows, which lie over them
    notes = Image.Exif()
    notes[0x0112] = value
    pixels = decode.decode_image(save_image(stored, tmp_path / name, exif=notes, quality=95), 16)[0].astype(int)
    sides = {"top": pixels[2], "bottom": pixels[13], "left": pixels[:, 2], "right": pixels[:, 13]}
    across, along = TURNED[value]
    opposite = {"top": "bottom", "bottom": "top", "left": "right", "right": "left"}
    assert sides[across].min() > 230  # bright from end to end
    assert sides[opposite[across]].min() < 20  # half of it black
    assert sides[along].min() in range(100, 140)  # bright, then the grey of the first columns


def test_damaged_metadata_is_ignored(tmp_path, capfd):
    notes = Image.Exif()
    notes[0x0112] = 6
    for number, kind in enumerate(("cat", "dog")):
        save_image(solid_image((255, 0, 0)), tmp_path / kind / "0.jpg", exif=notes.tobytes()[: -6 - number])
    source = load_dataset(f"folder:{tmp_path}", image_size=8)
    assert source.images[:, 0].min() > 240
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif"])
def test_files_of_several_images_are_refused(tmp_path, name):
    more = [noise_image(2, (16, 16, 3))]
    save_image(noise_image(1, (16, 16, 3)), tmp_path / "cat" / name, save_all=True, append_images=more)
    make_folder(tmp_path)
    assert_refused(f"folder:{tmp_path}", f"cat/{name} (it contains more than one image)")


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png", "a.tif", "a.avif", "a.bmp", "a.ppm", "a.jp2", "a.jpg"])
def test_truncated_files_are_refused(tmp_path, name):
    make_folder(tmp_path)
    file = save_image(noise_image(1, (40, 40, 3)), tmp_path / "cat" / name)
    assert len(load_dataset(f"folder:{tmp_path}").labels) == 5
    file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    sentence = assert_refused(f"folder:{tmp_path}", f"1 of 5 image files cannot be read: cat/{name} (")
    assert "0x" not in sentence


def test_the_second_view_of_a_phones_mpo_is_ignored(tmp_path):
    second = [solid_image((0, 0, 255), (32, 32))]
    file = save_image(
        solid_image((255, 0, 0), (32, 32)), tmp_path / "a.jpg", format="MPO", save_all=True, append_images=second
    )
    with Image.open(file) as opened:
        assert opened.format == "MPO"
        assert opened.n_frames == 2
    assert decode.decode_image(file, 8)[0].min() > 240


@pytest.mark.parametrize("name", UNREADABLE)
def test_each_unreadable_image_is_named(tmp_path, name):
    root = add_unreadable_images(make_folder(tmp_path))
    for other in set(UNREADABLE) - {name}:
        (root / "cat" / other).unlink()
    assert_refused(f"folder:{root}", f"cat/{name}", "1 of 5", "--skip-bad-images")


def test_unreadable_images_are_skipped_on_request_and_listed(tmp_path):
    root = add_unreadable_images(make_folder(tmp_path))
    assert "9 of 13" in assert_refused(f"folder:{root}", "and 6 more")
    source = load_dataset(f"folder:{root}", skip_bad_images=True)
    assert source.skipped == tuple(f"cat/{name}" for name in UNREADABLE)
    assert source.files == ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
    assert list(source.labels) == [0, 0, 1, 1]
    clean = load_dataset(f"folder:{make_folder(tmp_path / 'clean')}")
    assert (source.images == clean.images).all()
    assert source.fingerprint == clean.fingerprint
    assert_refused(f"folder:{root}", "cannot be read")  # a cache made without them does not make them readable


def test_no_progress_bar_without_a_terminal(tmp_path, capfd):
    load_dataset(f"folder:{make_folder(tmp_path, count=300)}", image_size=4)
    assert capfd.readouterr() == ("", "")
