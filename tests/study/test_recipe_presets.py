"""Presets of recipes: which one each role has, what overrides it, and that studies from scratch are named as before."""

from dataclasses import fields
from typing import Any

import pytest

from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, Settings, build_recipe, list_runs
from robustkd.study.recipe_presets import OPTIMISERS, PRESETS, RECIPE_NAMES, describe_recipe, find_preset
from robustkd.training.recipe import Recipe

PRETRAINED = "timm:test_resnet(pretrained=true)"
SCRATCH = {"epochs": 30, "lr": 0.1, "schedule": "step", "milestones": "0.3,0.6,0.8", "factor": 0.2, "warmup": 0.0}
SCRATCH |= {"momentum": 0.9, "nesterov": True, "weight_decay": 5e-4}


def make_options(**given: Any) -> StudyOptions:
    return StudyOptions(**{"scenario": "clean", **given})


def make_settings(**given: Any) -> Settings:
    return Settings.of(make_options(**given), "cpu", False, (0.5,), (0.5,))


def recipes(settings: Settings) -> tuple[Recipe, Recipe]:
    """Return the recipes of teachers and students."""
    spec = MethodSpec.parse("baseline")
    return settings.recipe_of(Run("teacher", spec, 0)), settings.recipe_of(Run("student", spec, 0))


def test_the_presets_name_all_fields_of_a_recipe():
    names = {field.name for field in fields(Recipe)}
    assert {*RECIPE_NAMES} == names
    for preset, values in PRESETS.items():
        for optimiser in ("sgd", "adamw"):
            assert {*values} | {*OPTIMISERS[preset][optimiser]} == names


def test_from_scratch_a_recipe_is_the_default_one():
    assert recipes(make_settings()) == (Recipe(), Recipe())
    assert make_settings().teacher_recipe is None


def test_a_study_from_scratch_is_identified_by_the_options_of_earlier_versions():
    identity = make_options().identity()
    assert {name: identity[name] for name in SCRATCH} == SCRATCH
    assert not {*identity} & ({"recipe", "optimiser", "ema", "accumulate", "head_first", "clip_grad", "decay_all"})
    assert not [name for name in identity if name.startswith("teacher_") and name != "teacher_criterion"]
    explicit = make_options(recipe="scratch", **SCRATCH, optimiser="sgd", teacher_recipe="scratch", teacher_epochs=30)
    assert explicit.identity() == identity
    assert make_options(ema=0.9).identity() == {**identity, "ema": 0.9}


def test_a_teachers_own_options_are_part_of_the_identity():
    identity = make_options(teacher_epochs=5, teacher_lr=0.05).identity()
    assert {name: value for name, value in identity.items() if name not in make_options().identity()} == {
        "teacher_epochs": 5,
        "teacher_lr": 0.05,
    }


@pytest.mark.parametrize(
    ("given", "presets"),
    [
        ({}, ("scratch", "scratch")),
        ({"teacher": PRETRAINED}, ("finetune", "scratch")),
        ({"student": PRETRAINED}, ("scratch", "finetune")),
        ({"init": "model.pt"}, ("scratch", "finetune")),
        ({"recipe": "finetune"}, ("finetune", "finetune")),
        ({"recipe": "finetune", "teacher_recipe": "auto"}, ("scratch", "finetune")),
        ({"student": PRETRAINED, "recipe": "scratch"}, ("scratch", "scratch")),
        (
            {"teacher": "runs/7/model.pt", "student": PRETRAINED},
            ("finetune", "finetune"),
        ),  # not trained: as the student
        (
            {"teacher": "timm:test_resnet", "student": PRETRAINED, "teacher_recipe": "finetune"},
            ("finetune", "finetune"),
        ),
    ],
)
def test_auto_follows_from_whether_a_roles_network_carries_weights(given, presets):
    options = make_options(**given)
    assert (options.preset("teacher"), options.preset("student")) == presets


def test_options_override_the_preset():
    options = make_options(student=PRETRAINED, lr=0.5, decay_all=True, clip_grad=0, schedule="constant", nesterov=False)
    values = options.recipe_values("student")
    changed = {"lr": 0.5, "decay_all": True, "clip_grad": 0, "schedule": "constant", "nesterov": False}
    assert values == {**PRESETS["finetune"], **OPTIMISERS["finetune"]["adamw"], **changed}


def test_an_optimiser_brings_its_rate_and_decay():
    for preset in ("scratch", "finetune"):
        for optimiser in ("sgd", "adamw"):
            values = make_options(recipe=preset, optimiser=optimiser).recipe_values("student")
            assert {name: values[name] for name in ("lr", "weight_decay")} == OPTIMISERS[preset][optimiser]


