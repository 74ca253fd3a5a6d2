"""Records of machines: what differs between two, and what is said when a run continues on another."""

import pytest

from robustkd.study.machine import Machine, continue_on, machine_differences


def make_machine(**values: object) -> Machine:
    fields = {"torch": "2.9", "device": "a processor", "instructions": "AVX2", "threads": 1, "precision": "fp32"}
    return Machine.model_validate({**fields, "flags": {"cudnn.benchmark": "True"}, **values})


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({}, []),
        ({"threads": 2}, ["threads 1 and 2"]),
        ({"torch": "2.8", "precision": "bf16"}, ["torch 2.9 and 2.8", "precision fp32 and bf16"]),
        ({"flags": {"cudnn.benchmark": "False"}}, ["cudnn.benchmark True and False"]),
        ({"flags": {}}, ["cudnn.benchmark True and None"]),
    ],
)
def test_what_differs_is_named(changes: dict[str, object], difference: list[str]) -> None:
    assert make_machine().differences(make_machine(**changes)) == difference


def test_the_differences_of_several_are_named_once() -> None:
    machines = [make_machine(), make_machine(threads=2), make_machine(threads=2), make_machine(instructions="AVX512")]
    assert machine_differences(machines) == "threads 1 and 2, instructions AVX2 and AVX512"
    assert machine_differences([make_machine(), make_machine()]) == machine_differences([]) == ""


def test_a_run_that_continues_elsewhere_lists_both_machines_and_says_so() -> None:
    here, there = make_machine(), make_machine(threads=4)
    assert continue_on([], here) == ([here], "")
    assert continue_on([here], here) == ([here], "")
    machines, note = continue_on([here], there)
    assert machines == [here, there]
    assert "threads 1 and 4" in note
    assert continue_on([here, there], there) == ([here, there], "")


def test_a_machine_comes_back_from_json() -> None:
    assert Machine.model_validate_json(make_machine().model_dump_json()) == make_machine()
