"""Parameters, tags and data sets within MLflow's limits."""

import json
from pathlib import Path

from mlflow.utils import validation

from pipelines.tracking import entities


def test_limits_are_mlflows() -> None:
    assert entities.MAX_PARAM == validation.MAX_PARAM_VAL_LENGTH
    assert entities.MAX_TAG == validation.MAX_TAG_VAL_LENGTH
    assert entities.MAX_DATASET_NAME == validation.MAX_DATASET_NAME_SIZE
    assert entities.MAX_DATASET_DIGEST == validation.MAX_DATASET_DIGEST_SIZE


def test_parameters_are_cut_and_each_name_is_logged_once_in_any_case() -> None:
    params = entities.to_mlflow_params({"a": "x" * 9000, "A": 1, "b": 2, "c;d": 3, "c:d": 4}, logged={"B"})
    assert [(param.key, param.value) for param in params] == [("a", "x" * 6000), ("c_d", "3")]


def test_tags_are_cut() -> None:
    (tag,) = entities.to_mlflow_tags({"methods": "x" * 9000})
    assert (tag.key, tag.value) == ("methods", "x" * 8000)


def test_a_data_set_is_described_without_reading_it(tmp_path: Path) -> None:
    given = {"name": "n" * 600, "digest": "d" * 99, "source": f"folder:{tmp_path}"}
    local = entities.to_mlflow_dataset(given).dataset
    assert (local.name, local.digest, local.source_type) == ("n" * 500, "d" * 36, "local")
    assert json.loads(local.source) == {"uri": str(tmp_path)}
    published = entities.to_mlflow_dataset(
        {"name": "digits", "digest": "0", "source": "digits", "counts": {"train": 7}}
    )
    assert (published.dataset.source_type, json.loads(published.dataset.source)) == (
        "code",
        {"tags": {"dataset": "digits"}},
    )
    assert json.loads(published.dataset.profile) == {"train": 7}
    assert [(tag.key, tag.value) for tag in published.tags] == [("mlflow.data.context", "training")]
