"""Checkpoint files: round trips, files of other origin, and the serving model."""

from pathlib import Path
from typing import Any

import pytest
import torch

from robustkd.errors import UsageError
from robustkd.models.net import Frozen
from robustkd.training.checkpoint import ServingModel, load_checkpoint, load_net, save_checkpoint, save_net
from tests.helpers import CLASSES, SHAPE, make_network, states_equal

CARD = {
    "model": "wrn_10_1",
    "shape": list(SHAPE),
    "classes": list(CLASSES),
    "mean": [0.3],
    "std": [0.25],
    "head": "linear",
}


def test_a_checkpoint_round_trips_and_is_replaced(tmp_path: Path):
    path = tmp_path / "unfinished.pt"
    for number in (1, 2):
        content: dict[str, Any] = {"weights": {"a": torch.full((2,), float(number))}, "epoch": number, "random": None}
        save_checkpoint(path, content)
        loaded = load_checkpoint(path)
        assert loaded.keys() == content.keys()
        assert torch.equal(loaded["weights"]["a"], content["weights"]["a"])
        assert (loaded["epoch"], loaded["random"]) == (number, None)
    assert list(tmp_path.iterdir()) == [path]


def test_other_files_are_refused(tmp_path: Path):
    with pytest.raises(UsageError, match=r"gone\.pt: there is no such file"):
        load_checkpoint(tmp_path / "gone.pt")
    (tmp_path / "text.pt").write_text("text")
    with pytest.raises(UsageError, match=r"text\.pt: this file was not saved by robustkd"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save({"code": Path.cwd}, tmp_path / "code.pt")
    with pytest.raises(UsageError, match=r"code\.pt: this file was not saved by robustkd"):
        load_checkpoint(tmp_path / "code.pt")
    save_checkpoint(tmp_path / "run.pt", {"epoch": 1})
    with pytest.raises(UsageError, match=r"run\.pt: this file contains no net"):
        load_net(tmp_path / "run.pt")


@pytest.mark.parametrize("bf16", [False, True])
def test_a_network_is_rebuilt_from_its_file(tmp_path: Path, bf16: bool):
    net = make_network("wrn_10_1", seed=5)
    save_net(tmp_path / "model.pt", net.state_dict(), CARD)
    loaded, card = load_net(tmp_path / "model.pt", bf16)
    assert card == CARD
    assert (loaded.training, loaded.bf16) == (False, bf16)
    assert states_equal(loaded.state_dict(), net.state_dict())
    assert Frozen(loaded).digest == Frozen(net).digest


def test_the_serving_model_maps_bytes_to_probabilities():
    net = make_network().eval()
    channels, height, width = SHAPE
    images = torch.randint(0, 256, (4, height, width, channels), dtype=torch.uint8)
    probabilities = ServingModel(net, (1, 8, 8)).eval()(images)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(4))
    expected = net(images.permute(0, 3, 1, 2) / 255).logits.softmax(dim=1)
    torch.testing.assert_close(probabilities, expected)


def test_a_network_of_a_plug_is_named_when_the_plug_is_missing(tmp_path):
    save_net(tmp_path / "model.pt", make_network().state_dict(), {**CARD, "model": "mine"})
    with pytest.raises(UsageError, match=r"model\.pt: it holds a 'mine', which is no known network; .* --plug$"):
        load_net(tmp_path / "model.pt")
