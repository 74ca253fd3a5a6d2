"""Presets of the options of a recipe, for networks with random weights and for those that come with weights.

`scratch` is for networks of a few million weights and small images: SGD with Nesterov momentum and a rate that falls in steps,
as wide residual networks are trained (Zagoruyko, Komodakis, arXiv 1605.07146), in fewer epochs.

`finetune` is for weights of ImageNet and a few thousand photographs, some with wrong labels. Few epochs, so that these are not
memorised. AdamW at 0.001, decay 0.05, a cosine and a warm-up as in the fine-tuning of MAE (He et al., arXiv 2111.06377), and
gradients of norm 1 as in that of vision transformers (Steiner et al., arXiv 2106.10270). First an epoch for the new head, then
a smaller rate below it, as in fastai's `fine_tune` and Keras' guide to transfer learning. docs/recipes.md says what was tried.

torch is not imported.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from robustkd.errors import UsageError
from robustkd.models import MODELS
from robustkd.models.weight_sources import carries_weights

Role = Literal["teacher", "student"]
ROLES: tuple[Role, ...] = get_args(Role)
Preset = Literal["scratch", "finetune"]

PRESETS: Mapping[Preset, Mapping[str, Any]] = {
    "scratch": {
        "epochs": 30,
        "optimiser": "sgd",
        "schedule": "step",
        "milestones": "0.3,0.6,0.8",
        "factor": 0.2,
        "warmup": 0.0,
        "momentum": 0.9,
        "nesterov": True,
        "decay_all": True,
        "backbone_lr": 1.0,
        "layer_decay": 1.0,
        "head_first": 0,
        "freeze_bn": False,
        "clip_grad": 0.0,
        "accumulate": 1,
        "ema": None,
    },
    "finetune": {
        "epochs": 10,
        "optimiser": "adamw",
        "schedule": "cosine",
        "milestones": "0.3,0.6,0.8",
        "factor": 0.2,
        "warmup": 0.1,
        "momentum": 0.9,
        "nesterov": True,
        "decay_all": False,
        "backbone_lr": 0.3,
        "layer_decay": 1.0,
        "head_first": 1,
        "freeze_bn": False,
        "clip_grad": 1.0,
        "accumulate": 1,
        "ema": None,
    },
}
# Of each optimiser, which another one could not use.
OPTIMISERS: Mapping[Preset, Mapping[str, Mapping[str, float]]] = {
    "scratch": {"sgd": {"lr": 0.1, "weight_decay": 5e-4}, "adamw": {"lr": 1e-3, "weight_decay": 0.05}},
    "finetune": {"sgd": {"lr": 0.01, "weight_decay": 1e-4}, "adamw": {"lr": 1e-3, "weight_decay": 0.05}},
}
AUGMENTATION: Mapping[Preset, str] = {"scratch": "shift", "finetune": "photo"}  # of the training images
RECIPE_NAMES = (*PRESETS["scratch"], *OPTIMISERS["scratch"]["sgd"])  # all options that a recipe consists of
TEACHER_NAMES = ("epochs", "lr", "optimiser")  # those that a teacher has of its own
OF_OPTIMISER = ("lr", "weight_decay", "momentum", "nesterov")


def resolve_recipe(preset: Preset, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a preset with those that were given, which are not None, in their place.

    >>> resolve_recipe("scratch", {"optimiser": "adamw", "lr": None})["lr"]
    0.001
    """
    chosen = {name: value for name, value in given.items() if value is not None}
    optimiser = chosen.get("optimiser", PRESETS[preset]["optimiser"])
    values = {**PRESETS[preset], **OPTIMISERS[preset][optimiser], **chosen}
    if "head_first" not in chosen:  # a few epochs may be too few for the preset's
        values["head_first"] = min(values["head_first"], values["epochs"] - 1)
    return values


def resolve_teacher_recipe(
    preset: Preset, own: Mapping[str, Any], given: Mapping[str, Any], student: Preset
) -> dict[str, Any]:
    """Return the values of a teacher's recipe.

    The options that were given for students also apply to a teacher of the same preset; a rate or a decay only if its optimiser
    is the same. `accumulate` and `ema` apply to every teacher.

    Args:
        preset: of the teacher.
        own: the teacher's own options, None where not given.
        given: the students' options, None where not given.
        student: the students' preset.

    >>> resolve_teacher_recipe("finetune", {"epochs": 3}, {"epochs": 50, "lr": 0.5}, "scratch")["epochs"]
    3
    >>> resolve_teacher_recipe("scratch", {"optimiser": "adamw"}, {"epochs": 50, "lr": 0.5}, "scratch")["lr"]
    0.001
    """
    shared = dict(given) if preset == student else {name: given.get(name) for name in ("accumulate", "ema")}
    mine = {name: value for name, value in own.items() if value is not None}
    optimisers = [resolve_recipe(preset, {**shared, **change})["optimiser"] for change in ({}, mine)]
    if len({*optimisers}) > 1:
        shared = {name: value for name, value in shared.items() if name not in OF_OPTIMISER}
    return resolve_recipe(preset, {**shared, **mine})


def find_preset(net: str) -> Preset | None:
    """Return the preset of a network, None for what is no name of one: a trained teacher, which is not trained again."""
    try:
        spec = MODELS.parse(net)
    except UsageError:
        return None
    return "finetune" if carries_weights(spec) else "scratch"


def describe_recipe(values: Mapping[str, Any]) -> str:
    """Return the values of a recipe as options, without those that have no effect with the others.

    >>> describe_recipe({"epochs": 10, "schedule": "cosine", "factor": 0.2, "decay_all": False, "ema": None, "lr": 0.1})
    '--epochs 10 --schedule cosine --no-decay-all --lr 0.1'
    """
    unused = {"milestones", "factor"} if values.get("schedule") != "step" else set()
    unused |= {"nesterov"} if values.get("optimiser") != "sgd" else set()
    words = []
    for name, value in values.items():
        if name in unused:
            continue
        option = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value is not None:
            words.append(f"--{option} {value:g}" if isinstance(value, float) else f"--{option} {value}")
    return " ".join(words)
