"""Architecture: which part of the code may import which, and what parts must not do."""

import ast
from pathlib import Path

import numpy as np
import pytest

from pipelines import planning
from robustkd.data.manifest import Splits
from robustkd.data.view import View
from robustkd.methods import METHODS
from robustkd.study.options import StudyOptions
from tests.helpers import make_settings, make_source
from tools.house import import_cycles, import_graph, list_imports, load_modules, parse_sites

HOME = Path(__file__).parents[1]
# What each part may import, except itself: a module, or a package with all that is in it; names are within robustkd unless they
# name another package. A module belongs to the part with the longest matching name. No part imports one further down. A module
# without a part of its own belongs to `robustkd` or `pipelines`, which may import nothing: new modules need a line here.
LAW = {
    "robustkd": "",
    # Base
    "robustkd.errors": "",
    "robustkd.hashing": "",
    "robustkd.atomic": "",
    "robustkd.csv_cells": "atomic",
    "robustkd.locks": "errors hashing",
    "robustkd.seeds": "",
    "robustkd.types": "errors",
    "robustkd.specs": "errors types",
    "robustkd.registry": "errors specs",
    # Parts of a method
    "robustkd.functional": "types",
    "robustkd.attacks": "types functional",
    "robustkd.models": "errors types specs registry",
    "robustkd.data": "errors atomic csv_cells hashing seeds types specs registry",
    "robustkd.criteria": "errors types registry models.layers data.class_matrix",
    "robustkd.small_loss": "types",
    "robustkd.label_audit.confident_learning": "",
    "robustkd.method": "types criteria models",
    "robustkd.methods": (
        "errors types registry attacks criteria models functional small_loss label_audit.confident_learning method"
    ),
    "robustkd.yaml_file": "errors",
    "robustkd.method_sets": "errors specs methods yaml_file",
    "robustkd.method_spec": "errors types specs criteria methods",
    "robustkd.plugins": (
        "hashing specs registry criteria models methods data.paired_views data.augmentations data.user_datasets"
    ),
    # Training: the engine knows no registry of methods
    "robustkd.training.recipe": "method",
    "robustkd.training.backbones": "method models",
    "robustkd.training.optimisers": "errors method models training.recipe training.backbones",
    "robustkd.training.updates": "types method models training.recipe",
    "robustkd.training.averaging": "types method models",
    "robustkd.training.finite_updates": "types",
    "robustkd.training.data_parallel": "types method models",
    "robustkd.training.hardware": "errors types models",
    "robustkd.training.compilation": "errors types method models training.recipe training.backbones",
    "robustkd.training.checkpoint": "errors atomic models data.augment",
    "robustkd.training.inference": "models method data.loader",
    "robustkd.training.engine": (
        "types method models data.loader training.recipe training.backbones training.optimisers training.updates"
        " training.averaging training.finite_updates training.data_parallel training.compilation seeds"
    ),
    "robustkd.training.build": "errors types specs criteria method method_spec",
    # Evaluation: the metrics know arrays only
    "robustkd.evaluation.results": "",
    "robustkd.evaluation.significance": "",
    "robustkd.evaluation.crossed": "evaluation.significance",
    "robustkd.evaluation.ranks": "evaluation.significance",
    "robustkd.evaluation.power": "evaluation.significance evaluation.crossed",
    "robustkd.evaluation.logit_adjustment": "",
    "robustkd.evaluation.calibration": "evaluation.results",
    "robustkd.evaluation.metrics": "evaluation.calibration evaluation.results",
    "robustkd.evaluation.metric_table": "evaluation.metrics",
    "robustkd.evaluation.net_metrics": (
        "evaluation.results evaluation.calibration evaluation.metrics evaluation.metric_table"
    ),
    "robustkd.evaluation.attack_specs": "errors hashing types specs registry attacks",
    "robustkd.evaluation.robustness": "models data evaluation.attack_specs",
    "robustkd.evaluation.latency": "models evaluation.results",
    "robustkd.evaluation.corruptions": "models data evaluation.robustness",
    # Studies: in memory up to `run`, in folders from `run_folder` on
    "robustkd.study.recipe_presets": "errors models",
    "robustkd.study.options": "types specs method_sets method_spec data.augmentations data.image_formats study.recipe_presets",
    "robustkd.study.image_sizes": "models data.labelled_images study.options",
    "robustkd.study.machine": "evaluation.results",
    "robustkd.study.results": (
        "errors atomic hashing evaluation.results study.recipe_presets study.options study.machine"
    ),
    "robustkd.study.agreements": "evaluation.net_metrics study.results",
    "robustkd.study.versions": "hashing method_spec",
    "robustkd.study.plan": (
        "errors types method_spec evaluation.results data training.hardware training.recipe study.recipe_presets study.options"
        " study.results"
    ),
    "robustkd.study.stopping": "",
    "robustkd.study.early_stopping": "errors types study.options",
    "robustkd.study.training_rows": "errors types data",
    "robustkd.study.construct": (
        "errors seeds types specs criteria models data method training.build training.optimisers study.plan"
        " study.results study.training_rows"
    ),
    "robustkd.study.evaluate": (
        "hashing models data training.inference evaluation study.agreements study.construct study.plan study.results"
        " study.versions"
    ),
    "robustkd.study.monitor": (
        "seeds models data training.engine training.inference study.plan study.recipe_presets study.results"
        " study.early_stopping study.evaluate"
    ),
    "robustkd.study.run": (
        "seeds models data method training.engine training.data_parallel training.hardware training.inference"
        " study.plan study.results study.versions study.evaluate study.construct study.machine study.monitor study.stopping"
    ),
    "robustkd.study.memory": "errors models data training.hardware study.plan study.run",
    "robustkd.study.cost_ratio": "data method_spec study.options study.plan study.run",
    "robustkd.study.integrity": "errors hashing study.results",
    "robustkd.study.given_networks": (
        "errors seeds data models training.checkpoint study.options study.plan study.results study.image_sizes study.construct"
    ),
    "robustkd.study.child_process": "plugins training.hardware study.plan study.stopping",
    "robustkd.study.peers": "errors training.data_parallel study.child_process study.plan",
    "robustkd.study.run_folder": (
        "errors atomic csv_cells locks models data training.checkpoint training.engine evaluation.attack_specs"
        " evaluation.corruptions types study.given_networks study.options study.integrity study.plan study.results"
        " study.versions study.evaluate study.run study.stopping study.memory study.peers training.data_parallel"
    ),
    "robustkd.study.progress": "study.plan study.results study.run_folder study.stopping study.versions",
    "robustkd.study.workers": "errors study.child_process study.memory study.plan study.run_folder study.stopping",
    "robustkd.study.shipping": "errors atomic locks models data plugins study.integrity study.plan study.run_folder",
    "robustkd.study.ray_cluster": "errors",
    "robustkd.study.ray_pool": (
        "errors locks study.child_process study.plan study.run_folder study.workers study.shipping study.ray_cluster"
    ),
    "robustkd.study.scheduler": (
        "errors study.memory study.plan study.progress study.stopping study.workers study.ray_pool"
    ),
    "robustkd.study.packing": (
        "errors data.view training.engine training.hardware study.child_process study.construct study.plan study.run"
        " study.run_folder"
    ),
    "robustkd.study.pairing": "evaluation.results study.results study.agreements",
    "robustkd.study.verdicts": (
        "evaluation.results evaluation.significance evaluation.crossed evaluation.power study.results study.pairing"
    ),
    "robustkd.study.comparison": (
        "evaluation.metric_table evaluation.results evaluation.significance study.results study.agreements study.pairing"
        " study.verdicts"
    ),
    "robustkd.study.across": (
        "evaluation.metric_table evaluation.ranks evaluation.significance study.results study.pairing study.verdicts"
        " study.comparison"
    ),
    "robustkd.study.verdict_notes": "evaluation.significance evaluation.power study.verdicts",
    "robustkd.study.conclusions": (
        "evaluation.significance study.results study.pairing study.verdicts study.comparison study.verdict_notes"
    ),
    # Selection: pure functions of arrays, then the record
    "robustkd.selection": "",
    "robustkd.selection.score": "",
    "robustkd.selection.race": "selection.score",
    "robustkd.selection.sequential": "evaluation.significance",
    "robustkd.selection.budget": "errors types selection.race selection.sequential",
    "robustkd.selection.confirm": ("evaluation.crossed evaluation.power evaluation.significance selection.sequential"),
    "robustkd.selection.record": "evaluation.results study.results selection.race selection.budget selection.confirm",
    "robustkd.selection.evidence": (
        "errors evaluation.results study.agreements study.pairing study.results study.run_folder study.verdicts"
        " selection.confirm selection.score"
    ),
    "robustkd.label_audit.reliability": "label_audit.confident_learning",
    "robustkd.label_audit.out_of_fold": "errors atomic seeds types models data method method_spec training",
    "robustkd.label_audit.probe": "atomic seeds models data label_audit.out_of_fold",
    "robustkd.label_audit.probabilities_file": "errors data label_audit.confident_learning label_audit.out_of_fold",
    "robustkd.custom_loop": "errors types specs criteria models method method_spec training.build",
    "robustkd.study.in_memory": "seeds models data method_spec training study",
    "robustkd.estimator": "errors types models data training study",
    # Scenarios
    "scenarios": "errors hashing seeds types specs registry data",
    # Pipelines: files, console and MLflow around studies
    "pipelines": "",
    "pipelines.address_space": "",
    "pipelines.console": "errors",
    "pipelines.signals": "study.stopping",
    "pipelines.folder_names": "",
    "pipelines.cli_options": "errors types specs study.options pipelines.folder_names",
    "pipelines.arguments": "errors specs yaml_file pipelines.cli_options study",
    "pipelines.listing": "robustkd scenarios pipelines.console",
    "pipelines.references": "",
    "pipelines.report": "robustkd scenarios pipelines.references",
    "pipelines.tracking": "robustkd pipelines.console pipelines.references pipelines.report",
    "pipelines.auditing": "robustkd pipelines.console pipelines.cli_options pipelines.report",
    "pipelines.scenario_effect": "data scenarios",
    "pipelines.exporters": "robustkd",
    "pipelines.data_summary": "data study.options pipelines.console",
    "pipelines.networks": "robustkd pipelines.console pipelines.tracking",
    "pipelines.diagnosis": "robustkd pipelines.console pipelines.tracking",
    "pipelines.leftovers": "robustkd pipelines.folder_names pipelines.tracking",
    "pipelines.study_records": "robustkd",
    "pipelines.parallel_jobs": "robustkd pipelines.console pipelines.study_records",
    "pipelines.planning": (
        "robustkd scenarios pipelines.console pipelines.data_summary pipelines.folder_names pipelines.networks"
        " pipelines.study_records pipelines.parallel_jobs pipelines.tracking"
    ),
    "pipelines.forecast": "robustkd pipelines.console pipelines.planning",
    "pipelines.power_forecast": "robustkd pipelines.planning",
    "pipelines.session": ("robustkd pipelines.console pipelines.signals pipelines.tracking pipelines.planning"),
    "pipelines.selecting": (
        "robustkd pipelines.cli_options pipelines.console pipelines.folder_names pipelines.planning pipelines.report"
    ),
    "pipelines.racing": (
        "robustkd pipelines.console pipelines.tracking pipelines.planning pipelines.forecast pipelines.session"
    ),
    "pipelines.stages": (
        "robustkd scenarios pipelines.console pipelines.cli_options pipelines.report pipelines.tracking"
        " pipelines.data_summary pipelines.folder_names pipelines.networks pipelines.planning pipelines.forecast"
        " pipelines.power_forecast"
        " pipelines.session pipelines.selecting pipelines.racing pipelines.auditing pipelines.scenario_effect"
        " pipelines.exporters pipelines.diagnosis pipelines.leftovers"
    ),
    "pipelines.api": (
        "robustkd scenarios pipelines.console pipelines.cli_options pipelines.report pipelines.planning pipelines.auditing"
        " pipelines.scenario_effect pipelines.stages"
    ),
    "pipelines.cli_maintenance": "types pipelines.stages",
    "pipelines.cli": (
        "robustkd scenarios pipelines.address_space pipelines.console pipelines.signals pipelines.cli_options"
        " pipelines.cli_maintenance pipelines.arguments pipelines.listing pipelines.stages"
    ),
    "pipelines.__main__": "pipelines.cli",
}
MODULES = load_modules(HOME)
GRAPH = import_graph(MODULES)
# With the imports that only a type checker reads.
IMPORTS = {name: list_imports(module.tree, MODULES, typing=True) - {name} for name, module in MODULES.items()}


