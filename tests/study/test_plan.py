from dataclasses import replace

import pytest
import torch

from robustkd.study.construct import build_role_network
from robustkd.study.options import StudyOptions
from robustkd.study.plan import resolve_settings
from tests.helpers import make_source

FOREIGN = "torchvision:mobilenet_v3_small"


@pytest.fixture(autouse=True)
def processor_with_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})


@pytest.mark.parametrize(
    ("student", "teacher", "precision", "text"),
    [
        ("wrn_10_1", "wrn_10_2", "auto", "bf16"),
        ("wrn_10_1", FOREIGN, "auto", "bf16 (teachers fp32)"),
        (FOREIGN, "wrn_10_1", "auto", "fp32 (teachers bf16)"),
        (FOREIGN, FOREIGN, "auto", "fp32"),
        (FOREIGN, "wrn_10_1", "bf16", "bf16"),
        ("wrn_10_1", FOREIGN, "fp32", "fp32"),
    ],
)
def test_the_networks_of_each_role_have_their_own_precision(student, teacher, precision, text):
    options = StudyOptions(scenario="clean", student=student, teacher=teacher, precision=precision)
    settings = resolve_settings(options, "cpu", ((0.5,), (0.5,)), teacher_is_given=False)
    assert settings.precision == text
    for role, word in {"student": student, "teacher": teacher}.items():
        expected = precision == "bf16" or (precision == "auto" and word != FOREIGN)
        assert settings.bf16_of(role) == expected
    small = replace(settings, student="wrn_10_1", teacher="wrn_10_1")
    nets = {role: build_role_network(make_source(4), role, small) for role in ("student", "teacher")}
    assert {role: net.bf16 for role, net in nets.items()} == {role: settings.bf16_of(role) for role in nets}


def test_a_given_teacher_computes_as_the_students_do():
    options = StudyOptions(scenario="clean", student="wrn_10_1", teacher=FOREIGN)
    assert resolve_settings(options, "cpu", ((0.5,), (0.5,)), teacher_is_given=True).precision == "bf16"
