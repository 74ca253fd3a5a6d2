"""The registries are complete and are used without importing torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import robustkd
import scenarios
from robustkd.criteria import CRITERIA
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.evaluation.attack_specs import ATTACKS
from robustkd.methods import METHODS
from robustkd.models import MODELS
from scenarios import SCENARIOS

LIBRARY = Path(robustkd.__file__).parent
MODEL_PARTS = {
    *("net", "build", "layers", "external", "feature_taps", "intermediates", "stage_pairs"),
    *("initialisation", "class_order", "layer_numbers", "model_card"),
    *("preprocessing", "published_weights", "weight_files", "weight_sources"),
}
FOLDERS = {
    "methods": (METHODS, LIBRARY / "methods", set()),
    "criteria": (CRITERIA, LIBRARY / "criteria", {"base"}),
    "scenarios": (SCENARIOS, Path(scenarios.__file__).parent, {"base", "sizes"}),
    "models": (MODELS, LIBRARY / "models", MODEL_PARTS),
}


def unmatched_modules(table, folder, others):
    """Return modules without an entry, and entries without a module."""
    modules = {file.stem for file in folder.glob("*.py")} - {"__init__"} - others
    return modules ^ {str(entry.target).split(":")[0] for entry in table.values() if isinstance(entry.target, str)}


@pytest.mark.parametrize("kind", FOLDERS)
def test_every_module_is_registered(kind):
    assert not unmatched_modules(*FOLDERS[kind])


def test_unregistered_modules_are_detected(tmp_path):
    (tmp_path / "baseline.py").touch()
    (tmp_path / "forgotten.py").touch()
    assert unmatched_modules(METHODS, tmp_path, set()) >= {"forgotten", "hinton"}


# An attack of the user's own has no target before it is named.
ENTRIES = [
    (table, word)
    for table in (METHODS, CRITERIA, SCENARIOS, MODELS, PAIRED_VIEWS, ATTACKS)
    for word in table
    if table[word].target
]


@pytest.mark.parametrize(("table", "word"), ENTRIES)
def test_every_entry_has_a_summary_and_a_target(table, word):
    entry = table[word]
    assert entry.summary
    for text in entry.examples or (word,):
        assert callable(table.parse(text).load())


# Controls are variants of a method, in the file of that method.
VARIANTS = {"longer": "baseline", "oracle_clean": "baseline", "oracle_subset": "baseline", "clean_teacher": "hinton"}


@pytest.mark.parametrize(("table", "word"), [(table, word) for table in (METHODS, CRITERIA) for word in table])
def test_names_start_with_their_module(table, word):
    assert VARIANTS.get(word, word).startswith(str(table[word].target).split(":")[0])


def test_registries_are_used_without_importing_torch():
    code = """
import sys
from robustkd.criteria import CRITERIA
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.errors import UsageError
from scenarios import SCENARIOS
for table in (METHODS, CRITERIA, MODELS, SCENARIOS, PAIRED_VIEWS):
    assert all(entry.summary for entry in table.values())
    try:
        table.parse("nobody")
    except UsageError as error:
        assert "there are: " in str(error) or "the nearest of" in str(error)
    else:
        sys.exit("an unknown name was accepted")
sys.exit("torch" in sys.modules and "torch was loaded")
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
