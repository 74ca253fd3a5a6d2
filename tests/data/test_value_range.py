"""Images of more than 8 bits per value: one scale for a data set, for every kind of file."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from robustkd.data import decode
from robustkd.data.checks import check_value_range
from robustkd.data.sources import load_dataset, load_images
from robustkd.data.value_range import Extent, ValueRange, fit_range
from robustkd.errors import UsageError
from tests.data.image_files import assert_refused, make_folder, noise_image, save_image


def write_png16(path, values, colour_type):
    """Write a PNG of 16 bits: (H, W, bands). Pillow writes only grey ones."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    height, width = values.shape[:2]
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0),
        b"IDAT": zlib.compress(rows),
        b"IEND": b"",
    }
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks.items():
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def write_tiff16(path, values):
    """Write an uncompressed TIFF of 16-bit colour, in the byte order of its dtype: (H, W, 3)."""
    order = ">" if values.dtype.byteorder == ">" else "<"
    height, width, bands = values.shape
    bits_at = 8 + values.nbytes
    entries = [
        *((256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, bits_at), (259, 3, 1, 1), (262, 3, 1, 2)),
        *((273, 4, 1, 8), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, values.nbytes)),
    ]
    content = (
        (b"MM\0*" if order == ">" else b"II*\0") + struct.pack(f"{order}I", bits_at + 2 * bands) + values.tobytes()
    )
    content += struct.pack(f"{order}3H", *[16] * 3) + struct.pack(f"{order}H", len(entries))
    for tag, kind, count, value in entries:
        packed = struct.pack(f"{order}H2x", value) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        content += struct.pack(f"{order}HHI", tag, kind, count) + packed
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content + b"\0\0\0\0")
    return path


RAMP = np.arange(256).reshape(16, 16) * 16 + 5  # 12 bits, of which the upper 8 are 0, 1, ..., 255
COLOURS = np.stack([RAMP, RAMP[::-1], RAMP.T], axis=-1)


@pytest.mark.parametrize(
    ("name", "write", "expected"),
    [
        ("grey.png", lambda path: save_image(Image.fromarray(RAMP.astype(np.uint16)), path), RAMP[None] >> 4),
        ("grey.tif", lambda path: save_image(Image.fromarray(RAMP.astype(np.uint16)), path), RAMP[None] >> 4),
        ("grey.tif", lambda path: save_image(Image.fromarray(RAMP.astype(np.int32)), path), RAMP[None] >> 4),
        ("signed.tif", lambda path: save_image(Image.fromarray((RAMP - 2048).astype(np.int32)), path), RAMP[None] >> 4),
        (
            "float.tif",
            lambda path: save_image(Image.fromarray((RAMP / 4096).astype(np.float32)), path),
            RAMP[None] >> 4,
        ),
        ("alpha.png", lambda path: write_png16(path, np.stack([RAMP, 0 * RAMP + 65535], -1), 4), RAMP[None] >> 4),
        ("rgb.png", lambda path: write_png16(path, COLOURS, 2), COLOURS.transpose(2, 0, 1) >> 4),
        (
            "rgba.png",
            lambda path: write_png16(path, np.concatenate([COLOURS, 0 * COLOURS[..., :1] + 65535], -1), 6),
            COLOURS.transpose(2, 0, 1) >> 4,
        ),
        ("rgb.tif", lambda path: write_tiff16(path, COLOURS.astype("<u2")), COLOURS.transpose(2, 0, 1) >> 4),
        ("rgb-other-end.tif", lambda path: write_tiff16(path, COLOURS.astype(">u2")), COLOURS.transpose(2, 0, 1) >> 4),
    ],
)
def test_12_bits_leave_256_levels_in_every_kind_of_file(tmp_path, name, write, expected):
    for kind in ("cat", "dog"):
        write(tmp_path / kind / name)
    source = load_dataset(f"folder:{tmp_path}", image_size=16)
    assert source.images.shape[1] == len(expected)
    assert (source.images == expected).all()
    assert source.value_range is not None
    (finding,) = check_value_range(source)
    assert finding.severity == "note"
    again = load_dataset(f"folder:{tmp_path}", image_size=16)  # from the cache
    assert again.value_range == source.value_range
    assert again.fingerprint == source.fingerprint


