"""What `auto` stands for: the sizes that belong to the weights of a study's networks."""

import pytest

from robustkd.models import MODELS
from robustkd.models.preprocessing import Preprocessing
from robustkd.study.image_sizes import resolve_net_size, resolve_study_sizes
from robustkd.study.options import StudyOptions


def builder(size: int, share: float):
    def build(channels: int, classes: int, *, pretrained: bool = True) -> None:
        """A network whose weights are never built here."""

    build.preprocessing = Preprocessing((0.5,) * 3, (0.2,) * 3, size, share)
    return build


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    """Networks that come with weights of 224 and of 288 pixels."""
    monkeypatch.setattr(MODELS, "_own", {**MODELS._own})
    MODELS.add("small", builder(224, 0.875))
    MODELS.add("large", builder(288, 0.95))


def options(**values) -> StudyOptions:
    return StudyOptions(**{"scenario": "clean", "dataset": "folder:photos", **values})


def resolve(teacher_card=None, init_card=None, **values) -> tuple[object, object, object, int]:
    """Return image size, teacher's image size and crop share, and the size that images are loaded with."""
    found = resolve_study_sizes(options(**values), teacher_card, init_card)
    return found.image_size, found.teacher_image_size, found.crop_share, found.read_options()["image_size"]


CARD = {"shape": (3, 96, 96), "mean": (0.5,), "std": (0.2,), "crop_share": 0.8}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, ("auto", None, "auto", 32)),
        ({"image_size": 64}, (64, None, "auto", 64)),
        ({"student": "small"}, (224, None, 0.875, 224)),
        ({"teacher": "small"}, (224, None, 0.875, 224)),
        ({"student": "small", "teacher": "large"}, (224, 288, 0.875, 288)),
        ({"student": "large", "teacher": "small"}, (288, 224, 0.95, 288)),
        ({"student": "small", "image_size": 96}, (96, None, 0.875, 96)),
        ({"teacher": "large", "image_size": 96, "teacher_image_size": 288}, (96, 288, 0.95, 288)),
        ({"teacher": "large", "teacher_image_size": 128}, (128, 128, 0.95, 128)),
        ({"student": "small", "crop_share": 1.0}, (224, None, 1.0, 224)),
        ({"student": "small(pretrained=false)"}, ("auto", None, "auto", 32)),
        ({"teacher_image_size": 48}, ("auto", 48, "auto", 48)),
        ({"teacher_card": CARD, "teacher": "given.pt"}, (96, None, 0.8, 96)),
        ({"teacher_card": CARD, "teacher": "given.pt", "image_size": 32}, (32, 96, 0.8, 96)),
        (
            {"teacher_card": {**CARD, "image_size": 64, "interpolation": "bilinear"}, "teacher": "t.pt"},
            (64, None, 0.8, 64),
        ),
        ({"init_card": CARD}, (96, None, 0.8, 96)),
        ({"teacher_card": CARD, "teacher": "given.pt", "dataset": "digits"}, ("auto", None, "auto", 32)),
    ],
)
def test_sizes_follow_from_weights_unless_they_are_given(given, expected):
    assert resolve(**given) == expected


def test_resolved_options_resolve_to_themselves():
    found = resolve_study_sizes(options(student="small", teacher="large"), None, None)
    assert resolve_study_sizes(found, None, None) == found


def test_a_command_with_one_network_takes_its_size():
    found = resolve_net_size(options(), "large")
    assert (found.image_size, found.crop_share) == (288, 0.95)
    assert resolve_net_size(options(), "wrn_10_1") == options()


def test_studies_of_earlier_versions_keep_their_identity():
    assert options().identity() == options(image_size=32, crop_share=1.0, augment="shift").identity()
    assert options().identity()["augment"] is True
    assert options(augment=False).identity()["augment"] is False
    assert not {"crop_share", "teacher_image_size", "teacher_augment"} & options().identity().keys()


def test_augmentation_follows_from_the_recipe_of_each_role():
    given = options(teacher="small")
    assert (given.augmentation("student"), given.augmentation("teacher")) == ("shift", "photo")
    assert given.identity()["teacher_augment"] == "photo"
    assert options(teacher="small", augment="none").augmentation("teacher") == "none"
