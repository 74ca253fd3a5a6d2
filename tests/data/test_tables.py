"""Tables as data sets: CSV files, Parquet files and data frames, and the errors of invalid ones."""

import json
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from robustkd.data import arrays, decode
from robustkd.data.sources import from_frame, load_dataset
from robustkd.data.splits import split_source
from robustkd.errors import UsageError
from tests.data.image_files import REAL_DATA, assert_refused, make_folder, noise_image, save_image

FILES = ("cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png")
LINES = "image,label\ncat/0.png,cat\ncat/1.png,cat\ndog/0.png,dog\ndog/1.png,dog\n"


@pytest.fixture
def table(tmp_path):
    """Write a CSV file, from text or bytes, next to class folders with four images; return the data set's name."""
    make_folder(tmp_path)

    def write_csv(content=LINES):
        file = tmp_path / "mine.csv"
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return f"csv:{file}"

    return write_csv


def columns(**more):
    """A CSV file of the four images with further columns."""
    names = ["image", "label", *more]
    rows = zip(FILES, ("cat", "cat", "dog", "dog"), *more.values(), strict=True)
    return "\n".join(",".join(row) for row in [names, *rows])


# CSV


def test_a_table_and_a_folder_of_the_same_files_are_the_same_data(table, tmp_path):
    source, same = load_dataset(table(), image_size=8), load_dataset(f"folder:{tmp_path}", image_size=8)
    assert (source.images == same.images).all()
    assert isinstance(source.images, np.memmap)
    assert (source.labels == same.labels).all()
    assert (source.classes, source.files, source.flips) == (same.classes, same.files, same.flips)
    assert (source.truth, source.parts, source.groups) == (None, None, None)
    assert source.fingerprint == same.fingerprint


def test_a_split_column_equals_folders_of_parts(tmp_path):
    for part in ("train", "val", "test"):
        make_folder(tmp_path, part=part)
    same = load_dataset(f"folder:{tmp_path}")
    lines = [f"{file},{file.split('/')[1]},{file.split('/')[0].upper()}" for file in same.files]
    (tmp_path / "mine.csv").write_text("\n".join(["image,label,split", *lines]))
    source = load_dataset(f"csv:{tmp_path / 'mine.csv'}")
    assert (source.parts == same.parts).all()
    assert source.fingerprint == same.fingerprint


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + LINES.encode(),
        LINES.replace("\n", "\r\n"),
        LINES + "\n\n,\n",
        LINES.replace("/", "\\"),
        LINES.replace(",", ";"),
        LINES.replace(",", "\t"),
        LINES.replace("cat/0.png", '"./cat/../cat//0.png"'),
        LINES.rstrip(),
        "notes," + LINES.replace("\n", "\n,", 4),
        columns(split=[""] * 4, clean_label=[""] * 4, group=[""] * 4),
    ],
    ids=["bom", "windows", "empty", "backslashes", "semicolons", "tabs", "quoted", "short", "more", "hollow"],
)
def test_equivalent_files_give_the_same_result(table, content):
    source = load_dataset(table(content))
    assert source.files == FILES
    assert source.classes == ("cat", "dog")
    assert (source.truth, source.parts, source.groups) == (None, None, None)
    assert source.fingerprint == load_dataset(table()).fingerprint


def test_labels_are_kept_as_text(table):
    for one, two in (("007", "7"), ("NA", "None"), ("nan", "NULL"), ("1.0", "1"), (" a", "a"), ("Äpfel, rot", "öl")):
        content = LINES.replace(",cat", f',"{one}"').replace(",dog", f',"{two}"')
        source = load_dataset(table(content))
        assert source.classes == tuple(sorted((one, two)))
        assert source.classes[source.labels[0]] == one
    quoted = LINES.replace(",cat", ',"a ""big"" cat"').replace("image,label", 'image,label,"a\nnote"')
    quoted = quoted.replace('cat"', 'cat",').replace(",dog", ",dog,")
    assert load_dataset(table(quoted)).classes == ('a "big" cat', "dog")
    assert "line 7" in assert_refused(table(quoted + "dog/0.png,,\n"), "has no label")  # lines, not rows


