"""robustkd: knowledge distillation under label noise and class imbalance, compared with plain training.

The names below are the public interface, documented in docs/python.md. Importing the package is cheap: each name is imported
when it is first used, so that neither torch nor pandas is loaded before.
"""

from importlib import import_module

TYPE_CHECKING = False  # a type checker takes it as True; the import of typing would take longer than all else here
if TYPE_CHECKING:
    from pipelines.api import (
        Audit,
        Selected,
        Study,
        audit,
        check_data,
        compare,
        describe,
        load_study,
        run_study,
        select,
    )
    from robustkd import criteria, data, methods, models  # noqa: F401  # packages, which are public too
    from robustkd.custom_loop import DistillationLoss, SupervisedLoss
    from robustkd.errors import ExecutionError, UsageError
    from robustkd.estimator import DistilledClassifier

__version__ = "0.2.0"
__all__ = [
    "Audit",
    "DistillationLoss",
    "DistilledClassifier",
    "ExecutionError",
    "Selected",
    "Study",
    "SupervisedLoss",
    "UsageError",
    "audit",
    "check_data",
    "compare",
    "describe",
    "load_study",
    "run_study",
    "select",
]

# Where each public name is defined: the commands as functions, with what they return, where nothing else is said. This table is
# the only place where robustkd names `pipelines`, and nothing inside robustkd uses it.
_DEFINED_IN = {
    **dict.fromkeys(__all__, "pipelines.api"),
    **dict.fromkeys(("DistillationLoss", "SupervisedLoss"), "robustkd.custom_loop"),
    **dict.fromkeys(("ExecutionError", "UsageError"), "robustkd.errors"),
    "DistilledClassifier": "robustkd.estimator",
}
_PACKAGES = ("criteria", "data", "methods", "models")  # available as attributes without an import of their own


if not TYPE_CHECKING:  # with it, a type checker would accept any name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used."""
        if name in _PACKAGES:
            return import_module(f"robustkd.{name}")
        if name not in _DEFINED_IN:
            raise AttributeError(f"module 'robustkd' has no attribute '{name}'")
        value = getattr(import_module(_DEFINED_IN[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    """List the public names too, for completion in notebooks."""
    return sorted({*globals(), *__all__, *_PACKAGES})
