"""Which texts refer to a network in MLflow."""

import pytest

from pipelines.references import is_reference


@pytest.mark.parametrize(
    "text", ["0123456789abcdef" * 2, "runs:/1/model", "models:/m-1", "models:/n@a", "mlflow-artifacts:/1/x"]
)
def test_references_are_recognised(text):
    assert is_reference(text)


@pytest.mark.parametrize(
    "text", ["wrn_16_2", "teacher/model.pt", "torchvision:resnet18", "runs:/", "0123456789ABCDEF" * 2]
)
def test_names_and_files_are_not_references(text):
    assert not is_reference(text)