def test_clean_labels_groups_and_parts(table):
    source = load_dataset(table(columns(clean_label=["dog", "", "dog", ""], group=["7", "7", "", "b"])))
    assert list(source.truth) == [1, -1, 1, -1]
    assert list(source.labels) == [0, 0, 1, 1]
    assert source.truth.dtype == np.int64
    one, two, three, four = source.groups
    assert one == two
    assert len({one, three, four}) == 3
    assert load_dataset(table(columns(split=["Train", "VALIDATION", "train", "Test"]))).parts.tolist() == [
        *("train", "val", "train", "test")
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", ("is empty",)),
        ("\n\n", ("is empty",)),
        ("image,label\n\n", ("a header, but no rows",)),
        (LINES.replace("label", "lable"), ("did you mean 'lable'?", "there are: image, lable", "--label-column names")),
        (LINES.replace("image", "pixels"), ("no column 'image'; there are: pixels, label", "--image-column names")),
        (columns(x=["1"] * 4).replace("x", "label"), ("two columns are called 'label'",)),
        (LINES.replace(",dog", ",", 1), ("line 4 has no label",)),
        (LINES.replace(",dog", ",  "), ("line 4 has no label",)),
        (LINES.replace(",dog", ",dog, brown"), ("line 4 of ", "mine.csv has 3 values, but line 1 has 2")),
        (LINES.replace("cat/1.png", ""), ("line 3 has no image",)),
        (LINES.replace("cat/1.png,cat", "cat/1.png"), ("line 3 of ", "mine.csv has 1 values, but line 1 has 2")),
        (LINES.replace(",dog", ",cat"), ("label is 'cat' in all rows", "two classes")),
        (LINES.replace("cat/1.png", "../cat/1.png"), ("line 3: '../cat/1.png' is outside",)),
        (LINES.replace("cat/1.png", "cat\\..\\..\\1.png"), ("line 3", "is outside")),
        (LINES.replace("cat/1.png", "/etc/1.png"), ("line 3: '/etc/1.png' is outside",)),
        (LINES.replace("cat/1.png", "C:\\photos\\1.png"), ("line 3: 'C:\\photos\\1.png' is outside",)),
        (LINES.replace("cat/1.png", "cat/7.png"), ("1 of 4", "cat/7.png (No such file", "--skip-bad-images")),
        (columns(split=["train", "trian", "train", "test"]), ("line 3: split 'trian'", "did you mean 'train'")),
        (columns(split=["train", "", "train", "test"]), ("line 3 has no split",)),
        (columns(split=["val", "test", "val", "test"]), ("split leaves no row for training",)),
        (columns(split=["train", "train", "test", "test"]), ("test has classes that train does not have: dog",)),
        (
            columns(split=["train", "test", "train", "test"], group=["a", "b", "c", "a"]),
            ("group 'a' is in train and test", "a group must not be divided"),
        ),
        (columns(clean_label=["cat", "cot", "", ""]), ("line 3: clean_label 'cot'", "did you mean 'cat'")),
        ('image,label\n"cat/0.png,cat\n', ("is not a valid CSV file: line 2",)),
        ('image,label\n"cat/0.png"x,cat\n', ("is not a valid CSV file: line 2",)),
        (LINES.replace("dog", "dög").encode("latin-1"), ("is not UTF-8 (line 4)", "CSV UTF-8")),
        (LINES.encode("utf-16"), ("is not UTF-8",)),
        (b"\x89PNG\r\n\x1a\n\0\0", ("is not UTF-8",)),
        ("Dear all,\nhello, you\n", ("no column 'image'",)),
    ],
)
def test_invalid_tables_are_refused(table, content, expected):
    assert_refused(table(content), "csv:", *expected)


def test_missing_tables_are_refused(tmp_path):
    (tmp_path / "mine.csv").mkdir()
    assert_refused(f"csv:{tmp_path / 'mine.csv'}", "is a folder, not a file")
    assert_refused(f"csv:{tmp_path / 'min.csv'}", "there is no", "did you mean 'mine.csv'?")
    assert_refused(f"parquet:{tmp_path / 'min.parquet'}", "there is no")
    assert_refused("csv:", "csv:PATH")


