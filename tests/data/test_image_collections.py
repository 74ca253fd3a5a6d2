"""Images as Python users hold them: torch and Hugging Face data sets, frames, lists, tensors, and what is refused."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import ImageFolder

from robustkd.data.image_collections import ImageCollection, ReadingOptions, read_collection
from robustkd.data.sources import load_dataset
from robustkd.errors import UsageError

SIZE = ReadingOptions(image_size=8)


def read(X: Any, options: ReadingOptions = SIZE) -> ImageCollection:  # noqa: N803
    collection = read_collection(X, options)
    assert collection is not None
    return collection


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of three images of different sizes, and a table of them."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / name).mkdir()
        for number in range(3):
            pixels = random.integers(0, 256, (10 + number, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def paths(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*.png"))


@pytest.fixture(scope="module")
def wanted(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The images as a study reads them: (6, 8, 8, 3)."""
    source = load_dataset(f"folder:{folder}", image_size=8, cache_dir=tmp_path_factory.mktemp("cache"))
    return np.asarray(source.images).transpose(0, 2, 3, 1)


NAMES = ["cat"] * 3 + ["dog"] * 3


class HuggingFace:
    """What is used of a Hugging Face Dataset: columns, features and rows."""

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features
        self.column_names, self.shape = [*columns], (len(columns["label"]), len(columns))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: int | str | list[int]) -> Any:
        if isinstance(key, str):
            return self.columns[key]
        if isinstance(key, int):
            return {name: values[key] for name, values in self.columns.items()}
        return {name: [values[row] for row in key] for name, values in self.columns.items()}


class ClassLabel:
    names = ("cat", "dog")


def test_files_are_read_as_in_a_study(folder: Path, paths: list[Path], wanted: np.ndarray) -> None:
    texts = [str(path) for path in paths]
    frame = pd.DataFrame({"file_name": texts, "category": NAMES, "split": ["train"] * 6})
    contents = [path.read_bytes() for path in paths]
    encoded = [{"bytes": content, "path": None} for content in contents]
    labelled: list[Any] = [
        ImageFolder(folder),
        frame,
        [(path, name) for path, name in zip(paths, NAMES, strict=True)],
        [{"image": text, "label": name} for text, name in zip(texts, NAMES, strict=True)],
        HuggingFace({"image": encoded, "label": [0, 0, 0, 1, 1, 1]}, {"label": ClassLabel()}),
        frame.to_dict("records"),
    ]  # fmt: skip
    for collection in map(read, labelled):
        np.testing.assert_array_equal(collection.images, wanted)
        assert collection.labels is not None
        assert collection.labels.tolist() == NAMES
        assert collection.from_files
    for images in (paths, texts, np.array(texts), contents, frame["file_name"], frame[["file_name"]]):
        collection = read(images)
        np.testing.assert_array_equal(collection.images, wanted)
        assert collection.labels is None


def test_images_of_different_sizes_are_fitted_as_files_are(paths: list[Path], wanted: np.ndarray) -> None:
    images = [Image.open(path) for path in paths]
    arrays = [np.asarray(image) for image in images]
    tensors = [torch.from_numpy(array.copy()).permute(2, 0, 1) for array in arrays]
    fractions = [tensor.float() / 255 for tensor in tensors]
    for given in (images, arrays, tensors, fractions, np.array([*arrays, None], dtype=object)[:-1]):
        np.testing.assert_array_equal(read(given).images, wanted)


def test_images_of_one_size_keep_it_and_their_values() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 9, 10, 3), dtype=np.uint8)
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    labels = torch.arange(5) % 2
    assert np.array_equal(read([Image.fromarray(image) for image in images]).images, images)
    assert np.array_equal(read(tensor).images, tensor.numpy())
    found = read(TensorDataset(tensor.float() / 255, labels))
    np.testing.assert_allclose(found.images, images / 255, rtol=1e-6)
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1, 0, 1, 0]
    assert read(torch.zeros(2, 1, 8, 8, requires_grad=True, dtype=torch.bfloat16)).images.shape == (2, 1, 8, 8)
    grey_and_colour = [images[0], images[1, ..., 0]]
    assert np.array_equal(read(grey_and_colour).images[1], np.repeat(images[1, ..., :1], 3, axis=-1))