def part_of(module: str) -> str:
    """Return the part that a module is in."""
    return max((part for part in LAW if is_within(module, part)), key=len)


def is_within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def allowed_by(part: str) -> set[str]:
    """Return the full names of what a part may import."""
    packages = ("robustkd", "scenarios", "pipelines")
    return {name if name.split(".")[0] in packages else f"robustkd.{name}" for name in LAW[part].split()}


def forbidden_imports(module: str, imports: set[str]) -> list[str]:
    """Return those of a module's imports that the law does not allow."""
    part = part_of(module)
    allowed = allowed_by(part)
    return sorted(
        name
        for name in imports
        if not any(is_within(name, other) for other in allowed)
        and not (part_of(name) == part and part not in ("robustkd", "pipelines"))
    )


# robustkd/__init__.py exports the public names of all packages. It imports none of them itself, so it is above the law.
@pytest.mark.parametrize("module", [name for name in MODULES if name != "robustkd"])
def test_every_import_is_allowed(module: str) -> None:
    assert forbidden_imports(module, IMPORTS[module]) == []


def test_the_law_itself_is_one_way() -> None:
    """No part may import one further down, whether it does or not."""
    order = {part: number for number, part in enumerate(LAW)}
    for part in LAW:
        further = {other for other in LAW for name in allowed_by(part) if is_within(other, name)} - {part}
        assert all(order[other] < order[part] for other in further), (part, further)
    assert {*LAW, *(name for part in LAW for name in allowed_by(part))} <= {*MODULES}, (
        "the law names what does not exist"
    )


