"""The import law, held: who may know whom."""

import ast
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
# Each part of the house, and the parts it may import. Longest prefix wins; a part may import itself unless it says "alone".
BASE = (
    "robustkd.errors",
    "robustkd.registry",
    "robustkd.specs",
    "robustkd.types",
    "robustkd.hashing",
    "robustkd.atomic",
)
LAW: dict[str, set[str]] = {
    "robustkd.errors": set(),
    "robustkd.hashing": set(),
    "robustkd.atomic": set(),
    "robustkd.types": {"robustkd.errors"},
    "robustkd.specs": {"robustkd.errors", "robustkd.types"},
    "robustkd.registry": {"robustkd.errors", "robustkd.specs"},
    "robustkd.seeds": set(),
    "robustkd.functional": {"robustkd.types"},
    "robustkd.attacks": {"robustkd.attacks", "robustkd.types"},
    "robustkd.data": {"robustkd.data", "robustkd.types", "robustkd.seeds", *BASE},
    "robustkd.criteria": {"robustkd.criteria", "robustkd.types", *BASE},
    "robustkd.models": {"robustkd.models", "robustkd.types", *BASE},
    "robustkd.method": {"robustkd.criteria", "robustkd.models", "robustkd.types"},
    "robustkd.methods": {
        *("robustkd.method", "robustkd.criteria", "robustkd.models", "robustkd.functional"),
        "robustkd.attacks",
        *("robustkd.types", *BASE),
    },
    "robustkd.training.build": {"robustkd.methods", "robustkd.method", "robustkd.criteria", *BASE},
    "robustkd.training.recipe": {"robustkd.method"},
    "robustkd.training.engine": {
        "robustkd.training.recipe",
        "robustkd.method",
        "robustkd.types",
        "robustkd.data.loader",
    },
    "robustkd.training.inference": {"robustkd.data.loader", "robustkd.method", "robustkd.models"},
    "robustkd.evaluation.metrics": set(),
    "robustkd.study.evaluate": {
        *(
            "robustkd.training.inference",
            "robustkd.evaluation.metrics",
            "robustkd.evaluation.attack_specs",
            "robustkd.evaluation.robustness",
            "robustkd.study.plan",
            "robustkd.data",
        ),
        "robustkd.evaluation.corruptions",
        *("robustkd.models", *BASE),
    },
    "robustkd.evaluation.attack_specs": {"robustkd.attacks", *BASE},
    "robustkd.evaluation.robustness": {"robustkd.evaluation.attack_specs", "robustkd.data", "robustkd.models", *BASE},
    "robustkd.evaluation.corruptions": {*BASE, "robustkd.data", "robustkd.models", "robustkd.evaluation.robustness"},
    "robustkd.evaluation.significance": set(),
    "robustkd.training.checkpoint": {"robustkd.models", *BASE},
    "robustkd.study.options": {"robustkd.methods", *BASE},
    "robustkd.study.comparison": {"robustkd.evaluation.metrics", "robustkd.evaluation.significance", *BASE},
    "robustkd.estimator": {
        *(
            "robustkd.training.build",
            "robustkd.study.run",
            "robustkd.training.checkpoint",
            "robustkd.data",
            "robustkd.training.hardware",
        ),
        *("robustkd.study.options", "robustkd.study.scheduler", "robustkd.seeds", "robustkd.study.plan", *BASE),
    },
    "robustkd.training.hardware": {*BASE},
    "robustkd.study.plan": {
        *("robustkd.evaluation.attack_specs", "robustkd.evaluation.corruptions"),
        *(
            "robustkd.training.build",
            "robustkd.training.recipe",
            "robustkd.training.checkpoint",
            "robustkd.study.options",
            "robustkd.data",
        ),
        *("robustkd.criteria", "robustkd.methods", "robustkd.models", "robustkd.types", "robustkd.seeds"),
        *BASE,
    },
    "robustkd.study.run": {
        *(
            "robustkd.study.plan",
            "robustkd.training.build",
            "robustkd.training.engine",
            "robustkd.training.checkpoint",
            "robustkd.training.inference",
        ),
        *("robustkd.data", "robustkd.method", "robustkd.models", "robustkd.seeds", *BASE),
        *("robustkd.training.hardware", "robustkd.study.evaluate"),
    },
    "robustkd.label_audit.out_of_fold": {
        *("robustkd.training.build", "robustkd.training.engine", "robustkd.training.recipe", "robustkd.data"),
        *("robustkd.models", "robustkd.types", "robustkd.seeds", *BASE),
    },
    "robustkd.label_audit.confident_learning": set(),
    "robustkd.study.scheduler": {"robustkd.study.run", "robustkd.study.plan", *BASE},
    "robustkd": set(),
    "scenarios": {"scenarios", "robustkd.data", "robustkd.seeds", *BASE},
    "pipelines": {"pipelines", "scenarios", "robustkd"},
}
FILES = sorted(path for package in ("robustkd", "scenarios", "pipelines") for path in (HOME / package).rglob("*.py"))


