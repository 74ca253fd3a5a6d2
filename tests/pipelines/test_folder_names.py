"""Names of results that can be read, whatever the data set is called."""

from pathlib import Path

import pytest

from pipelines.folder_names import legal_folder_name, short_dataset_name


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        ("folder:v1.2", "v1.2"),
        ("folder:/data/фото/", "фото"),
        ("folder:my.photos", "my.photos"),
        ("npz:toy.npz", "toy"),
        ("csv:tables/Birds.2024.CSV", "Birds.2024"),
        ("parquet:birds/*", "birds"),
        ("digits", "digits"),
    ],
)
def test_a_data_set_is_called_by_the_last_part_of_its_path(dataset: str, expected: str) -> None:
    assert short_dataset_name(dataset) == expected


def test_the_current_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos" / "raw").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "photos")
    assert short_dataset_name("folder:.") == "photos"
    assert short_dataset_name("folder:./raw") == "raw"
    monkeypatch.chdir("raw")
    assert short_dataset_name("folder:..") == "photos"


def test_any_script_and_any_length_gives_a_legal_name() -> None:
    assert legal_folder_name("cafe\u0301 / 猫?") == "café-猫"
    assert legal_folder_name(".hidden") == "hidden"
    long = legal_folder_name("я" * 300)
    assert long == "я" * 75
