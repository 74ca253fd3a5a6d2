"""Registries: names, presets, templates, entry points and users' files."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from robustkd.errors import UsageError
from robustkd.registry import Registry, load_plugin
from tests.helpers import stacked, toy_registry


@pytest.fixture
def registry() -> Registry:
    return toy_registry()


@pytest.mark.parametrize("text", ["blur0.4", "blur(0.4)", "blur(amount=0.4)", " blur( amount = 0.4 ) "])
def test_a_first_value_can_be_written_in_four_ways(registry: Registry, text: str) -> None:
    assert registry.parse(text).kwargs() == {"amount": 0.4}


def test_a_preset_is_a_default_that_can_be_overruled(registry: Registry) -> None:
    assert registry.parse("soft").kwargs() == {"amount": 0.1}
    assert registry.parse("soft(amount=0.2)").kwargs() == {"amount": 0.2}


def test_a_template_reads_its_fields_from_the_word(registry: Registry) -> None:
    assert registry.parse("stack12").kwargs() == {"depth": 12}
    assert registry.parse("stack12(wide=True)").kwargs() == {"depth": 12, "wide": True}
    with pytest.raises(UsageError, match="has no parameter 'depth'"):
        registry.parse("stack12(depth=3)").kwargs()


def test_other_packages_offer_words_by_entry_points(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("far", f"{__name__}:stacked", "robustkd.tests")
    monkeypatch.setattr("robustkd.registry.entry_points", lambda group: [point] if group == "robustkd.tests" else [])
    assert "far" in list(registry)
    assert registry.parse("far(depth=2)").load() is stacked
    assert registry.parse("far(depth=2)").kwargs() == {"depth": 2}


def test_a_users_file_joins_the_tables(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("def smear(*, far: int = 1):\n    '''Smears.'''\n\nSCENARIOS = {'smear': smear}\n")
    load_plugin(str(file), {"SCENARIOS": registry})
    assert registry.parse("smear(far=3)").kwargs() == {"far": 3}
    assert registry["smear"].summary == "Smears."


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no such file"),
        ("1 / 0", "running it failed with ZeroDivisionError"),
        ("x = 1", "it defines none of the dictionaries"),
        ("SCENARIOS = {'blur': print}", "already exists"),
    ],
)
def test_a_users_file_that_cannot_join_is_refused(
    registry: Registry, tmp_path: Path, content: str | None, message: str
) -> None:
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UsageError, match=message):
        load_plugin(str(file), {"SCENARIOS": registry})