@pytest.mark.parametrize(
    ("given", "teacher"),
    [
        ({"epochs": 7, "lr": 0.3}, {"epochs": 7, "lr": 0.3}),
        ({"epochs": 7, "lr": 0.3, "teacher_epochs": 9}, {"epochs": 9, "lr": 0.3}),
        (
            {"lr": 0.3, "momentum": 0.5, "teacher_optimiser": "adamw"},
            {"optimiser": "adamw", "lr": 1e-3, "momentum": 0.9},
        ),
        ({"lr": 0.3, "optimiser": "adamw", "teacher_optimiser": "sgd"}, {"optimiser": "sgd", "lr": 0.1}),
        ({"epochs": 50, "lr": 0.3, "teacher": PRETRAINED}, {"epochs": 10, "lr": 1e-3, "optimiser": "adamw"}),
        ({"epochs": 50, "teacher": PRETRAINED, "teacher_epochs": 3, "teacher_lr": 2e-4}, {"epochs": 3, "lr": 2e-4}),
        ({"accumulate": 4, "ema": 0.9, "teacher": PRETRAINED}, {"accumulate": 4, "ema": 0.9, "epochs": 10}),
    ],
)
def test_a_teacher_has_the_students_options_if_it_has_their_preset_and_its_own_ones(given, teacher):
    options = make_options(**given)
    values = options.recipe_values("teacher")
    assert {name: values[name] for name in teacher} == teacher
    own, _ = recipes(make_settings(**given))
    assert {name: getattr(own, name) for name in teacher} == teacher


@pytest.mark.parametrize(("epochs", "first"), [(1, 0), (2, 1), (10, 1)])
def test_a_preset_leaves_an_epoch_for_the_whole_network(epochs, first):
    assert make_options(recipe="finetune", epochs=epochs).recipe_values("student")["head_first"] == first


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"epochs": 3, "head_first": 3}, "--head-first 3: should be less than the epochs of the student, which are 3"),
        (
            {"epochs": 9, "head_first": 4, "teacher_epochs": 4},
            "--head-first 4: should be less than the epochs of the teacher, which are 4",
        ),
    ],
)
def test_values_that_contradict_each_other_are_refused(given, message):
    with pytest.raises(UsageError, match=message):
        make_settings(**given)


@pytest.mark.parametrize(
    ("given", "role"),
    [
        ({"methods": "baseline"}, "student 'wrn_10_1'"),
        ({"recipe": "finetune", "student": PRETRAINED, "methods": "hinton"}, "teacher 'wrn_16_1'"),
    ],
)
def test_frozen_batch_norm_needs_statistics(given, role):
    with pytest.raises(UsageError, match=f"--freeze-bn: the {role} starts from random weights"):
        list_runs(make_options(freeze_bn=True, **given), False)


@pytest.mark.parametrize(
    ("given", "has_teacher"),
    [
        ({"student": PRETRAINED, "methods": "hinton"}, False),  # the teacher has a recipe of its own
        ({"recipe": "finetune", "student": PRETRAINED, "methods": "baseline"}, False),  # no teacher is trained
        ({"recipe": "finetune", "student": PRETRAINED, "methods": "hinton"}, True),
        ({"init": "model.pt", "methods": "baseline"}, False),
    ],
)
def test_frozen_batch_norm_is_for_networks_with_weights(given, has_teacher):
    assert list_runs(make_options(freeze_bn=True, **given), has_teacher)
    assert build_recipe(make_options(freeze_bn=True, **given), "student").freeze_bn


@pytest.mark.parametrize(
    "given",
    [
        {"ema": 1.0},
        {"layer_decay": 0.0},
        {"backbone_lr": 2.0},
        {"accumulate": 0},
        {"head_first": -1},
        {"clip_grad": -1},
    ],
)
def test_values_out_of_bounds_are_refused(given):
    with pytest.raises(ValueError, match=next(iter(given))):
        make_options(**given)


def test_a_recipe_is_described_by_the_options_that_give_it():
    values = make_options(recipe="finetune").recipe_values("student")
    words = describe_recipe(values).split()
    assert words[words.index("--optimiser") + 1] == "adamw"
    assert "--no-decay-all" in words
    assert not {"--nesterov", "--milestones", "--factor", "--ema"} & {*words}


def test_what_is_no_network_has_no_preset():
    assert find_preset("models:/teacher/3") is None
    assert find_preset("wrn_16_2") == "scratch"
