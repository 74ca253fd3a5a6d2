"""Files of weights: what is read from them, and what is refused."""

import argparse
import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from robustkd.errors import UsageError
from robustkd.models.weight_files import load_weights, read_state_dict


def classifier(classes=3, width=4, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, width, 3), norm=nn.BatchNorm2d(width), head=nn.Linear(width, classes))
    )


def prefixed(state, *prefixes):
    return {f"{prefix}{name}": tensor for prefix in prefixes for name, tensor in state.items()}


STATE = classifier(seed=1).state_dict()
OTHER = classifier(seed=2).state_dict()
CHECKPOINTS = {
    "plain": STATE,
    "ordered": OrderedDict(STATE),
    "wrapped": {"state_dict": STATE, "epoch": 3, "optimizer": {"lr": 0.1}},
    "model": {"model": STATE},
    "model_state_dict": {"model_state_dict": STATE},
    "nested": {"model": {"state_dict": STATE}},
    "ema": {"state_dict": OTHER, "state_dict_ema": STATE, "args": argparse.Namespace(lr=0.1)},
    "parallel": prefixed(STATE, "module."),
    "compiled": {"state_dict": prefixed(STATE, "module._orig_mod.")},
    "averaged": {**prefixed(STATE, "module."), "n_averaged": torch.tensor(5)},
    "lightning": {
        "state_dict": {**prefixed(STATE, "model."), "criterion.weight": torch.ones(3)},
        "hyper_parameters": {},
    },
    "student": {**prefixed(OTHER, "teacher."), **prefixed(STATE, "student.")},
    "model.pt": {"card": "{}", "weights": {**prefixed(STATE, "model."), "mean": torch.ones(3), "std": torch.ones(3)}},
    "numbers": {"state_dict": STATE, "best": np.float64(0.5)},
    "without_batch_counts": {name: tensor for name, tensor in STATE.items() if "num_batches" not in name},
}


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_weights_are_found_in_every_usual_checkpoint(kind, tmp_path):
    torch.save(CHECKPOINTS[kind], tmp_path / "file.pth")
    net = classifier()
    assert load_weights(net, tmp_path / "file.pth") is None
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, STATE[name]), name


def test_safetensors_and_the_old_format_of_torch(tmp_path):
    save_file(STATE, tmp_path / "a.safetensors")
    save_file(STATE, tmp_path / "named_otherwise.bin")
    torch.save(STATE, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    for file in tmp_path.iterdir():
        assert {name: tensor.tolist() for name, tensor in read_state_dict(file).items()} == {
            name: tensor.tolist() for name, tensor in STATE.items()
        }


def test_objects_of_training_programs_are_passed_over_without_their_packages(tmp_path, monkeypatch):
    package = types.ModuleType("lightning")
    package.AttributeDict = type("AttributeDict", (dict,), {"__module__": "lightning"})
    settings = package.AttributeDict(lr=0.1)
    settings.note = "an attribute"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "lightning", package)
        torch.save({"state_dict": STATE, "hyper_parameters": settings}, tmp_path / "last.ckpt")
    assert "lightning" not in sys.modules
    assert read_state_dict(tmp_path / "last.ckpt").keys() == STATE.keys()


def test_the_head_is_replaced_for_other_classes_only(tmp_path):
    torch.save(STATE, tmp_path / "file.pth")
    net = classifier(classes=5)
    head = {name: tensor.clone() for name, tensor in net.head.state_dict().items()}
    assert load_weights(net, tmp_path / "file.pth") == 3
    assert torch.equal(net.conv.weight, STATE["conv.weight"])
    assert all(torch.equal(tensor, head[name]) for name, tensor in net.head.state_dict().items())
    torch.save({name: tensor for name, tensor in STATE.items() if "head" not in name}, tmp_path / "backbone.pth")
    assert load_weights(net, tmp_path / "backbone.pth") == 0


class RunsCode:
    def __reduce__(self):
        return os.mkdir, ("created_by_a_pickle",)


REFUSED = {
    "another_width": (
        classifier(width=6).state_dict(),
        r"not those of a Sequential: of another shape: conv.weight is \(6, 3",
    ),
    "fewer": ({"conv.weight": STATE["conv.weight"]}, "missing: conv.bias, norm.weight, norm.bias and 4 more$"),
    "more": ({**STATE, "extra.weight": torch.ones(1)}, "unexpected: extra.weight$"),
    "not_finite": (
        {**STATE, "head.bias": torch.tensor([1.0, float("nan"), 0])},
        "the weights 'head.bias' .* not finite",
    ),
    "no_weights": (
        {"epoch": 3, "lr": 0.1},
        "holds no weights, but: epoch, lr; they are looked for under state_dict_ema",
    ),
    "a_list": ([1, 2], "holds a list, not a dictionary"),
    "runs_code": (
        {"state_dict": RunsCode()},
        r"holds Python objects \(\w+.mkdir\) that could run code, so it is not loaded",
    ),
    "a_module": (classifier(), r"holds Python objects \(torch.nn.* that could run code.*save the weights alone"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_other_content_is_refused(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    content, message = REFUSED[kind]
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(UsageError, match=rf"^file.pth: .*{message}"):
        load_weights(classifier(), (tmp_path / "file.pth").relative_to(tmp_path))
    assert not (tmp_path / "created_by_a_pickle").exists()


def test_damaged_and_foreign_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(STATE, tmp_path / "whole.pth")
    save_file(STATE, tmp_path / "whole.safetensors")
    for name in ("whole.pth", "whole.safetensors"):
        content = (tmp_path / name).read_bytes()
        (tmp_path / f"half_{name}").write_bytes(content[: len(content) // 2])
    content = bytearray((tmp_path / "whole.pth").read_bytes())
    content[content.index(STATE["conv.weight"].numpy().tobytes())] ^= 1
    (tmp_path / "changed.pth").write_bytes(content)
    (tmp_path / "text.pth").write_text("epoch,accuracy")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(RunsCode()))
    for name in ("half_whole.pth", "half_whole.safetensors", "changed.pth", "text.pth", "empty.pth", "plain.pkl"):
        with pytest.raises(UsageError, match=r"this file is damaged"):
            read_state_dict(tmp_path / name)
    assert not (tmp_path / "created_by_a_pickle").exists()
    with pytest.raises(UsageError, match="there is no such file"):
        read_state_dict(tmp_path / "nothing.pth")
    with pytest.raises(UsageError, match="this is a folder"):
        read_state_dict(tmp_path)
