"""Sets of methods by one name, such as `robust`, and lists of one's own in a YAML file. Names only: nothing is imported."""

import itertools
import re
from collections.abc import Iterable

from robustkd.errors import UsageError
from robustkd.methods import METHODS
from robustkd.specs import split_at
from robustkd.yaml_file import read_yaml

# What differs from the baseline in one respect, to tell where a gain comes from.
CONTROLS = (
    *("baseline", "self_kd", "longer", "ensemble", "matched_smoothing"),
    *("clean_teacher", "oracle_clean", "oracle_subset"),
)
# Other ways of training with wrong labels, and with unbalanced classes.
ROBUST = (
    *("baseline", "baseline+smooth", "baseline+mae", "baseline+gce", "baseline+gce(truncate=0.5)", "baseline+sce"),
    *("baseline+nce_rce", "baseline+bootstrap_soft", "baseline+bootstrap_hard", "baseline+phuber", "baseline+forward"),
    *("baseline+elr", "co_teaching", "jocor", "prune", "dividemix"),
)
BALANCED = (
    *("baseline", "baseline+balanced", "baseline+logit_adjust", "baseline+class_balanced", "baseline+focal"),
    *("baseline+ldam(drw=true)", "crt", "tau_norm", "dive"),
)
# Presets of a method for other networks or data: comparing all of them would be a search for the best one.
_PRESETS = {"dkd_resnet", "dkd_imagenet", "amkd_annealed"}
# Registered methods that are not distillation.
_NOT_DISTILLATION = {*CONTROLS, *ROBUST, *BALANCED, "smooth"} - {"self_kd", "dive"}

SETS = ("all", "kd", "robust", "balanced", "controls")


def expand_set(name: str) -> tuple[str, ...]:
    """Return the methods of a set.

    >>> expand_set("balanced")[:2]
    ('baseline', 'baseline+balanced')
    """
    match name:
        case "all":
            return tuple(METHODS)
        case "kd":
            return ("baseline", *(method for method in METHODS if method not in _NOT_DISTILLATION | _PRESETS))
        case "robust":
            return ROBUST
        case "balanced":
            return BALANCED
        case _:
            return CONTROLS


def expand_methods(text: str) -> dict[str, bool]:
    """Return the methods that a list of methods and sets stands for, each once, and whether it was named itself.

    Methods that only a set names may be left out where the networks or the data do not allow them.

    >>> list(expand_methods("hinton,balanced"))[:3]
    ['hinton', 'baseline', 'baseline+balanced']
    """
    named: dict[str, bool] = {}
    for part in split_at(text, ","):
        for method in expand_set(part) if part in SETS else expand_variants(part):
            named[method] = named.get(method, False) or part not in SETS
    return named


def expand_variants(text: str) -> tuple[str, ...]:
    """Return the methods that one with alternative values of parameters stands for, separated by |.

    >>> expand_variants("hinton(temperature=1|4)+balanced")
    ('hinton(temperature=1)+balanced', 'hinton(temperature=4)+balanced')
    """
    parts = re.split(r"(?<==)([^=,()'\"]*\|[^=,()'\"]*)", text)  # the alternatives are at odd places
    choices = [part.split("|") if place % 2 else [part] for place, part in enumerate(parts)]
    return tuple("".join(choice) for choice in itertools.product(*choices))


def read_method_list(text: str) -> str:
    """Return the methods separated by commas; those in a YAML file with a list of them, if the text is the file's path.

    Raises:
        UsageError: there is no such file, or it contains something else.
    """
    if not text.endswith((".yaml", ".yml")):
        return text
    content = read_yaml(text, "--methods")
    if not _is_list_of_text(content):
        raise UsageError(f'--methods {text}: this file should contain a list of methods, such as "- hinton+balanced"')
    return ",".join(content)


def _is_list_of_text(content: object) -> bool:
    return (
        isinstance(content, Iterable)
        and not isinstance(content, str | dict)
        and bool(content)
        and all(isinstance(item, str) and item.strip() for item in content)
    )
