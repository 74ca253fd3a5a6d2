"""What is printed about the networks of a study, and which words are refused before data are read."""

import pytest
import torch

from pipelines import cli, networks
from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from tests.pipelines.toys import study_arguments

GREY = (1, 32, 32)


def save_weights(file, classes):
    net = build_network(MODELS.parse("timm:test_resnet"), shape=GREY, classes=classes, mean=[0.5], std=[0.5], seed=3)
    torch.save(net.model.state_dict(), file)
    return str(file)


@pytest.mark.parametrize(
    ("classes", "line"),
    [
        (7, "its head for 7 classes is replaced by one for 3 classes, drawn from the seed"),
        (3, "its head for 3 classes is kept, with its outputs in the order of the data set's classes"),
    ],
)
def test_the_head_of_given_weights_and_repeated_channels_are_reported(data, capsys, classes, line):
    word = f"timm:test_resnet(checkpoint={save_weights(data.parent / 'mine.pth', classes)})"
    cli.main(study_arguments("prepare", data, student=word, methods="baseline", image_size="32"))
    output = " ".join(capsys.readouterr().out.split())
    assert f"--student {word}: {line}" in output
    assert f"--student {word}: grey images are repeated for its 3 channels" in output


def test_a_given_teachers_classes_are_paired_by_position(data, capsys):
    options = {"teacher": save_weights(data.parent / "mine.pth", 3), "teacher_net": "timm:test_resnet"}
    cli.main(study_arguments("prepare", data, **options, teacher_classes="ignore", methods="hinton", image_size="32"))
    output = " ".join(capsys.readouterr().out.split())
    assert "paired with those of the data set by position: 0 as rows, 1 as columns, 2 as checks" in output


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("timm:rsnet18", r"did you mean 'resnet18'\?"),
        ("torchvision:rsnet18", r"did you mean 'resnet18'\?"),
        ("timm:test_resnet(weights=DEFAULT)", "has no parameter 'weights'"),
        ("wrn_16_2(pretrained=true)", "has no parameter 'pretrained'"),
    ],
)
def test_networks_are_checked_before_data_are_read(word, message):
    with pytest.raises(UsageError, match=message):
        networks.check_network(word)


def test_files_of_teachers(tmp_path):
    (tmp_path / "mine.safetensors").touch()
    assert networks.find_teacher(str(tmp_path / "mine.safetensors")) == tmp_path / "mine.safetensors"
    assert networks.find_teacher("wrn_16_2") is None
    with pytest.raises(UsageError, match=r"lost\.ckpt: there is no such file"):
        networks.find_teacher(str(tmp_path / "lost.ckpt"))