def test_transforms_of_a_data_set_are_applied(folder: Path) -> None:
    to_tensor = transforms.Compose([transforms.Resize((8, 8)), transforms.ToTensor()])
    found = read(ImageFolder(folder, transform=to_tensor))
    assert found.images.shape == (6, 8, 8, 3)
    assert found.images.dtype == np.float32
    assert not found.from_files
    assert found.labels is not None
    assert found.labels.tolist() == NAMES
    part = read(Subset(ImageFolder(folder, transform=to_tensor), [5, 0]))
    assert part.labels is not None
    assert part.labels.tolist() == ["dog", "cat"]


def test_transparent_pixels_and_palettes_are_as_in_files(tmp_path: Path) -> None:
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert (read([image]).images == 255).all()
    image.convert("P").save(tmp_path / "palette.png")
    assert read([Image.open(tmp_path / "palette.png")]).images.shape == (1, 8, 8, 3)
    assert read([Image.new("1", (8, 8))]).images.shape == (1, 8, 8, 1)


def test_deep_images_are_scaled_by_one_range(tmp_path: Path) -> None:
    files = []
    for number, level in enumerate((0, 2048, 4095)):
        files.append(tmp_path / f"{number}.png")
        Image.fromarray(np.full((8, 8), level, np.uint16)).save(files[-1])
    found = read(files)
    assert found.images[:, 0, 0, 0].tolist() == [0, 128, 255]
    assert read(files[:2], SIZE._replace(value_range=found.value_range)).images[1, 0, 0, 0] == 128


def test_a_batch_of_rows_is_a_table(paths: list[Path], wanted: np.ndarray) -> None:
    data = HuggingFace({"image": [str(p) for p in paths], "label": [0, 0, 0, 1, 1, 1]}, {})
    found = read(data[[0, 5]])
    np.testing.assert_array_equal(found.images, wanted[[0, 5]])
    assert found.labels is not None
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    "numbers",
    [
        *(np.zeros((3, 8, 8)), np.zeros((2, 3), object), [[0, 1], [2, 3]], [], 3),
        *(pd.DataFrame({"a": [1, 2]}), pd.Series([1.0, 2.0])),
    ],
)
def test_arrays_and_lists_of_numbers_are_left_to_numpy(numbers: Any) -> None:
    assert read_collection(numbers) is None


class Endless(Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> tuple[torch.Tensor, dict[str, int]]:
        return torch.zeros(1, 8, 8), {"label": row}


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("folder:photos", "X is 'folder:photos', but an array or tensor of images, a torch Dataset"),
        (None, "X is None"),
        (DataLoader(TensorDataset(torch.zeros(2, 1, 8, 8), torch.zeros(2))), "X is a DataLoader: pass its data set"),
        ([[1, 2], [3]], "X is a list of 2 nested lists that form no array"),
        ((image for image in np.zeros((2, 8, 8))), "X is a generator without a length"),
        ([np.zeros((8, 8)), "a.png"], "item 1 is a str, but an image as before"),
        ([np.zeros((8, 8)), 3], "item 1 is a int, but an image is wanted"),
        ([np.zeros((8, 8, 2))], r"an image of shape \(8, 8, 2\), but one or three channels"),
        ([np.zeros((1, 8, 8, 3))], r"an image of shape \(1, 8, 8, 3\)"),
        ([np.zeros((8, 8)), np.zeros((9, 9), np.uint8)], "images of integers and images of other numbers"),
        ([np.full((8, 8), 3.0), np.zeros((9, 9))], r"values from 3 to 3, but values from 0 to 1 are wanted: white=3"),
        (["absent.png"], r"1 of 1 image files cannot be read: absent\.png \(No such file .*\); repair or remove them$"),
        ([(np.zeros((8, 8)), 0), np.zeros((8, 8))], "items with a label and items without one"),
        (Endless(), "the label of item 0 is a dict"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "X: there is no column 'image'; there are: a, b$"),
        ([{"image": "a.png", "label": 0}, {"file": "b.png"}], "do not all have the columns image, label"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(images: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message) as raised:
        read_collection(images, SIZE)
    assert "\n" not in str(raised.value)


def test_a_closed_file_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match="not an image of a known format"):
        read_collection([tmp_path / "a.png"], SIZE)
    with pytest.raises(UsageError, match=r"item 0 \(not an image"):
        read_collection([io.BytesIO(b"no image").getvalue()], SIZE)
