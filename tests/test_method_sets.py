"""Sets of methods by one name, and lists in files."""

from pathlib import Path

import pytest

from robustkd.errors import UsageError
from robustkd.method_sets import SETS, expand_methods, expand_set, read_method_list
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS


@pytest.mark.parametrize("name", SETS)
def test_every_set_starts_with_the_baseline_and_can_be_built(name: str) -> None:
    methods = expand_set(name)
    assert methods[0] == "baseline"
    assert len({*methods}) == len(methods) > 1
    for method in methods:
        MethodSpec.parse(method).check()


def test_all_is_every_registered_method_and_every_one_is_in_another_set_or_alone() -> None:
    assert expand_set("all") == tuple(METHODS)
    elsewhere = {MethodSpec.parse(text).method.name for name in SETS[1:] for text in expand_set(name)}
    assert {*METHODS} - elsewhere == {"smooth", "dkd_resnet", "dkd_imagenet", "amkd_annealed"}


def test_distillation_contains_no_control_but_self_distillation() -> None:
    assert {*expand_set("kd")} & {*expand_set("controls")} == {"baseline", "self_kd"}
    assert not any(MethodSpec.parse(method).oracle for method in expand_set("kd"))
    assert {m for m in expand_set("controls") if MethodSpec.parse(m).oracle} == {
        *("clean_teacher", "oracle_clean", "oracle_subset")
    }


def test_methods_and_sets_are_mixed_and_named_once() -> None:
    methods = expand_methods("hinton(alpha=0.5, temperature=2),controls,longer,hinton")
    assert list(methods)[:2] == ["hinton(alpha=0.5, temperature=2)", "baseline"]
    assert len(methods) == len({*methods})
    assert methods["longer"], "a set also names it, but the user named it too"
    assert not methods["ensemble"]
    assert methods["hinton"]


def test_a_file_contains_a_list(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("- baseline\n- hinton(alpha=0.5)+balanced\n- controls\n", encoding="utf-8")
    assert read_method_list(str(path)) == "baseline,hinton(alpha=0.5)+balanced,controls"
    assert read_method_list("baseline,dml") == "baseline,dml"


@pytest.mark.parametrize("content", ["", "methods: [baseline]", "just text", "[]", "- ''"])
def test_a_file_without_a_list_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=r"mine\.yaml: this file should contain a list of methods"):
        read_method_list(str(path))


def test_a_missing_or_damaged_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_method_list(str(tmp_path / "none.yaml"))
    path = tmp_path / "mine.yml"
    path.write_text("- [", encoding="utf-8")
    with pytest.raises(UsageError, match="this is not YAML"):
        read_method_list(str(path))
