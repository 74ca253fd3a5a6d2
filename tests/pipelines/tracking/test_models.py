"""Networks as MLflow models, and networks downloaded from MLflow."""

import mlflow
import pytest
import torch
from mlflow import MlflowClient

from pipelines import tracking
from robustkd.errors import UsageError
from tests.pipelines.conftest import use_store
from tests.pipelines.tracking.run_folders import NAMES, assert_predictions_match, make_run


@pytest.fixture(autouse=True)
def client(store, monkeypatch):
    use_store(monkeypatch, store)
    return MlflowClient()


@pytest.mark.parametrize(
    ("word", "shape", "head"),
    [
        ("wrn_10_1", (1, 16, 16), "cosine"),
        ("resnet8", (3, 9, 12), "linear"),
        pytest.param("torchvision:resnet18", (3, 32, 32), "linear", marks=pytest.mark.slow),
    ],
)
def test_every_kind_of_network_can_be_saved_as_a_model(tmp_path, word, shape, head):
    path, _ = make_run(tmp_path, "hinton-seed0", word=word, shape=shape, head=head)
    card = tracking.save_model(path / "model.pt", tmp_path / "model")
    card.save(tmp_path / "model" / "MLmodel")
    assert_predictions_match(
        mlflow.pyfunc.load_model(str(tmp_path / "model")), path / "model.pt", (*shape[1:], shape[0])
    )


def test_a_saved_model_has_no_pickle_and_names_its_classes(tmp_path):
    path, _ = make_run(tmp_path, "hinton-seed0")
    before = torch.get_rng_state()
    card = tracking.save_model(path / "model.pt", tmp_path / "model")
    assert torch.equal(before, torch.get_rng_state())
    files = {str(file.relative_to(tmp_path / "model")) for file in (tmp_path / "model").rglob("*") if file.is_file()}
    assert {"data/model.pt2", "extra_files/model.pt", "MLmodel"} <= files
    assert not [file for file in files if file.endswith((".pkl", ".pickle", ".pth")) or "pickle" in file]
    assert card.metadata["classes"] == list(NAMES)
    requirements = (tmp_path / "model" / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in requirements} == {"mlflow", "torch"}
    assert "+" not in "".join(requirements)


def test_an_unknown_reference_is_refused_in_one_sentence(client):
    parent = client.create_run("0").info.run_id  # without files, as the parent run of a study is without a network
    for reference in (parent, "f" * 32, f"runs:/{parent}/model", "models:/nobody/1", "models:/m-" + "0" * 32):
        with pytest.raises(UsageError, match=rf"{reference}: sqlite:.*mlflow.db has no model.pt under this name"):
            tracking.download_network(reference)
