"""The tables of contents: complete, and read without torch."""

import subprocess
import sys
from pathlib import Path

import pytest

import robustkd
import scenarios
from robustkd.criteria import CRITERIA
from robustkd.methods import METHODS
from robustkd.models import MODELS
from scenarios import SCENARIOS

LIBRARY = Path(robustkd.__file__).parent
FOLDERS = {
    "methods": (METHODS, LIBRARY / "methods", set()),
    "criteria": (CRITERIA, LIBRARY / "criteria", {"base"}),
    "scenarios": (SCENARIOS, Path(scenarios.__file__).parent, {"base"}),
    "models": (MODELS, LIBRARY / "models", {"net", "build", "layers", "feature_taps"}),
}


def differences(table, folder, others):
    """Modules that no word leads to, and words that lead to no module."""
    written = {file.stem for file in folder.glob("*.py")} - {"__init__"} - others
    return written ^ {str(entry.target).split(":")[0] for entry in table.values() if isinstance(entry.target, str)}


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_table_lists_every_module_of_its_folder(kind):
    assert not differences(*FOLDERS[kind])


def test_a_module_that_was_forgotten_is_found(tmp_path):
    (tmp_path / "baseline.py").touch()
    (tmp_path / "forgotten.py").touch()
    assert differences(METHODS, tmp_path, set()) >= {"forgotten", "hinton"}


@pytest.mark.parametrize(("table", "word"), [(t, w) for t, _, _ in FOLDERS.values() for w in t])
def test_every_line_says_what_it_is_and_leads_somewhere(table, word):
    entry = table[word]
    assert entry.summary
    for text in entry.examples or (word,):
        assert callable(table.parse(text).load())


@pytest.mark.parametrize("word", [word for kind in ("methods", "criteria") for word in FOLDERS[kind][0]])
def test_a_word_begins_as_its_module_is_called(word):
    table = METHODS if word in METHODS else CRITERIA
    assert word.startswith(str(table[word].target).split(":")[0])


def test_tables_are_listed_and_words_refused_before_torch_is_loaded():
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
        assert "there are: " in str(error)
    else:
        sys.exit("a word that does not exist was read")
sys.exit("torch" in sys.modules and "torch was loaded")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