def test_absolute_paths_must_be_in_the_folder(table, tmp_path):
    save_image(noise_image(0), tmp_path.parent / "outside.png")
    assert load_dataset(table(LINES.replace("cat/0.png", str(tmp_path / "cat" / "0.png")))).files == FILES
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    table(LINES.replace("cat/0.png", str(tmp_path / "cat" / "0.png")))
    assert load_dataset(f"csv:{link / 'mine.csv'}").files == FILES
    for path in ("../outside.png", str(tmp_path.parent / "outside.png"), f"{tmp_path}/../outside.png", f"{tmp_path}-x"):
        assert_refused(table(LINES.replace("cat/0.png", path)), "line 2", path, "is outside")


def test_file_names_do_not_determine_the_format(table, tmp_path):
    (tmp_path / "cat" / "0.png").rename(tmp_path / "cat" / "..0")
    source = load_dataset(table(LINES.replace("cat/0.png", "cat/..0")))
    assert (source.images[0] == decode.decode_image(tmp_path / "cat" / "..0", 32)).all()


def test_unreadable_images_are_listed_or_skipped(table, tmp_path):
    (tmp_path / "cat" / "1.png").write_text("not an image")
    content = columns(clean_label=["cat", "dog", "", "cat"], group=list("aabc"), split=["train"] * 4)
    assert_refused(table(content), "1 of 4", "cat/1.png (not an image of a known format)", "--skip-bad-images")
    source = load_dataset(table(content), skip_bad_images=True)
    assert source.skipped == ("cat/1.png",)
    assert source.files == (FILES[0], *FILES[2:])
    assert list(source.labels) == [0, 1, 1]
    assert list(source.truth) == [0, -1, 0]
    assert len(source.images) == len(source.groups) == len(source.parts) == 3
    (tmp_path / "cat" / "0.png").unlink()
    assert_refused(table(content), "no readable images to train on of cat", skip_bad_images=True)
    twice = "image,label\ncat/1.png,cat\ncat/1.png,dog\n"  # one file in two rows
    assert_refused(table(twice), "none of the 2 image files", skip_bad_images=True)


def test_the_second_read_decodes_nothing(table, monkeypatch):
    first = load_dataset(table())
    monkeypatch.setattr(decode, "decode_image", lambda *_: pytest.fail("decoded again"))
    assert (load_dataset(table()).images == first.images).all()


# No half of a surrogate pair, which is no text, and no control characters, which are refused.
WRITABLE = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1, max_size=6).filter(str.strip)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(WRITABLE, min_size=2, max_size=2, unique=True),
    end=st.sampled_from(["\n", "\r\n"]),
    start=st.sampled_from(["utf-8", "utf-8-sig"]),
)
def test_class_names_written_by_pandas_are_read_unchanged(table, tmp_path, names, end, start):
    word = table()
    labels = [names[0], names[0], names[1], names[1]]
    frame = pd.DataFrame({"label": labels, "image": FILES})
    frame.to_csv(tmp_path / "mine.csv", index=False, lineterminator=end, encoding=start)
    source = load_dataset(word, image_size=8)
    assert [source.classes[label] for label in source.labels] == labels
    assert source.classes == tuple(sorted(names))


def test_a_file_without_a_header(table):
    content = LINES.partition("\n")[2]
    source = load_dataset(table(content), header=False)
    assert source.fingerprint == load_dataset(table(LINES)).fingerprint
    assert source.notes == ()
    assert_refused(table(content), "no column 'image'; there are: cat/0.png, cat", "--no-header")
    three = content.replace(",", ",x,")
    assert_refused(table(three), "no column 'image'; there are: 1, 2, 3; --image-column names", header=False)
    assert load_dataset(table(three), header=False, image_column="1", label_column="3").classes == ("cat", "dog")
    gap = three.replace("cat/1.png,x,cat", "cat/1.png,x,")
    assert_refused(table(gap), "line 2 has no 3", header=False, image_column="1", label_column="3")


def test_a_list_of_files_separated_by_spaces(table):
    content = LINES.partition("\n")[2].replace(",", " ")
    assert load_dataset(table(content), header=False).fingerprint == load_dataset(table(LINES)).fingerprint


