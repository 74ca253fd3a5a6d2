"""Networks that the user gives as files: model.pt, and files of weights alone."""

from pathlib import Path

import pytest
import torch

from pipelines import planning
from robustkd import seeds
from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.study.construct import build_role_network
from robustkd.study.given_networks import load_first_weights, load_given_network
from robustkd.study.run_folder import load_source
from robustkd.training import checkpoint
from tests.study.toy_study import CLASSES, HINTON, PLAIN, write_study

TEACHER = {"teacher": "mine.pth", "teacher_net": "timm:test_resnet", "teacher_classes": "ignore"}
SIDE = 32


def external_network(word="timm:test_resnet", classes=3, seed=3):
    """Return a network of another library, for grey images."""
    return build_network(
        MODELS.parse(word), shape=(1, SIDE, SIDE), classes=classes, mean=[0.5], std=[0.5], seed=seed
    ).eval()


def save_plain(file, classes=3, word="timm:test_resnet"):
    net = external_network(word, classes)
    torch.save({"state_dict": {f"module.{name}": tensor for name, tensor in net.model.state_dict().items()}}, file)
    return net


def test_a_classifier_of_the_users_own_is_the_teacher_without_training(data: Path) -> None:
    theirs = save_plain("mine.pth")
    plan = write_study(data, **TEACHER, student="wrn_10_1", image_size=SIDE)
    assert [run.role for run in planning.list_runs(plan.options, True)].count("teacher") == 1
    net = load_given_network(plan, plan.teacher, load_source(plan.options), "teacher")
    images = torch.rand(2, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    net.image_size = None
    torch.testing.assert_close(net(images).logits, theirs(images).logits)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"teacher_net": None},
            "^--teacher mine.pth: this file holds weights, but not which network.* --teacher-net timm",
        ),
        (
            {"teacher_classes": "match"},
            "^--teacher mine.pth: this network has no class names.*--teacher-classes ignore",
        ),
        (
            {"teacher_net": "timm:test_vit"},
            "mine.pth: these weights are not those of a VisionTransformer: missing: cls_token",
        ),
        (
            {"teacher": "wrn_10_1"},
            "^--teacher-net timm:test_resnet: it is for a trained teacher, but --teacher wrn_10_1 is no",
        ),
        ({"teacher": "lost.pth"}, "^--teacher lost.pth: there is no such file"),
        (
            {"teacher": "other.pth"},
            "^--teacher other.pth: it has a head for 5 classes, but the data set has 3.*checkpoint=other",
        ),
        ({"teacher": "wide.pt"}, "^--teacher-net .*: --teacher wide.pt says itself which network it holds"),
    ],
)
def test_teachers_that_cannot_be_used(data: Path, changes: dict[str, str], message: str) -> None:
    save_plain("mine.pth")
    save_plain("other.pth", classes=5)
    save_model(Path("wide.pt"), ["a", "b"])
    with pytest.raises(UsageError, match=message):
        write_study(data, **{**TEACHER, "image_size": SIDE, **changes})


def save_model(file: Path, classes: list[str], word: str = "resnet8") -> torch.nn.Module:
    net = build_network(MODELS.parse(word), shape=(1, 8, 8), classes=len(classes), mean=[0.1], std=[0.3], seed=5)
    card = {"model": word, "shape": (1, 8, 8), "classes": classes, "mean": [0.1], "std": [0.3], "head": "linear"}
    checkpoint.save_net(file, net.state_dict(), card)
    return net


def test_students_start_from_weights_alone(data: Path) -> None:
    net = build_network(MODELS.parse("resnet8"), shape=(1, 8, 8), classes=3, mean=[0.1], std=[0.3], seed=5)
    own = {name: tensor for name, tensor in net.state_dict().items() if name not in ("mean", "std")}
    torch.save(own, "plain.pth")
    plan = write_study(data, init="plain.pth")
    source = load_source(plan.options)
    first = load_first_weights(plan, PLAIN, source)
    assert all(torch.equal(tensor, first.state_dict()[name]) for name, tensor in own.items())
    assert first.mean.flatten().tolist() == pytest.approx(plan.settings.mean), "the file does not say how it normalises"


def test_a_network_for_other_classes_gives_all_but_its_head(data: Path) -> None:
    theirs = save_model(Path("wide.pt"), ["a", "b", "c", "d", "e"])
    plan = write_study(data, init="wide.pt")
    source = load_source(plan.options)
    first = load_first_weights(plan, HINTON, source)
    assert first.replaced_head == 5
    assert torch.equal(next(first.parameters()), next(theirs.parameters()))
    assert first.mean.item() == pytest.approx(0.1)
    drawn = build_role_network(source, "student", plan.settings, seed=seeds.derive(HINTON.seed, "init", "student", 0))
    assert torch.equal(first.head.weight, drawn.head.weight), "the head is that which the seed draws"


def test_weights_of_another_network_are_refused_with_the_first_differences(data: Path) -> None:
    save_model(Path("other.pt"), list(CLASSES), "resnet14")
    with pytest.raises(
        UsageError, match=r"^--init: its weights are not those of a resnet8: unexpected: stages.0.1.conv1"
    ):
        write_study(data, init="other.pt")


def test_the_content_of_a_file_of_weights_decides_which_study_it_is(data: Path) -> None:
    word = "timm:test_resnet(checkpoint=mine.pth)"
    folders = []
    for seed in (1, 2, 1):
        torch.save(external_network(seed=seed).model.state_dict(), "mine.pth")
        folders.append(write_study(data, student=word, methods="baseline", image_size=SIDE).folder)
    assert folders[0] == folders[2] != folders[1]
