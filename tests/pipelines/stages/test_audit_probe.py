"""audit --probe: embeddings of a network that carries weights, linear classifiers, and nothing trained."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines import cli
from robustkd.training import engine
from tests.pipelines.toys import stripes

Audit = Callable[..., str]
PLUG = '''
import torch
from robustkd.models.preprocessing import Preprocessing
from robustkd.models.resnet import resnet

def build(channels: int, classes: int, *, pretrained: bool = False):
    """A network whose published weights are those that one seed draws."""
    if pretrained:
        torch.manual_seed(7)
    return resnet(channels, classes, depth=8)

build.preprocessing = Preprocessing((0.4,), (0.2,), image_size=16)
MODELS = {"published": build}
'''


@pytest.fixture
def audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Audit:
    """A function that audits the stripes with planted noise and returns the output, errors included."""
    monkeypatch.chdir(tmp_path)
    data = stripes(tmp_path / "toy.npz")
    Path("plug.py").write_text(PLUG, encoding="utf-8")

    def audited(*more: str, net: str = "published(pretrained=true)") -> str:
        options = ("--scenario", "noise0.2", "--plug", "plug.py", "--threads", "1", "--net", net)
        cli.main(["audit", f"npz:{data}", *options, *more])
        return " ".join(capsys.readouterr().out.split())

    return audited


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if a network is trained."""
    monkeypatch.setattr(engine, "fit", lambda *_: pytest.fail("a network was trained"))


@pytest.mark.usefixtures("no_training")
def test_network_with_weights_is_probed_by_default(audit: Audit) -> None:
    output = audit()
    (folder,) = Path("audits").iterdir()
    assert "each image is embedded once by published(pretrained=true), which is not trained" in output
    assert "with C = " in output
    assert (folder / "probe.npz").is_file()
    assert not list(folder.glob("fold-*"))
    card = json.loads((folder / "audit.json").read_text(encoding="utf-8"))
    assert card["figures"]["train"]["agreed"] > 0.5
    assert "(reused)" in audit("--probe")
    assert len(list(Path("audits").iterdir())) == 1
    audit("--seed", "1")
    assert len(list(Path("audits").iterdir())) == 2


@pytest.mark.usefixtures("no_training")
def test_next_command_reads_the_images_in_the_same_size(audit: Audit) -> None:
    output = audit("--prune", "--force")
    assert output.endswith("/pruned.csv)' --batch 39 --image-size 16 --crop-share 1.0")


@pytest.mark.usefixtures("no_training")
def test_more_epochs_are_no_advice_for_a_probe(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("robustkd.label_audit.reliability.MIN_ACCURACY", 1.1)
    assert "a stronger --net, a larger --image-size or your own --probabilities may give" in audit()


def test_no_probe_trains(audit: Audit) -> None:
    output = audit("--no-probe", "--epochs", "1", "--folds", "2")
    assert "one network (published(pretrained=true), 1 epochs) is trained on the others" in output


@pytest.mark.parametrize(
    ("more", "net", "message"),
    [
        (["--probe"], "resnet8", "--probe: net 'resnet8' starts from random weights.* as in --net 'timm:"),
        (
            ["--epochs", "3"],
            "published(pretrained=true)",
            "--epochs is of networks .* leave --epochs out, or add --no-probe",
        ),
        (["--probe", "--probabilities", "mine.npy"], "resnet8", "--probe and --probabilities .* give one of them"),
    ],
)
def test_contradictions_are_refused(
    audit: Audit, capsys: pytest.CaptureFixture[str], more: list[str], net: str, message: str
) -> None:
    with pytest.raises(SystemExit) as exit_:
        audit(*more, net=net)
    assert exit_.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not Path("audits").exists()
