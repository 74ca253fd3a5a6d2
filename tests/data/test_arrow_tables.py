"""Parquet files in shards, and folders as save_to_disk of Hugging Face's datasets writes them."""

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robustkd.data.sources import load_dataset
from robustkd.data.splits import split_source
from tests.data.image_files import assert_refused, noise_image

CLASSES = ["zebra", "cat", "ant"]
FEATURES = {"img": {"_type": "Image"}, "fine_label": {"names": CLASSES, "_type": "ClassLabel"}}


def image_table(count: int, start: int = 0, **others: list[Any]) -> pa.Table:
    """Encoded images and labels under Hugging Face's names, with its metadata."""
    contents = []
    for number in range(start, start + count):
        stream = io.BytesIO()
        noise_image(number).save(stream, "PNG")
        contents.append({"bytes": stream.getvalue(), "path": None})
    labels = [number % 3 for number in range(start, start + count)]
    metadata = {"huggingface": json.dumps({"info": {"features": FEATURES}})}
    return pa.table({"img": contents, "fine_label": labels, **others}).replace_schema_metadata(metadata)


def write_parquet(file: Path, table: pa.Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file)


def save_split(folder: Path, *shards: pa.Table) -> None:
    """Write a split as datasets.Dataset.save_to_disk does: streams of record batches, and state.json."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{len(shards):05}.arrow" for number in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        with pa.ipc.new_stream(str(folder / name), shard.schema) as stream:
            stream.write_table(shard, max_chunksize=4)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": FEATURES}))


def save_splits(folder: Path, **splits: pa.Table) -> None:
    """Write a data set as datasets.DatasetDict.save_to_disk does."""
    for name, table in splits.items():
        save_split(folder / name, table)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))


def write_shards(folder: Path) -> None:
    write_parquet(folder / "data" / "train-00000-of-00002.parquet", image_table(6))
    write_parquet(folder / "data" / "train-00001-of-00002.parquet", image_table(3, 6))
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", image_table(6, 9))


def test_shards_are_one_data_set_divided_by_their_names(tmp_path: Path) -> None:
    write_shards(tmp_path)
    source = load_dataset(f"parquet:{tmp_path}", image_size=8)
    assert source.classes == tuple(CLASSES)
    assert source.parts is not None
    assert source.parts.tolist() == ["test"] * 6 + ["train"] * 9  # in the order of the files' names
    assert source.labels.tolist() == [number % 3 for number in range(15)]
    assert source.notes == ("the column 'img' is read as image", "the column 'fine_label' is read as label")
    shards = load_dataset(f"parquet:{tmp_path}/data/train-*.parquet", image_size=8)
    assert len(shards.labels) == 9
    assert (shards.images == source.images[6:]).all()
    assert_refused(f"parquet:{tmp_path}/data/val-*.parquet", "there are no Parquet files that match")


def test_folders_name_the_parts_of_their_files(tmp_path: Path) -> None:
    write_parquet(tmp_path / "plain" / "train" / "0000.parquet", image_table(6))
    write_parquet(tmp_path / "plain" / "validation" / "0000.parquet", image_table(3, 6))
    source = load_dataset(f"parquet:{tmp_path}", image_size=8)
    assert source.parts is not None
    assert source.parts.tolist() == ["train"] * 6 + ["val"] * 3
    assert len(split_source(source, held_out=0, seed=0).test) == 3


def test_unlabelled_test_rows_are_left_out(tmp_path: Path) -> None:
    write_shards(tmp_path)
    unlabelled = image_table(6, 9).set_column(1, "fine_label", pa.array([-1] * 6))
    write_parquet(tmp_path / "data" / "test-00000-of-00001.parquet", unlabelled)
    source = load_dataset(f"parquet:{tmp_path}", image_size=8)
    assert len(source.labels) == 9
    assert source.notes[-1] == "6 rows without a label (-1) are not used"


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path)
    write_parquet(tmp_path / "more.parquet", image_table(3))
    assert_refused(f"parquet:{tmp_path}", "more.parquet is not named after train, val or test, but ", "test-00000")
    write_parquet(tmp_path / "train-9.parquet", image_table(3, site=["x"] * 3))
    (tmp_path / "more.parquet").unlink()
    assert_refused(f"parquet:{tmp_path}", "have different columns (site)")
    (tmp_path / "train-9.parquet").unlink()
    write_parquet(tmp_path / "train-9.parquet", image_table(3).set_column(0, "img", pa.array([b"a", b"b", b"c"])))
    assert_refused(f"parquet:{tmp_path}", "the column 'img' has several types: binary, struct<bytes: binary")
    small = image_table(3, 15).set_column(1, "fine_label", pa.array([0, 1, 2], pa.int8()))
    write_parquet(tmp_path / "train-9.parquet", small)
    assert len(load_dataset(f"parquet:{tmp_path}", image_size=8).labels) == 18
    (tmp_path / "data" / "sub").mkdir()
    assert_refused(f"parquet:{tmp_path}/data/sub", "there are no Parquet files in")


def test_names_of_files_and_a_split_column_are_refused_together(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}.parquet", image_table(3, split=["train", "train", "test"]))
    assert_refused(f"parquet:{tmp_path}", "the files' names and 'split' both divide", "--split-column none")
    assert load_dataset(f"parquet:{tmp_path}", split_column="none", image_size=8).parts is not None


def test_errors_name_the_row_within_its_file(tmp_path: Path) -> None:
    write_shards(tmp_path)
    missing = image_table(3, 6).set_column(1, "fine_label", pa.array([1, None, 2]))
    write_parquet(tmp_path / "data" / "train-00001-of-00002.parquet", missing)
    assert_refused(f"parquet:{tmp_path}", "row 1 of data/train-00001-of-00002.parquet has no fine_label")


def test_a_dataset_dict_equals_its_parquet_files(tmp_path: Path) -> None:
    save_splits(tmp_path / "saved", test=image_table(6, 9), train=image_table(9))
    write_shards(tmp_path / "shards")
    source = load_dataset(f"hf:{tmp_path / 'saved'}", image_size=8)
    same = load_dataset(f"parquet:{tmp_path / 'shards'}", image_size=8)
    assert source.fingerprint == same.fingerprint
    assert source.classes == tuple(CLASSES)


def test_a_dataset_of_several_files(tmp_path: Path) -> None:
    save_split(tmp_path / "single", image_table(6), image_table(3, 6))
    source = load_dataset(f"hf:{tmp_path / 'single'}", image_size=8)
    assert source.parts is None
    assert source.labels.tolist() == [number % 3 for number in range(9)]
    assert_refused(f"{tmp_path / 'single'}", "did you mean 'hf:")


def test_folders_that_were_not_saved_are_refused(tmp_path: Path) -> None:
    assert_refused(f"hf:{tmp_path}", "has neither dataset_dict.json nor state.json")
    assert_refused(f"hf:{tmp_path / 'lost'}", "there is no ")
    save_splits(tmp_path / "saved", train=image_table(6), extra=image_table(3))
    assert_refused(f"hf:{tmp_path / 'saved'}", "the split 'extra' of ", "is none of train, val and test")
    save_split(tmp_path / "one", image_table(6))
    (tmp_path / "one" / "data-00000-of-00001.arrow").write_bytes(b"no arrow file")
    assert_refused(f"hf:{tmp_path / 'one'}", "is not a readable Arrow file")
    (tmp_path / "one" / "data-00000-of-00001.arrow").unlink()
    assert_refused(f"hf:{tmp_path / 'one'}", "there is no ", "data-00000-of-00001.arrow")


@pytest.mark.parametrize("content", ["{", "[1]", "{}"])
def test_a_damaged_state_is_refused(tmp_path: Path, content: str) -> None:
    save_split(tmp_path / "one", image_table(6))
    (tmp_path / "one" / "state.json").write_text(content)
    assert_refused(f"hf:{tmp_path / 'one'}", "state.json cannot be read" if content == "{" else "lists no data files")
