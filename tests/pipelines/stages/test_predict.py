"""The predict command: class probabilities as CSV, and the accuracy where labels are given."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipelines import cli
from pipelines.cli_options import PredictOptions
from pipelines.stages import predict
from robustkd.errors import UsageError
from robustkd.training import checkpoint
from tests.pipelines.exports import save_untrained
from tests.pipelines.toys import find_study, study_arguments


def test_a_folder_is_classified_into_a_csv(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="baseline", epochs="6", scenario="clean"))
    content = np.load(data)
    Path("new").mkdir()
    for number in range(6):
        Image.fromarray(content["X"][number]).save(f"new/{number}.png")
    model = str(find_study() / "runs" / "baseline-seed0" / "model.pt")
    capsys.readouterr()
    cli.main(["predict", model, "folder:new", "--to", "answers.csv"])
    answers = pd.read_csv("answers.csv")
    assert answers.columns.tolist() == ["file", "predicted", "probability", "p(rows)", "p(columns)", "p(checks)"]
    assert answers["predicted"].tolist() == ["rows", "columns", "checks"] * 2
    assert answers[["p(rows)", "p(columns)", "p(checks)"]].sum(axis=1).to_numpy() == pytest.approx(np.ones(6), abs=1e-3)
    with pytest.raises(SystemExit):
        cli.main(["predict", model, "folder:new", "--to", "answers.csv"])
    assert "exists already" in capsys.readouterr().err


def test_probabilities_do_not_depend_on_the_batch_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, _ = checkpoint.load_net(save_untrained(tmp_path / "model.pt"))
    pixels = np.random.default_rng(0).integers(0, 256, (7, 1, 8, 8), dtype=np.uint8)
    whole = predict.predict_probabilities(net, pixels, (1, 8, 8), torch.device("cpu"))
    monkeypatch.setattr(predict, "evaluation_batch", lambda shape: 3)
    torch.testing.assert_close(predict.predict_probabilities(net, pixels, (1, 8, 8), torch.device("cpu")), whole)
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(7))
    assert whole.std(dim=0).max() > 0.01, "constant predictions would prove nothing"


def predict_with(model: Path, images: str, **options: Any) -> None:
    predict.main(str(model), PredictOptions(dataset=images, device="cpu", **options))


def test_predictions_are_printed_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_untrained(tmp_path / "model.pt")
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "black.png")
    for images in (
        f"folder:{tmp_path / 'images'}",
        f"folder:{tmp_path / 'images/black.png'}",
        f"{tmp_path / 'images/black.png'}",
    ):
        predict_with(model, images)
        out, err = capsys.readouterr()
        header, line = out.splitlines()
        assert header == 'file,predicted,probability,"p(süß, sauer)",p(a|b <script>),p(100 %)'
        assert line.startswith("black.png,")
        assert err == ""


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """An untrained network, and the images that it classifies as each of its classes, in class folders and an npz file."""
    net, card = checkpoint.load_net(save_untrained(tmp_path / "model.pt"))
    pixels = np.random.default_rng(0).integers(0, 256, (60, 1, 8, 8), dtype=np.uint8)
    predicted = predict.predict_probabilities(net, pixels, (1, 8, 8), torch.device("cpu")).argmax(dim=1).numpy()
    names = np.array(card["classes"])[predicted]
    names[:3] = card["classes"][1]  # wrong labels, unless the network predicts this class
    np.savez(tmp_path / "a.npz", x_test=pixels[:, 0], y_test=names)
    np.savez(tmp_path / "b.npz", images=pixels[:, 0])
    np.savez(tmp_path / "c.npz", X=pixels[:30, 0], y=names[:30], X_test=pixels[30:, 0], y_test=names[30:])
    lines = ["file_name,class"]
    for number, name in enumerate(names):
        Image.fromarray(pixels[number, 0]).save(tmp_path / f"{number}.png")
        lines.append(f'{number},"{name}"')
    lines[-1], lines[-2] = "59,wolf", "58,"
    (tmp_path / "t.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "u.csv").write_text("\n".join(line.partition(",")[0] for line in lines), encoding="utf-8")
    expected = np.mean(names == np.array(card["classes"])[predicted])
    (tmp_path / "accuracy").write_text(f"{100 * expected:.1f} % of 60 images")
    return tmp_path


def test_labels_are_evaluated_overall_and_per_class(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict_with(labelled / "model.pt", f"npz:{labelled / 'a.npz'}")
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    assert table.columns[:3].tolist() == ["file", "label", "predicted"]
    accuracy = (table["label"] == table["predicted"]).mean()
    assert f"accuracy {100 * accuracy:.1f} % of 60 images" in err
    assert f"accuracy {(labelled / 'accuracy').read_text()}" in err
    assert "read x_test as X_test, y_test" not in err
    assert "read x_test as X_test" in err
    for name, members in table.groupby("label"):
        share = 100 * (members["predicted"] == name).mean()
        assert re.search(rf"{re.escape(str(name))} +│ +{len(members)} │ +{share:.1f}", err)


def test_parts_are_evaluated_apart(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict_with(labelled / "model.pt", f"npz:{labelled / 'c.npz'}", to=labelled / "answers.csv")
    out, err = capsys.readouterr()
    table = pd.read_csv(labelled / "answers.csv")
    right = table["label"] == table["predicted"]
    assert f"test: accuracy {100 * right[30:].mean():.1f} % of 30 images" in out
    assert f"train: accuracy {100 * right[:30].mean():.1f} % of 30 images" in out
    assert "accuracy per class, test" in out
    assert err == ""


def test_a_table_may_lack_labels(labelled: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict_with(labelled / "model.pt", f"csv:{labelled / 't.csv'}")
    out, err = capsys.readouterr()
    table = pd.read_csv(io.StringIO(out))
    assert table["file"].tolist() == [f"{number}.png" for number in range(60)]
    assert "the labels of 1 of 60 images (wolf) are not classes of the network (" in err
    assert "images without a label, which are not evaluated: 1" in err
    assert "of 58 images" in err
    for images in (f"csv:{labelled / 'u.csv'}", f"npz:{labelled / 'b.npz'}"):
        predict_with(labelled / "model.pt", images)
        out, err = capsys.readouterr()
        assert pd.read_csv(io.StringIO(out))["predicted"].tolist() == table["predicted"].tolist()
        assert "accuracy" not in err
        assert "label" not in out


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("images", "no data set is called 'images'"),
        ("npz:a.npz", "there is no a.npz"),
        ("folder:", "no data set is called 'folder:'"),
        ("folder:lost", "there is no lost"),
    ],
)
def test_missing_images_are_refused(tmp_path: Path, images: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        predict_with(save_untrained(tmp_path / "model.pt"), images)


def test_a_missing_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lost\.pt: there is no such file"):
        predict_with(tmp_path / "lost.pt", "folder:x")


def test_a_network_of_oblong_images_takes_arrays_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_untrained(tmp_path / "model.pt", shape=(1, 8, 12))
    with pytest.raises(UsageError, match="the network takes images of 8x12, but images of files are square"):
        predict_with(model, "folder:x")
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 8, 12), np.uint8))
    predict_with(model, f"npz:{tmp_path / 'a.npz'}")
    assert len(capsys.readouterr().out.splitlines()) == 3
    np.savez(tmp_path / "a.npz", X=np.zeros((2, 6, 6, 3), np.uint8))
    predict_with(model, f"npz:{tmp_path / 'a.npz'}")
    assert "images of (3, 6, 6) are converted to (1, 8, 12)" in capsys.readouterr().err
