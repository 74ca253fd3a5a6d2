"""Records of a study: what is written comes back, and what is damaged or of another version is named in one sentence."""

import json
from pathlib import Path

import pytest

from robustkd.errors import UsageError
from robustkd.study import results
from robustkd.study.results import RunResult
from tests.study.predicted_classes import make_result


def test_a_result_comes_back_as_it_was_written(tmp_path: Path) -> None:
    result = make_result(agreement={"test": None}, test=[0, 1])
    results.write_document(tmp_path / "result.json", result)
    assert results.read_document(tmp_path / "result.json", RunResult) == result
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_numbers_that_json_lacks_are_null(tmp_path: Path) -> None:
    result = make_result()
    result = result.model_copy(update={"agreement": {"test": float("nan")}})
    results.write_document(tmp_path / "result.json", result)
    assert json.loads((tmp_path / "result.json").read_text())["agreement"] == {"test": None}


def without_checksum(text: str, old: str, new: str) -> str:
    """Return a changed document without its checksum, as an earlier version would have written it."""
    return json.dumps({key: value for key, value in json.loads(text.replace(old, new)).items() if key != "checksum"})


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (lambda text: text[: len(text) // 2], "this file cannot be read .*; the command that made the study"),
        (lambda text: "", "this file cannot be read"),
        (lambda text: "[]", "this file is damaged: 'content' is missing or wrong in it"),
        (
            lambda text: text.replace('"seed": 0', '"seed": 1'),
            "this file is damaged: its content does not match its checksum",
        ),
        (
            lambda text: without_checksum(text, '"seed": 0', '"seed": "x"'),
            "this file is damaged: 'run.seed' is missing or",
        ),
        (
            lambda text: without_checksum(text, '"last"', '"lost"'),
            "this file is damaged: 'last' is missing or wrong in it",
        ),
        (lambda text: text.replace('"format": 2', '"format": 1'), "this file has format 1, written by another version"),
        (lambda text: text.replace('"format": 2,', ""), "this file has format 1, written by another version"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_in_one_sentence(tmp_path: Path, damage, sentence: str) -> None:
    path = tmp_path / "result.json"
    results.write_document(path, make_result())
    path.write_text(damage(path.read_text()))
    with pytest.raises(UsageError, match=f"{path}: {sentence}") as error:
        results.read_document(path, RunResult)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        results.read_document(tmp_path / "result.json", RunResult)


def test_different_methods_have_different_names() -> None:
    texts = [
        *("hinton", "hinton(0.5, 2)", "hinton(0.5-2)", "hinton(alpha=0.5, temperature=2)", "hinton(alpha=-0.5)"),
        *(
            'f(a="x y")',
            "f(a=x-y)",
            "f(a=x/y)",
            'f(a="x, y")',
            "f(x, y)",
            "f(a=1e-05)",
            "f(a=1)+g",
            "f(a=1)",
            "f(a=1+g)",
        ),
    ]
    names = {text: results.run_name("student", text, 0) for text in texts}
    assert len({*names.values()}) == len(texts)
    assert names["hinton(alpha=0.5, temperature=2)"] == "hinton-alpha=0.5-temperature=2-seed0"
    assert not any(set(name) & set('/\\ "(),') for name in names.values())
