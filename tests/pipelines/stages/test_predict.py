"""The predict command: class probabilities of the images of a folder, as CSV."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pipelines import cli
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
    whole = predict.predict_probabilities(net, pixels, torch.device("cpu"))
    monkeypatch.setattr(predict, "BATCH", 3)
    torch.testing.assert_close(predict.predict_probabilities(net, pixels, torch.device("cpu")), whole)
    torch.testing.assert_close(whole.sum(dim=1), torch.ones(7))
    assert whole.std(dim=0).max() > 0.01, "constant predictions would prove nothing"


def test_predictions_are_printed_without_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_untrained(tmp_path / "model.pt")
    (tmp_path / "images").mkdir()
    Image.new("L", (8, 8)).save(tmp_path / "images" / "black.png")
    predict.main(str(model), f"folder:{tmp_path / 'images'}", None, "cpu", False)
    header, line = capsys.readouterr().out.splitlines()
    assert header == 'file,predicted,probability,"p(süß, sauer)",p(a|b <script>),p(100 %)'
    assert line.startswith("black.png,")


@pytest.mark.parametrize("images", ["images", "npz:a.npz", "folder:"])
def test_images_that_are_not_in_a_folder_are_refused(images: str) -> None:
    with pytest.raises(UsageError, match=f"'{images}': images are given as folder:PATH"):
        predict.main("model.pt", images, None, "cpu", False)


def test_a_missing_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"lost\.pt: there is no such file"):
        predict.main(str(tmp_path / "lost.pt"), "folder:x", None, "cpu", False)


def test_a_network_of_oblong_images_is_refused(tmp_path: Path) -> None:
    model = save_untrained(tmp_path / "model.pt", shape=(1, 8, 12))
    with pytest.raises(UsageError, match="this network takes images of 8x12, but images of folders are square"):
        predict.main(str(model), "folder:x", None, "cpu", False)


def test_deep_images_are_scaled_as_in_training(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Both kinds of stripes differ in the lower bits of a 16-bit file only."""
    random, stripes = np.random.default_rng(0), np.indices((8, 8)) % 2
    for kind, pattern in zip(("columns", "rows"), stripes[::-1], strict=True):
        Path("deep", kind).mkdir(parents=True)
        for number in range(24):
            values = (200 * pattern + random.integers(0, 50, (8, 8)) + 1).astype(np.uint16)
            Image.fromarray(values).save(f"deep/{kind}/{number}.png")
    options = {"methods": "baseline", "epochs": "6", "scenario": "clean", "image_size": "8", "dataset": "folder:deep"}
    cli.main(study_arguments("run", data, **options))
    assert "folder:deep: images of more than 8 bits: their values from 0 to 255 are scaled to 8 bits" in (
        capsys.readouterr().out
    )
    model = str(find_study() / "runs" / "baseline-seed0" / "model.pt")
    cli.main(["predict", model, "folder:deep/rows", "--to", "rows.csv"])
    assert (pd.read_csv("rows.csv")["predicted"] == "rows").all()
    Path("dark").mkdir()
    Image.fromarray(np.ones((8, 8), np.uint16)).save("dark/0.png")
    cli.main(["predict", model, "folder:dark", "--to", "dark.csv"])
    assert capsys.readouterr().err == ""


def test_deep_images_for_a_network_of_8_bits_are_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = save_untrained(tmp_path / "model.pt")
    (tmp_path / "images").mkdir()
    Image.fromarray(np.full((8, 8), 4000, np.uint16)).save(tmp_path / "images" / "0.png")
    predict.main(str(model), f"folder:{tmp_path / 'images'}", None, "cpu", False)
    assert (
        "images of more than 8 bits, but the network was trained on images of 8 bits: their values from 0 to 4095"
        in (capsys.readouterr().err)
    )
