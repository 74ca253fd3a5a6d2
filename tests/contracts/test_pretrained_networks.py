"""Networks that start from weights, from a study to its files: what leaves the study predicts what the study measured."""

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import timm
import torch
from PIL import Image
from sklearn.base import clone

import robustkd
from pipelines import cli, planning
from pipelines.stages.predict import predict_probabilities
from pipelines.tracking.models import save_model
from robustkd.data.labelled_images import load_labelled_images
from robustkd.estimator import DistilledClassifier
from robustkd.study import run_folder
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan, Progress, Run, list_runs
from robustkd.study.results import RunResult, read_document
from robustkd.study.scheduler import execute_runs
from robustkd.training import checkpoint

CLASSES = ("down", "up")
OPTIONS: dict[str, Any] = {
    **{"dataset": "folder:photos", "scenario": "noise0.2", "methods": "hinton", "seeds": 1, "jobs": 1, "threads": 1},
    **{"teacher": "timm:test_vit(checkpoint=vit.pth)", "student": "timm:test_resnet(checkpoint=resnet.pth)"},
    **{"image_size": 32, "teacher_image_size": 48, "batch": 8, "epochs": 3, "lr": 0.01, "precision": "fp32"},
    **{"ema": 0.5, "accumulate": 2, "device": "cpu"},
}


def write_photographs(folder: Path) -> None:
    """Write photographs of two classes: brighter towards the bottom or towards the top, on noise."""
    random = np.random.default_rng(0)
    for part, count in {"train": 12, "val": 4, "test": 6}.items():
        for name in CLASSES:
            (folder / part / name).mkdir(parents=True)
            for number in range(count):
                ramp = np.linspace(0, 150, 60)[:: 1 if name == "down" else -1, None, None]
                pixels = ramp + random.integers(0, 100, (60, 70, 3))
                Image.fromarray(pixels.astype(np.uint8)).save(folder / part / name / f"{number}.png")


def write_weights(folder: Path) -> None:
    """Write weights of two of timm's smallest classifiers, for other classes than those of the photographs."""
    for name in ("resnet", "vit"):
        torch.manual_seed(0)
        torch.save(timm.create_model(f"test_{name}", num_classes=7).state_dict(), folder / f"{name}.pth")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A working directory with photographs, weights and a study, whose weights were deleted after training."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_photographs(folder / "photos")
        write_weights(folder)
        options = [f"--{name.replace('_', '-')}={value}" for name, value in OPTIONS.items()]
        cli.main(["run", *options, "--tracker=files", "--name=study"])
        (folder / "kept").mkdir()
        for file in folder.glob("*.pth"):
            file.rename(folder / "kept" / file.name)
    return folder


@pytest.fixture
def study(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    (folder,) = (file.parent for file in home.glob("studies/*/study.json"))
    return folder


def measured_probabilities(run: Path) -> np.ndarray:
    """Return the probabilities of the test images that the study computed."""
    with np.load(run / "test-last.npz") as arrays:
        return np.asarray(torch.from_numpy(arrays["logits"]).double().softmax(dim=1))


def stored_images(card: dict[str, Any]) -> np.ndarray:
    """Return the test photographs as they are read for a network: (n, H, W, C)."""
    images = load_labelled_images("folder:photos/test", checkpoint.stored_shape(card), CLASSES).images
    return np.ascontiguousarray(images.transpose(0, 2, 3, 1))


@pytest.mark.parametrize("name", ["teacher-seed0", "hinton-seed0"])
def test_a_network_predicts_outside_its_study_what_was_measured(study: Path, name: str) -> None:
    run = study / "runs" / name
    net, card = checkpoint.load_usable_net(run / "model.pt")
    assert checkpoint.stored_shape(card) == (3, 51, 51), "48 pixels are 0.95 of the side"
    assert (tuple(card["shape"]), net.image_size) == ((3, 48, 48), 48 if name == "teacher-seed0" else 32)
    expected = measured_probabilities(run)
    images = stored_images(card)
    found = predict_probabilities(net, images.transpose(0, 3, 1, 2), (3, 48, 48), torch.device("cpu"))
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.ptp(expected, axis=0).max() > 1e-3, "constant predictions would prove nothing"


def test_exported_files_prepare_the_photographs_themselves(study: Path) -> None:
    cli.main(["export", str(study), "--method", "hinton", "--to", "exported"])
    about = json.loads(Path("exported/card.json").read_text())
    given = about["input"]
    assert (given["shape"], given["crop"], given["resized_to"]) == (["batch", 51, 51, 3], [48, 48], [32, 32])
    assert about["weights"] == "the file resnet.pth"
    images, expected = (
        stored_images({"shape": (3, 48, 48), "crop_share": 48 / 51}),
        measured_probabilities(study / "runs" / "hinton-seed0"),
    )
    session = onnxruntime.InferenceSession("exported/model.onnx")
    module = torch.export.load("exported/model.pt2").module()
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-5)
    np.testing.assert_allclose(module(torch.from_numpy(images)).detach(), expected, atol=1e-6)
    assert (about["recipe"]["recipe"], about["recipe"]["head_first"]) == ("finetune", 1)
    text = Path("exported/README.md").read_text()
    assert "| recipe | --recipe finetune --epochs 3" in text.replace("\\", "")
    assert "central 48x48 pixels" in text
    assert "resize them to 32x32" in text
    shutil.rmtree("exported")