def test_forbidden_imports_are_found() -> None:
    assert forbidden_imports("robustkd.methods.mine", {"robustkd.training.engine"}) == ["robustkd.training.engine"]
    assert forbidden_imports("robustkd.training.engine", {"robustkd.methods.hinton"}) == ["robustkd.methods.hinton"]
    assert forbidden_imports("robustkd.training.mine", {"robustkd.errors"}) == ["robustkd.errors"]
    assert forbidden_imports("robustkd.functional", {"robustkd.types", "robustkd.data.view"}) == ["robustkd.data.view"]
    assert forbidden_imports("robustkd.study.plan", {"pipelines.console", "scenarios"}) == [
        "pipelines.console",
        "scenarios",
    ]
    assert forbidden_imports("scenarios.mine", {"robustkd.study.plan", "robustkd.data.view"}) == ["robustkd.study.plan"]
    assert forbidden_imports("pipelines.report.mine", {"pipelines.tracking"}) == ["pipelines.tracking"]
    assert forbidden_imports("pipelines.planning", {"pipelines.session"}) == ["pipelines.session"]


def test_there_are_no_import_cycles() -> None:
    """Imports inside functions count, since a cycle that they hide is still one; those for type checkers do not."""
    assert import_cycles(GRAPH) == []


def test_a_method_is_parsed_in_few_places() -> None:
    """Elsewhere a parsed MethodSpec is passed on."""
    assert len(parse_sites(MODULES)) <= 7


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith("robustkd.methods.")])
def test_methods_do_not_import_one_another(module: str) -> None:
    assert not [name for name in IMPORTS[module] if is_within(name, "robustkd.methods")]


