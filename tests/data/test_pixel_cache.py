"""The cache of converted arrays of images."""

from pathlib import Path

import numpy as np
import pytest

from robustkd.data import image_cache
from robustkd.data.pixel_cache import load_pixels, store_pixels
from robustkd.data.resize import Pixels
from robustkd.errors import UsageError
from robustkd.hashing import digest

PIXELS = np.arange(2 * 3 * 4 * 5, dtype=np.uint8).reshape(2, 3, 4, 5)


def fill(out: Pixels) -> None:
    out[:] = PIXELS


def test_what_is_stored_is_loaded(tmp_path: Path) -> None:
    assert load_pixels(tmp_path, "a") is None
    stored = store_pixels(tmp_path / "new", "a", PIXELS.shape, fill, ("floats",))
    loaded = load_pixels(tmp_path / "new", "a")
    for pixels in (stored, loaded):
        assert pixels is not None
        np.testing.assert_array_equal(pixels.images, PIXELS)
        assert isinstance(pixels.images, np.memmap)
        assert (pixels.digest, pixels.notes) == (digest(PIXELS), ("floats",))
    assert load_pixels(tmp_path / "new", "b") is None
    assert len(list((tmp_path / "new").iterdir())) == 2


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path) -> None:
    def stop(out: Pixels) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store_pixels(tmp_path, "a", PIXELS.shape, stop, ())
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_reported_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(UsageError, match=r"converting 2 images takes .* ROBUSTKD_CACHE sets another folder"):
        store_pixels(tmp_path, "a", PIXELS.shape, fill, ())


@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_damaged_files_are_converted_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str) -> None:
    store_pixels(tmp_path, "a", PIXELS.shape, fill, ("floats",))
    (file,) = tmp_path.glob(f"*.{suffix}")
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert load_pixels(tmp_path, "a") is None
    assert "the cached images are damaged" in caplog.text
