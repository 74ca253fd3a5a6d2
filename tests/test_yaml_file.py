"""YAML files of users."""

from pathlib import Path

import pytest

from robustkd.errors import UsageError
from robustkd.yaml_file import MAX_BYTES, read_yaml


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_are_text_as_written(tmp_path: Path) -> None:
    text = "\ufeffepochs: 1:30:00\nname: 2026-11-28\nlr: 1e-3\nfresh: yes\nseeds:\nmethods: [baseline, 'a, b']\n"
    assert read_yaml(write(tmp_path, text), "--config") == {
        **{"epochs": "1:30:00", "name": "2026-11-28", "lr": "1e-3", "fresh": "yes", "seeds": ""},
        "methods": ["baseline", "a, b"],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: &x [1, 2]\nb: *x\n", r"line 2: aliases \(\*x\) are not supported"),
        ("[" * 100_000, "line 1: lists or mappings are nested too deeply"),
        ("a: " + "{b: " * 10, "nested too deeply"),
        ("a: [", "this is not YAML"),
        ("a: b: c", "this is not YAML"),
        ("a: !!python/object/apply:os.system ['true']", None),
        ("a" * (MAX_BYTES + 1), "larger than 1 MB"),
    ],
)
def test_what_is_more_than_lists_and_mappings_of_text_is_refused_or_text(
    tmp_path: Path, text: str, message: str | None
) -> None:
    path = write(tmp_path, text)
    if message is None:
        assert read_yaml(path, "--config") == {"a": ["true"]}, "a tag makes nothing"
        return
    with pytest.raises(UsageError, match=message):
        read_yaml(path, "--config")


def test_nine_fold_aliases_end_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x]", *(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10))]
    with pytest.raises(UsageError, match="aliases"):
        read_yaml(write(tmp_path, "\n".join(lines)), "--config")


def test_other_encodings_missing_files_and_files_without_an_end_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "latin.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(UsageError, match="this is not YAML"):
        read_yaml(path, "--config")
    with pytest.raises(UsageError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml", "--config")
    if Path("/dev/zero").exists():
        with pytest.raises(UsageError, match="larger than 1 MB"):
            read_yaml("/dev/zero", "--config")