def module(path: Path) -> str:
    return ".".join(path.relative_to(HOME).with_suffix("").parts).removesuffix(".__init__")


def part(name: str) -> str:
    return max((prefix for prefix in LAW if name == prefix or name.startswith(prefix + ".")), key=len)


def imported(path: Path) -> set[str]:
    """Every module of ours that a file imports, wherever in the file it does."""
    found = set()
    known = {module(other) for other in FILES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (below & known) or {node.module}
            found |= {node.module} if below - known else set()
    return {name for name in found if name.split(".")[0] in ("robustkd", "scenarios", "pipelines")}


def broken(name: str, imports: set[str]) -> list[str]:
    allowed = LAW[part(name)]
    fine = {i for i in imports if any(i == a or i.startswith(a + ".") for a in allowed)}
    return sorted(imports - fine)


@pytest.mark.parametrize("path", FILES, ids=[module(path) for path in FILES])
def test_imports_flow_one_way(path: Path) -> None:
    assert broken(module(path), imported(path)) == []


def test_a_broken_law_is_seen() -> None:
    assert broken("robustkd.methods.mine", {"robustkd.training.engine"}) == ["robustkd.training.engine"]
    assert broken("robustkd.training.engine", {"robustkd.methods.hinton"}) == ["robustkd.methods.hinton"]
    assert broken("scenarios.mine", {"robustkd.study.plan", "robustkd.data.view"}) == ["robustkd.study.plan"]


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.parent.name == "methods" and p.stem != "__init__"], ids=lambda p: p.stem
)
def test_methods_do_not_know_one_another(path: Path) -> None:
    assert not [name for name in imported(path) if name.startswith("robustkd.methods")]


def test_the_engine_cannot_name_a_method() -> None:
    from robustkd.methods import METHODS

    nodes = list(ast.walk(ast.parse((HOME / "robustkd" / "training" / "engine.py").read_text())))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    classes = {word.target.split(":")[1] for word in METHODS.values() if isinstance(word.target, str)}
    assert names & {*METHODS, *classes} == set()


def test_mlflow_is_known_to_one_folder_only() -> None:
    users = [module(path) for path in FILES if "mlflow" in {top(name) for name in everything(path)}]
    assert {part_ for part_ in users if not part_.startswith("pipelines.tracking.")} == set()
    assert users


def everything(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return names | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


def top(name: str) -> str:
    return name.split(".")[0]


def test_methods_touch_no_devices_optimisers_or_modes() -> None:
    for path in (HOME / "robustkd" / "methods").glob("*.py"):
        called = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not called & {"cuda", "optim", "train", "eval", "manual_seed", "item"}, path.name


def test_what_is_left_out_of_a_studys_identity_decides_no_weights() -> None:
    """A study is found again after a change of these files, so nothing that trains may ask them anything."""
    from pipelines.planning import UNTRAINED

    trains = {f"robustkd.training.{name}" for name in ("build", "engine", "inference", "recipe")}
    trains |= {
        f"robustkd.{name}" for name in ("method", "methods", "models", "criteria", "data", "functional", "attacks")
    }
    left_out = {module(HOME / "robustkd" / name) for name in UNTRAINED}
    paths = [path for path in FILES if part(module(path)) in trains]
    assert {part(module(path)) for path in paths} == trains
    for path in paths:
        assert imported(path) & left_out == set(), path