ROWS = [line.split(",") for line in LINES.splitlines()]


@pytest.mark.parametrize(
    ("header", "row", "end"),
    [
        ("image, label", "{0}, {1}", "\n"),
        ("image|label", "{0}|{1}", "\n"),
        (",image,label", "7,{0},{1}", "\n"),  # an index, as pandas writes it
        (",image,label,", "7,{0},{1},", "\n"),
        ("IMAGE,Label,SPLIT", "{0},{1},train", "\n"),
        ("\ufeffimage;label", "{0};{1}", "\r\n"),
    ],
    ids=["spaced", "bars", "index", "index and end", "capitals", "excel"],
)
def test_files_as_programs_write_them(table, header, row, end):
    source = load_dataset(table(end.join([header, *(row.format(*cells) for cells in ROWS[1:])])))
    assert source.fingerprint == load_dataset(table(LINES)).fingerprint


def test_numbers_as_labels(table):
    for start in (0, 1):
        for form in ("{}", "{}.0"):
            names = [form.format(number) for number in (start, start + 1)]
            source = load_dataset(table(LINES.replace(",cat", f",{names[0]}").replace(",dog", f",{names[1]}")))
            assert source.classes == tuple(names)
            assert source.labels.tolist() == [0, 0, 1, 1]


def test_columns_of_other_names_are_the_same_data(table):
    source = load_dataset(table(LINES))
    for header in ("file_name,label", "filename,class", "path,target", "Image,LABEL", "img,fine_label", "id,species"):
        same = load_dataset(table(LINES.replace("image,label", header)))
        assert same.fingerprint == source.fingerprint
        assert same.notes
    plain = LINES.replace(".png", "").replace("image", "id")
    assert load_dataset(table(plain)).files == FILES


# Parquet


def bytes_of(root):
    return [(root / file).read_bytes() for file in FILES]


def parquet(root, data, notes=None):
    written = pa.table(data)
    pq.write_table(written.replace_schema_metadata(notes), root / "mine.parquet")
    return f"parquet:{root / 'mine.parquet'}"


def test_parquet_of_paths_bytes_or_both(tmp_path):
    make_folder(tmp_path)
    same = load_dataset(f"folder:{tmp_path}")
    labels, held = ["cat", "cat", "dog", "dog"], bytes_of(tmp_path)
    kinds = {
        "paths": list(FILES),
        "bytes": held,
        "both": [{"bytes": content, "path": file} for file, content in zip(FILES, held, strict=True)],
        "nameless": [{"bytes": content, "path": None} for content in held],
        "one name": [{"bytes": content, "path": "image.png"} for content in held],
        "external": [{"bytes": None, "path": file} for file in FILES],
    }
    for kind, images in kinds.items():
        source = load_dataset(parquet(tmp_path, {"image": images, "label": labels}))
        assert source.fingerprint == same.fingerprint, kind
        assert (source.images == same.images).all(), kind
        named = kind in ("paths", "both", "external")
        assert source.files == (FILES if named else ("row 0", "row 1", "row 2", "row 3")), kind


def test_parquet_as_written_by_hugging_face(tmp_path):
    make_folder(tmp_path)
    features = {"label": {"names": ["zebra", "cat", "dog"], "_type": "ClassLabel"}, "image": {"_type": "Image"}}
    notes = {"huggingface": json.dumps({"info": {"features": features}})}
    data = {"image": [{"bytes": content, "path": "x.png"} for content in bytes_of(tmp_path)], "label": [2, 1, 0, 2]}
    source = load_dataset(parquet(tmp_path, data, notes))
    assert source.classes == ("zebra", "cat", "dog")
    assert list(source.labels) == [2, 1, 0, 2]
    assert load_dataset(parquet(tmp_path, data)).classes == ("0", "1", "2")
    source = load_dataset(parquet(tmp_path, {**data, "label": [-1, 0, 1, 1]}, notes))
    assert source.labels.tolist() == [0, 1, 1]
    assert source.notes == ("1 row without a label (-1) is not used",)
    assert_refused(
        parquet(tmp_path, {**data, "label": [-2, 0, 1, 1]}, notes),
        "classes has names for 0 to 2, but label ranges from -2",
    )
    numbers = {**data, "label": [10, 9, 10, 9], "clean_label": [9, None, None, 10]}
    source = load_dataset(parquet(tmp_path, numbers))
    assert source.classes == ("9", "10")
    assert list(source.truth) == [0, -1, -1, 1]


