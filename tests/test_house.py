"""The counts that the project watches stay within their limits, and the tool that computes them finds what it should."""

import ast
from itertools import pairwise
from pathlib import Path

import pytest

from tools import house
from tools.house import Module

MODULES = house.load_modules(Path(__file__).parents[1])
MAX_REPEATED_NAMES = 40


def test_no_file_is_too_long() -> None:
    assert house.long_files(MODULES) == {}


def test_no_function_is_too_long() -> None:
    assert house.long_functions(MODULES) == {}


def test_few_names_are_defined_in_several_modules() -> None:
    assert len(names := house.repeated_names(MODULES)) <= MAX_REPEATED_NAMES, names


def test_no_metric_is_named_all_over_the_code() -> None:
    """Most code reads the table of metrics instead of naming them."""
    files = house.metric_files(MODULES, house.list_metrics())
    assert len(files) > 20
    assert sum(files.values()) <= 80, files


# --- what the tool finds ----------------------------------------------------------------------------------------------


def make_modules(**sources: str) -> dict[str, Module]:
    return {
        name: Module(name, Path(f"{name}.py"), ast.parse(text), len(text.splitlines()))
        for name, text in sources.items()
    }


def test_imports_in_functions_count_and_those_for_type_checkers_do_not() -> None:
    modules = make_modules(
        a="import b\nif TYPE_CHECKING:\n    import c\nelse:\n    import d",
        b="def f():\n    from c import name",
        c="import os",
        d="",
    )
    assert house.import_graph(modules) == {"a": {"b", "d"}, "b": {"c"}, "c": set(), "d": set()}
    assert house.list_imports(modules["a"].tree, modules, typing=True) == {"b", "c", "d"}


def test_every_cycle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    cycles = house.import_cycles(graph)
    assert sorted(sorted(set(cycle)) for cycle in cycles) == [["a", "b", "c"], ["d", "e"]]
    assert all(later in graph[earlier] for cycle in cycles for earlier, later in pairwise(cycle))
    assert house.import_cycles({"a": {"b"}, "b": set()}) == []


def test_names_of_hooks_may_be_repeated() -> None:
    modules = make_modules(a="def main(): ...\ndef load(): ...", b="def main(): ...\nclass load: ...", c="load = 1")
    assert house.repeated_names(modules) == {"load": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("MethodSpec.parse(text)", 1),
        ('split_at(text, "+")', 1),
        ('text.partition("+")', 1),
        ("METHODS.read(text)", 1),
        ('text.split(",")', 0),
        ("MODELS.parse(text)", 0),
    ],
)
def test_places_that_parse_a_method(text: str, count: int) -> None:
    assert len(house.parse_sites(make_modules(a=text))) == count


def test_long_functions_and_files() -> None:
    body = "    pass\n"
    modules = make_modules(a="def f():\n" + 40 * body + "def g():\n" + 39 * body, b="\n" * 401)
    assert house.long_functions(modules) == {"a.py:1 f": 41}
    assert house.long_files(modules) == {"b.py": 401}


def test_files_that_name_a_metric_are_counted_once() -> None:
    sources = {"robustkd.a": "'ece', 'ece'", "robustkd.b": "ece = 'nll'", "scenarios.c": "'brier'"}
    modules = make_modules(**sources)
    assert house.metric_files(modules, {"ece", "nll", "brier"}) == {"ece": 1, "nll": 1, "brier": 0}


def test_the_report_has_a_line_per_count() -> None:
    lines = house.describe_counts(MODULES).splitlines()
    assert [line.split(":")[0] for line in lines[1:]] == [
        "files over 400 lines",
        "functions over 40 lines",
        "import cycles",
        "names defined in several modules",
        "places that parse a method's text",
        "files that name a metric",
    ]