def test_all_images_of_a_data_set_have_one_scale(tmp_path):
    for kind, brightest in (("cat", 900), ("dog", 3000)):
        save_image(Image.fromarray(np.full((9, 9), brightest, np.uint16)), tmp_path / kind / "0.png")
        save_image(Image.new("L", (9, 9), 77), tmp_path / kind / "1.png")  # 8 bits are not scaled
    source = load_dataset(f"folder:{tmp_path}", image_size=9)
    assert source.value_range == (0, 4096)
    assert [image.max() for image in source.images] == [900 >> 4, 77, 3000 >> 4, 77]


def test_images_of_8_bits_have_no_range(tmp_path):
    source = load_dataset(f"folder:{make_folder(tmp_path)}")
    assert source.value_range is None
    assert check_value_range(source) == []


@pytest.mark.parametrize(
    ("low", "high", "integers", "expected"),
    [
        (0, 1, True, (0, 256)),
        (0, 255, True, (0, 256)),
        (0, 256, True, (0, 512)),
        (0, 65535, True, (0, 65536)),
        (-1, 100, True, (-128, 128)),
        (-128, 127, True, (-128, 128)),
        (-129, 127, True, (-256, 256)),
        (0, 2**32 - 1, True, (0, 2**32)),
        (0.0, 0.0, False, (0, 1)),
        (0.0, 0.3, False, (0, 0.5)),
        (-0.5, 2.1, False, (-4, 4)),
    ],
)
def test_the_range_is_the_smallest_power_of_two(low, high, integers, expected):
    assert fit_range([Extent(low, high, integers), Extent(max(low, 0), min(high, 0), integers)]) == expected


def test_sixteen_bits_keep_their_upper_eight():
    values = np.arange(65536).reshape(256, 256)
    assert (ValueRange(0, 65536).to_uint8(values) == values >> 8).all()


def test_a_single_bright_pixel_that_decides_the_scale_is_reported(tmp_path):
    for kind in ("cat", "dog"):
        values = 300 + np.asarray(noise_image(1, (16, 16))).astype(np.uint16)
        values[0, 0] = 65535
        save_image(Image.fromarray(values), tmp_path / kind / "0.png")
    _, finding = check_value_range(load_dataset(f"folder:{tmp_path}", image_size=16))
    assert finding.severity == "warning"
    assert "0 to 65535 are scaled to 8 bits, of which the images have 3 levels" in finding.sentence
    source = load_dataset(f"folder:{tmp_path}", image_size=16, value_range="300,555")
    assert source.value_range == (300, 556)
    values[0, 0] = 555
    assert (source.images == values - 300).all()
    (finding,) = check_value_range(source)
    assert finding.severity == "note"


@pytest.mark.parametrize("text", ["4095", "5,5", "9,1", "a,b", "0,inf", "1,2,3", ""])
def test_a_range_of_two_ascending_numbers_is_asked_for(text):
    with pytest.raises(UsageError, match=r"--value-range .*: it takes the lowest and the highest value, as in 0,4095"):
        ValueRange.parse(text)


def test_fractions_among_integers_and_values_that_are_no_numbers_are_refused(tmp_path):
    for kind in ("cat", "dog"):
        save_image(Image.fromarray(RAMP.astype(np.uint16)), tmp_path / kind / "0.png")
    save_image(Image.fromarray((RAMP / 4096).astype(np.float32)), tmp_path / "dog" / "1.tif")
    assert_refused(f"folder:{tmp_path}", "dog/1.tif (its values are fractions, but those of other files are integers)")
    save_image(Image.new("F", (9, 9), float("inf")), tmp_path / "dog" / "1.tif")
    assert_refused(f"folder:{tmp_path}", "dog/1.tif (some of its values are not numbers)")


def test_later_images_are_scaled_by_the_same_range(tmp_path):
    save_image(Image.fromarray(RAMP.astype(np.uint16) // 4), tmp_path / "later.png")
    later = load_images(tmp_path / "later.png", image_size=16, channels=1, value_range=ValueRange(0, 4096))
    assert (later.images == RAMP[None] >> 6).all()
    alone = load_images(tmp_path / "later.png", image_size=16, channels=1)
    assert alone.value_range == (0, 1024)
    assert (decode.decode_image(tmp_path / "later.png", 16, 1) == RAMP[None] >> 10).all()


def test_orientation_applies_to_16_bits(tmp_path):
    notes = Image.Exif()
    notes[0x0112] = 6  # the stored first row is the right side
    for kind in ("cat", "dog"):
        save_image(Image.fromarray(RAMP.astype(np.uint16)), tmp_path / kind / "0.png", exif=notes)
    assert (load_dataset(f"folder:{tmp_path}", image_size=16).images[0, 0] == np.rot90(RAMP >> 4, -1)).all()