def test_unreadable_bytes_are_named_by_row_or_path(tmp_path, monkeypatch):
    make_folder(tmp_path)
    held = bytes_of(tmp_path)
    held[1] = held[1][:40]
    labels = ["cat", "cat", "dog", "dog"]
    assert_refused(parquet(tmp_path, {"image": held, "label": labels}), "1 of 4", "row 1 (")
    named = [{"bytes": content, "path": f"{row}.png"} for row, content in enumerate(held)]
    word = parquet(tmp_path, {"image": named, "label": labels})
    assert_refused(word, "1 of 4", "1.png (")
    save_image(noise_image(0), tmp_path / "1.png")  # a file of the same name does not replace the table's content
    source = load_dataset(word, skip_bad_images=True)
    assert source.files == ("0.png", "2.png", "3.png")
    assert source.skipped == ("1.png",)
    monkeypatch.setattr(decode, "decode_image", lambda *_: pytest.fail("decoded again"))
    assert load_dataset(word, skip_bad_images=True).skipped == ("1.png",)


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ({"image": None}, ("no column 'image'; there are: label",)),
        ({"label": [0, None, 1, 1]}, ("row 1 has no label",)),
        ({"label": [0.5, 1.5, 0.5, 1.5]}, ("the column 'label' contains float",)),
        ({"label": [[0], [1], [0], [1]]}, ("the column 'label' contains",)),
        ({"image": [None, *FILES[1:]]}, ("row 0 has no image",)),
        ({"image": [{"bytes": None, "path": ""}] * 4}, ("row 0 has no image",)),
        ({"image": [1, 2, 3, 4]}, ("row 0: there is no '1' in ", "but there is one in ", "cat: --root ")),
        ({"image": [1.5, 2.5, 3.5, 4.5]}, ("row 0: the image is of type float, neither path nor bytes",)),
        ({"image": ["../0.png", *FILES[1:]]}, ("row 0: '../0.png' is outside",)),
        ({"image": [], "label": pa.array([], pa.string())}, ("no rows",)),
    ],
)
def test_invalid_parquet_columns_are_refused(tmp_path, others, expected):
    make_folder(tmp_path)
    data = {"image": list(FILES), "label": ["cat", "cat", "dog", "dog"], **others}
    assert_refused(
        parquet(tmp_path, {name: column for name, column in data.items() if column is not None}), "parquet:", *expected
    )


def test_damaged_parquet_files_are_refused(tmp_path):
    file = tmp_path / "mine.parquet"
    file.write_text("image,label\n")
    assert_refused(f"parquet:{file}", "is not a readable Parquet file")
    file.write_bytes(b"PAR1" + bytes(100) + b"PAR1")
    assert_refused(f"parquet:{file}", "is not a readable Parquet file")
    assert_refused(f"parquet:{tmp_path}", "mine.parquet is not a readable Parquet file")


# Frames


def test_frames(tmp_path):
    make_folder(tmp_path)
    same = load_dataset(f"folder:{tmp_path}", image_size=8)
    frame = pd.DataFrame({"image": FILES, "label": ["cat", "cat", "dog", "dog"]}, index=[7, 7, 3, 1])
    for one in (frame, frame.astype({"label": "category"}), frame.astype(object), frame.astype(str)):
        assert from_frame(one, tmp_path, image_size=8).fingerprint == same.fingerprint
    assert not from_frame(frame, tmp_path, flips=False).flips
    numbers = frame.assign(label=[10, 9, 10, 9], clean_label=[9, np.nan, 10, np.nan], group=[1, 1, 2, 3])
    source = from_frame(numbers, tmp_path)
    assert source.classes == ("9", "10")
    assert list(source.truth) == [0, -1, 1, -1]
    assert list(source.groups) == [0, 0, 1, 2]
    held = frame.assign(image=bytes_of(tmp_path))
    assert from_frame(held, image_size=8).fingerprint == same.fingerprint
    with pytest.raises(UsageError, match=r"mine: row 1 has no label"):
        from_frame(frame.assign(label=["cat", None, "dog", "dog"]), tmp_path, name="mine")
    with pytest.raises(UsageError, match=r"frame: the column 'label' contains int and str"):
        from_frame(frame.assign(label=["cat", 1, "dog", "dog"]), tmp_path)