def test_the_engine_names_no_method() -> None:
    nodes = list(ast.walk(MODULES["robustkd.training.engine"].tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    names |= {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    classes = {entry.target.split(":")[1] for entry in METHODS.values() if isinstance(entry.target, str)}
    assert len(classes) > 20
    assert names & {*METHODS, *classes} == set()


def test_only_the_tracking_package_imports_mlflow() -> None:
    users = {name for name, module in MODULES.items() if "mlflow" in imported_packages(module.tree)}
    assert users
    assert all(name.startswith("pipelines.tracking.") for name in users), users


def imported_packages(tree: ast.AST) -> set[str]:
    """Return the top-level packages that a file imports, wherever it does."""
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("module", [name for name in MODULES if is_within(name, "robustkd.methods")])
def test_methods_touch_no_devices_optimisers_or_modes(module: str) -> None:
    attributes = {node.attr for node in ast.walk(MODULES[module].tree) if isinstance(node, ast.Attribute)}
    assert not attributes & {"cuda", "optim", "train", "eval", "manual_seed", "item"}


# --- identities -------------------------------------------------------------------------------------------------------
# Results are identified by versions and by digests of data and plugins, never by the text of our own source files.


def test_a_study_is_identified_by_versions_and_plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "mine.py"
    plugin.write_text("METHODS = {}")
    source = make_source(4)
    views = Splits(*(View.of(source, np.arange(12)[first::3]) for first in range(3)))

    def folder(plug: str | None = None, teacher_criterion: str = "ce") -> str:
        options = StudyOptions(scenario="clean", dataset="npz:toy.npz", plug=plug, teacher_criterion=teacher_criterion)
        return planning.folder_name(options, planning.identity(options, make_settings(), source, views, None))

    name, plugged = folder(), folder(str(plugin))
    assert name != plugged
    for method in ("read_text", "read_bytes", "open"):
        monkeypatch.setattr(Path, method, lambda self, *_, **__: pytest.fail(f"{self} is read"))
    assert folder() == name, "no file is read"
    monkeypatch.undo()
    plugin.write_text("METHODS = {}  # another content")
    assert folder(str(plugin)) != plugged
    assert folder() == name
    matrix = tmp_path / "T.csv"
    matrix.write_text("1,0\n0,1")
    known = folder(teacher_criterion=f"forward(matrix={matrix})")
    matrix.write_text("1,0\n0,1\n")
    assert folder(teacher_criterion=f"forward(matrix={matrix})") != known
    monkeypatch.setattr(planning, "RESULTS_VERSION", planning.RESULTS_VERSION + 1)
    assert folder() != name


def names_source_files(tree: ast.AST) -> bool:
    """Whether a file asks where source files are, or for their text."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    names |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return bool(names & {"__file__", "getsource", "getsourcefile", "getsourcelines", "get_data", "__path__"}) or any(
        text.endswith("*.py") for text in texts
    )


def test_nothing_depends_on_the_text_of_source_files() -> None:
    users = {name for name, module in MODULES.items() if names_source_files(module.tree)}
    # The first digests the file of a user's attack. The others check where the packages are, and find the templates.
    assert users <= {"robustkd.evaluation.attack_specs", "pipelines", "pipelines.report.renderers.html"}
    attack_specs = ast.unparse(MODULES["robustkd.evaluation.attack_specs"].tree)
    assert attack_specs.count("__file__") == 1
    assert "_import_module(text, text.rpartition(':')[0]).__file__" in attack_specs


def test_reading_source_files_is_found() -> None:
    assert names_source_files(ast.parse("digest(text=Path(__file__).read_text())"))
    assert names_source_files(ast.parse("digest(text=inspect.getsource(method))"))
    assert names_source_files(ast.parse("[file.read_text() for file in folder.rglob('*.py')]"))
    assert not names_source_files(ast.parse("json.loads(path.read_text())"))
