"""The cache of decoded images: when it is used, when files are decoded again, and what it holds."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from robustkd.data import decode, image_cache
from robustkd.data.sources import load_dataset
from tests.data.image_files import assert_refused, make_folder, noise_image, save_image


def test_only_grey_images_have_one_channel(tmp_path):
    root = make_folder(tmp_path)
    for kind in ("cat", "dog"):
        save_image(Image.fromarray(np.asarray(noise_image(3, (9, 9)))), root / kind / "0.png")
        save_image(noise_image(4, (9, 9)).convert("RGB"), root / kind / "1.png")  # grey in three channels is grey
    source = load_dataset(f"folder:{root}", image_size=9)
    assert source.images.shape == (4, 1, 9, 9)
    assert (source.images[0, 0] == np.asarray(noise_image(3, (9, 9)))).all()
    save_image(noise_image(5), root / "dog" / "2.png")
    assert load_dataset(f"folder:{root}", image_size=9).images.shape == (5, 3, 9, 9)


def test_the_second_read_decodes_nothing(tmp_path, monkeypatch):
    root = make_folder(tmp_path)
    first = load_dataset(f"folder:{root}")
    monkeypatch.setattr(decode, "decode_image", lambda *_: pytest.fail("decoded again"))
    second = load_dataset(f"folder:{root}")
    assert (first.images == second.images).all()
    assert first.fingerprint == second.fingerprint


@pytest.mark.parametrize("change", ["size", "file", "time", "name"])
def test_changed_files_are_decoded_again(tmp_path, monkeypatch, change):
    root = make_folder(tmp_path)
    load_dataset(f"folder:{root}")
    decoded = []
    picture = decode.decode_image
    monkeypatch.setattr(decode, "decode_image", lambda file, *rest: decoded.append(file) or picture(file, *rest))
    if change == "file":
        save_image(noise_image(9, (9, 9, 3)), root / "cat" / "2.png")
    if change == "time":
        os.utime(root / "cat" / "0.png", ns=(0, 0))
    if change == "name":
        (root / "cat" / "0.png").rename(root / "cat" / "7.png")
    load_dataset(f"folder:{root}", image_size=16 if change == "size" else 32)
    assert len(decoded) == 4 + (change == "file")


def test_an_interrupted_decode_leaves_nothing(tmp_path, monkeypatch, cache):
    root = make_folder(tmp_path)

    def interrupted(file, *_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(decode, "decode_image", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_dataset(f"folder:{root}")
    assert not list(cache.iterdir())
    assert (load_dataset(f"folder:{root}").images[0] == decode.decode_image(root / "cat" / "0.png", 32)).all()


def test_images_without_their_record_are_decoded_again(tmp_path, cache):
    root = make_folder(tmp_path)
    right = np.array(load_dataset(f"folder:{root}").images)
    next(cache.glob("*.json")).unlink()
    np.save(next(cache.glob("*.npy")), np.zeros_like(right))
    assert (load_dataset(f"folder:{root}").images == right).all()


def test_a_skipped_file_is_read_once_it_is_readable(tmp_path, monkeypatch):
    root = make_folder(tmp_path)
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
    root = make_folder(tmp_path / "here")
    copy = shutil.copytree(root, tmp_path / "there", copy_function=shutil.copyfile)
    one, two = load_dataset(f"folder:{root}"), load_dataset(f"folder:{copy}")
    assert one.fingerprint == two.fingerprint
    (copy / "cat").rename(copy / "cow")
    assert load_dataset(f"folder:{copy}").fingerprint != one.fingerprint
    save_image(noise_image(99), root / "cat" / "0.png")
    assert load_dataset(f"folder:{root}").fingerprint != one.fingerprint


def test_equal_names_sizes_and_times_elsewhere_have_another_key(tmp_path):
    for place, seed in (("one", 0), ("two", 50)):
        for number, kind in enumerate(("cat", "dog")):
            os.utime(save_image(noise_image(seed + number), tmp_path / place / kind / "0.bmp"), ns=(0, 0))
    one, two = (load_dataset(f"folder:{tmp_path / place}").images for place in ("one", "two"))
    assert (one != two).any()


def test_the_cache_folder_can_be_set_and_must_be_writable(tmp_path, monkeypatch, cache):
    root = make_folder(tmp_path / "photos")
    load_dataset(f"folder:{root}", cache_dir=tmp_path / "mine")
    assert list((tmp_path / "mine").glob("*.npy"))
    assert not list(cache.iterdir())
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("ROBUSTKD_CACHE", str(tmp_path / "file" / "below"))
    assert_refused(f"folder:{root}", str(tmp_path / "file" / "below"), "cannot be written", "ROBUSTKD_CACHE")
    monkeypatch.setenv("ROBUSTKD_CACHE", str(tmp_path / "full"))
    monkeypatch.setattr(image_cache.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 10, 0))
    assert_refused(f"folder:{root}", "0.0 GB free", "ROBUSTKD_CACHE")
    monkeypatch.setenv("ROBUSTKD_CACHE", "")
    assert image_cache.default_cache_dir().name == "robustkd"


def test_two_exchanged_files_of_equal_size_and_time_show_the_new_pictures(tmp_path):
    for number, kind in enumerate(("cat", "dog")):
        os.utime(save_image(noise_image(number), tmp_path / kind / "0.bmp"), ns=(0, 0))
    before = np.array(load_dataset(f"folder:{tmp_path}").images)
    one, two = (tmp_path / kind / "0.bmp" for kind in ("cat", "dog"))
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    assert one.stat().st_mtime_ns == two.stat().st_mtime_ns
    assert (load_dataset(f"folder:{tmp_path}").images == before[::-1]).all()


def test_a_file_rewritten_in_place_with_its_old_time_is_decoded_again(tmp_path):
    root = make_folder(tmp_path)
    file = save_image(noise_image(1, (64, 64, 3)), root / "cat" / "0.bmp")
    before, stat = np.array(load_dataset(f"folder:{root}").images), file.stat()
    with file.open("r+b") as opened:
        opened.seek(stat.st_size // 3)  # not among the bytes that are sampled
        opened.write(bytes(1000))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (load_dataset(f"folder:{root}").images != before).any()


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_the_header(path):
    path.write_bytes(b"not NumPy" + path.read_bytes()[9:])


@pytest.mark.parametrize("damage", [truncate, empty, flip_a_bit, damage_the_header])
@pytest.mark.parametrize("suffix", ["npy", "json"])
def test_a_damaged_cache_is_decoded_again_and_reported(tmp_path, cache, caplog, damage, suffix):
    root = make_folder(tmp_path)
    right = load_dataset(f"folder:{root}")
    pixels = np.array(right.images)
    damage(next(cache.glob(f"*.{suffix}")))
    again = load_dataset(f"folder:{root}")
    assert (again.images == pixels).all()
    assert again.fingerprint == right.fingerprint
    (message,) = caplog.messages
    assert message.endswith(".npy: the cached images are damaged, and are read again from their files")
    caplog.clear()
    load_dataset(f"folder:{root}")
    assert not caplog.messages