def test_a_data_set_from_a_frame_can_be_saved(tmp_path):
    make_folder(tmp_path)
    frame = pd.DataFrame({"image": FILES, "label": ["a", "a", "b", "b"], "clean_label": ["b", "", "", "b"]})
    source = from_frame(frame, tmp_path)
    arrays.save_npz(source, tmp_path / "saved.npz")
    again = load_dataset(f"npz:{tmp_path / 'saved.npz'}")
    assert again.fingerprint == source.fingerprint
    assert (again.truth == source.truth).all()


# Splits


def test_groups_of_a_table_are_not_divided(tmp_path):
    lines = ["image,label,group"]
    for row in range(48):
        save_image(noise_image(row, (8, 8, 3)), tmp_path / f"{row}.png")
        group = "" if row % 12 == 0 else f"patient {row // 4}"
        lines.append(f"{row}.png,{'ab'[row % 24 // 12]},{group}")
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    source = load_dataset(f"csv:{tmp_path / 'mine.csv'}", image_size=8)
    rows = split_source(source, held_out=0.1, seed=0)
    seen = [{lines[1 + row].split(",")[2] for row in part} - {""} for part in rows]
    assert sum(map(len, seen)) == len(set.union(*seen)) == 12
    assert sorted(np.concatenate(rows)) == list(range(48))
    assert len(rows.test) in range(9, 16)


# Real photographs


def test_real_photographs(tmp_path):
    place = REAL_DATA / "clothing"
    if not place.is_dir():
        pytest.skip("real data not present")
    kinds = ("dress", "shoes", "t-shirt")
    for part in ("train", "validation", "test"):
        for kind in kinds:
            (tmp_path / part / kind).mkdir(parents=True)
            for file in sorted((place / part / kind).iterdir())[:9]:
                (tmp_path / part / kind / file.name).symlink_to(file)
    same = load_dataset(f"folder:{tmp_path}")
    frame = pd.DataFrame([file.split("/") for file in same.files], columns=["split", "label", "name"])
    frame["image"] = same.files
    frame.sample(frac=1, random_state=0).to_csv(tmp_path / "mine.csv", index=False)
    source = load_dataset(f"csv:{tmp_path / 'mine.csv'}")
    assert source.classes == same.classes == kinds
    at = {file: row for row, file in enumerate(same.files)}
    rows = [at[file] for file in source.files]
    assert sorted(rows) == list(range(81))
    assert (source.images == same.images[rows]).all()
    assert (source.labels == same.labels[rows]).all()
    assert (source.parts == same.parts[rows]).all()


def test_pipes_are_refused_without_waiting(tmp_path):
    root = make_folder(tmp_path)
    os.mkfifo(root / "cat" / "pipe.png")
    assert_refused(f"folder:{root}", "cat/pipe.png (not a regular file)")
    assert_refused(f"csv:{root / 'cat' / 'pipe.png'}", "is not a regular file")


@pytest.mark.parametrize("notes", ["no json", "[]", "null", '{"info": null}', '{"info": {"features": []}}'])
def test_metadata_of_another_form_is_ignored(tmp_path, notes):
    make_folder(tmp_path)
    written = pa.table({"image": list(FILES), "label": [0, 0, 1, 1]}).replace_schema_metadata({"huggingface": notes})
    pq.write_table(written, tmp_path / "mine.parquet")
    assert load_dataset(f"parquet:{tmp_path / 'mine.parquet'}").classes == ("0", "1")


def test_control_characters_in_names_are_refused(table):
    assert_refused(
        table(LINES.replace(",cat", ",c\x1b[31mat")), "the class 'c\\x1b[31mat' has a control character in its name"
    )
    assert_refused(table(LINES.replace("cat/0.png", "cat/0\0.png")), "embedded null")