def test_an_exported_average_of_the_weights_has_its_own_metrics(study: Path) -> None:
    about = []
    for name in ("model", "ema"):
        cli.main(["export", str(study / "runs" / "hinton-seed0" / f"{name}.pt"), "--to", name, "--formats", "torch"])
        about.append(json.loads(Path(name, "card.json").read_text()))
        shutil.rmtree(name)
    last, average = about
    assert [each["averaged"] for each in about] == [False, True]
    result = read_document(study / "runs" / "hinton-seed0" / "result.json", RunResult)
    assert average["figures"]["nll"] == result.auxiliary["ema"].metrics["nll"] != last["figures"]["nll"]


def test_models_in_mlflow_prepare_the_photographs_themselves(study: Path, tmp_path: Path) -> None:
    import mlflow.pyfunc

    card = save_model(study / "runs" / "hinton-seed0" / "model.pt", tmp_path / "model")
    card.save(str(tmp_path / "model" / "MLmodel"))
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    images = stored_images({"shape": (3, 48, 48), "crop_share": 48 / 51})
    np.testing.assert_allclose(
        model.predict(images), measured_probabilities(study / "runs" / "hinton-seed0"), atol=1e-6
    )


# Training


def draft(folder: Path, **changes: Any) -> Plan:
    return planning.draft_study(StudyOptions(**{**OPTIONS, "out": str(folder), **changes})).write()


class InterruptionError(Exception):
    """Stands for the end of a process."""


def read_weights(plan: Plan) -> dict[str, bytes]:
    """Return the bytes of every network of a study."""
    files = sorted(plan.folder.glob("runs/*/*.pt"))
    return {file.relative_to(plan.folder).as_posix(): file.read_bytes() for file in files}


def execute_all(plan: Plan, interrupted_after: tuple[int, ...] = ()) -> None:
    """Execute the runs of a study, each interrupted after some of its epochs and continued."""

    def interrupt(progress: Progress) -> None:
        if progress.epoch in pending:
            pending.remove(progress.epoch)
            raise InterruptionError

    run: Run
    for run in list_runs(plan.options, has_teacher=False):
        pending = list(interrupted_after)
        while not run_folder.is_finished(plan, run):
            try:
                run_folder.execute(plan, run, interrupt)
            except robustkd.ExecutionError as error:
                assert "InterruptionError" in str(error)  # noqa: PT017
        assert not pending


def test_interrupted_fine_tuning_continues_bit_for_bit(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home / "kept")
    plans = [draft(tmp_path / name, dataset="folder:../photos", save_every="0s") for name in ("whole", "interrupted")]
    execute_all(plans[0])
    execute_all(plans[1], interrupted_after=(1, 2))  # after the epoch of the head, and within those of all layers
    whole, interrupted = map(read_weights, plans)
    assert whole.keys() >= {f"runs/{run}-seed0/{file}.pt" for run in ("hinton", "teacher") for file in ("model", "ema")}
    assert interrupted == whole


@pytest.mark.slow
def test_parallel_runs_train_the_same_networks(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home / "kept")
    plans = [
        draft(tmp_path / str(jobs), dataset="folder:../photos", seeds=2, jobs=jobs, threads=jobs) for jobs in (1, 2)
    ]
    for plan in plans:
        assert all(error is None for _, error in execute_runs(plan, list_runs(plan.options, False), lambda _: None))
    one, two = map(read_weights, plans)
    assert len(one) == 12
    assert one == two


# The estimator


def test_the_estimator_starts_from_weights_and_does_not_need_them_again(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in (home / "kept").iterdir():
        shutil.copy(file, tmp_path)
    files = sorted(str(file) for file in (home / "photos" / "train").glob("*/*.png"))
    labels = [Path(file).parent.name for file in files]
    names = ("teacher", "student", "batch", "epochs", "lr", "precision", "device")
    classifier = DistilledClassifier(
        **{name: OPTIONS[name] for name in names}, image_size=32, recipe_options={"accumulate": 2}, early_stopping=True
    )
    made = clone(classifier).fit(files, labels)
    assert made.image_shape_ == (34, 34, 3), "32 pixels are 0.95 of the side"
    torch.testing.assert_close(made.student_.mean.flatten(), torch.full((3,), 0.5))
    expected = made.predict_proba(files)
    assert np.ptp(expected, axis=0).max() > 1e-3
    for file in tmp_path.glob("*.pth"):
        file.unlink()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)).predict_proba(files), expected)
    made.save("mine.pt")
    net, card = checkpoint.load_usable_net(Path("mine.pt"))
    images = load_labelled_images(f"folder:{home}/photos/train", checkpoint.stored_shape(card), CLASSES).images
    found = predict_probabilities(net, images, tuple(card["shape"]), torch.device("cpu"))
    np.testing.assert_allclose(np.sort(found, axis=0), np.sort(expected, axis=0), atol=1e-6)


def test_the_estimator_resizes_arrays_on_the_device(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home / "kept")
    images, labels = np.random.default_rng(0).integers(0, 256, (12, 20, 24, 3), np.uint8), ["a", "b"] * 6
    made = DistilledClassifier(
        "baseline", student=OPTIONS["student"], epochs=2, image_size=32, precision="fp32", device="cpu"
    ).fit(images, labels)
    assert (made.student_.image_size, made.image_shape_) == (32, (20, 24, 3))
    assert made.predict_proba(images).shape == (12, 2)
