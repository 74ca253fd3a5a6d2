"""Images to classify: any data set, with or without labels."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustkd.data.labelled_images import load_labelled_images
from robustkd.data.sources import load_dataset
from robustkd.errors import UsageError
from tests.data.image_files import make_folder, noise_image, save_image

SHAPE = (3, 8, 8)


def test_files_of_a_folder_have_the_label_of_the_class_folder(tmp_path: Path) -> None:
    make_folder(tmp_path, part="test")
    save_image(noise_image(1), tmp_path / "test" / "wolf" / "0.png")
    data = load_labelled_images(f"folder:{tmp_path}", SHAPE, ["cat", "dog"])
    assert data.names == ["test/cat/0.png", "test/cat/1.png", "test/dog/0.png", "test/dog/1.png", "test/wolf/0.png"]
    assert data.labels == ["cat", "cat", "dog", "dog", None]
    assert data.parts == ["test"] * 5
    single = load_labelled_images(str(tmp_path / "test" / "cat" / "1.png"), SHAPE, ["cat", "dog"])
    assert (single.names, single.labels) == (["1.png"], [None])
    np.testing.assert_array_equal(single.images[0], data.images[1])


def test_tables_are_decoded_as_for_training(tmp_path: Path) -> None:
    make_folder(tmp_path)
    rows = ["cat/0.png,cat,train", "cat/1.png,,test", "dog/0.png,wolf,test", "dog/1.png,dog,train"]
    (tmp_path / "a.csv").write_text("\n".join(["image,label,split", *rows]))
    data = load_labelled_images(f"csv:{tmp_path / 'a.csv'}", SHAPE, ["cat", "dog"])
    assert data.labels == ["cat", None, "wolf", "dog"]
    assert data.parts == ["train", "test", "test", "train"]
    np.testing.assert_array_equal(data.images, load_dataset(f"folder:{tmp_path}", image_size=8).images)
    list_file = tmp_path / "lists" / "a.txt"
    list_file.parent.mkdir()
    list_file.write_text("\n".join(row.partition(",")[0] for row in rows))
    data = load_labelled_images(
        f"csv:{list_file}", SHAPE, ["cat"], header=False, image_column="1", root=str(tmp_path), skip_bad_images=True
    )
    assert data.labels == [None] * 4


def test_unlabelled_rows_of_parquet_files_are_kept(tmp_path: Path) -> None:
    make_folder(tmp_path)
    metadata = {"huggingface": '{"info": {"features": {"label": {"names": ["cat", "dog"]}}}}'}
    table = pa.table({"image": ["cat/0.png", "dog/0.png", "dog/1.png"], "label": [0, -1, 1]})
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "a.parquet")
    assert load_labelled_images(f"parquet:{tmp_path / 'a.parquet'}", SHAPE, ["cat"]).labels == ["cat", None, "dog"]


def test_arrays_are_resized(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 16, 16), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", X=images, y=np.arange(4) % 2, classes=np.array(["cat", "dog"]))
    data = load_labelled_images(f"npz:{tmp_path / 'a.npz'}", SHAPE, ["cat", "dog"])
    assert data.images.shape == (4, *SHAPE)
    assert data.labels == ["cat", "dog"] * 2
    assert data.notes == ("images of (1, 16, 16) are converted to (3, 8, 8) (C, H, W)",)
    assert load_labelled_images("digits", (1, 8, 8), list("0123456789")).labels[:3] == ["0", "1", "2"]


def test_files_are_square(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="images of 8x6, but images of files are square"):
        load_labelled_images(f"folder:{tmp_path}", (3, 8, 6), ["cat"])


def test_invalid_class_names_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=np.zeros((4, 8, 8), np.uint8), y=np.arange(4) % 2, classes=np.array("cat"))
    with pytest.raises(UsageError, match=r"classes has shape \(\), but must be \(1,\)"):
        load_labelled_images(f"npz:{tmp_path / 'a.npz'}", SHAPE, ["cat", "dog"])


def test_a_part_that_some_rows_lack_is_refused(tmp_path: Path) -> None:
    make_folder(tmp_path)
    table = tmp_path / "a.csv"
    table.write_text("image,label,split\ncat/0.png,cat,train\ndog/0.png,dog,\n")
    with pytest.raises(UsageError, match="line 3 has no split, but other rows have one"):
        load_labelled_images(f"csv:{table}", SHAPE, ["cat", "dog"])
    images = np.zeros((2, 8, 8), np.uint8)
    np.savez(tmp_path / "a.npz", X=images, y=np.arange(2), split=np.array(["train", "tset"]))
    with pytest.raises(UsageError, match="row 1: split 'tset' is none of train, val, test"):
        load_labelled_images(f"npz:{tmp_path / 'a.npz'}", SHAPE, ["0", "1"])
