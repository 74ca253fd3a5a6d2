"""Attacks by name: error messages, users' attacks, and the versions of their code."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipelines import cli
from robustkd.errors import UsageError
from robustkd.evaluation import attack_specs
from robustkd.evaluation.attack_specs import UserAttack, attack_version, parse_attacks
from robustkd.evaluation.robustness import check_user_attacks
from tests.helpers import make_network, small_view

RUN = ["run", "--scenario", "clean", "--student", "resnet8", "--methods", "baseline", "--tracker", "files"]


@pytest.mark.parametrize(
    ("attacks", "message"),
    [
        ("pdg", r"no attack is called 'pdg' \(did you mean 'pgd'\?\); there are: MODULE:CALLABLE, fgsm, pgd"),
        ("fgsm,pdg50", r"no attack is called 'pdg50' \(did you mean 'pgd'\?\)"),
        ("pgd0", "attack 'pgd0': steps is 0 but should be greater than or equal to 1"),
        ("pgd2.5", "steps is 2.5 but should be a valid integer"),
        ("fgsm(eps=8)", "eps is 8 but should be less than or equal to 1"),
        ("fgsm(eps=-1/255)", "should be greater than or equal to 0"),
        ("fgsm(eps=8/0)", "eps is '8/0' but should be a valid number"),
        ("pgd(step=3)", r"no parameter 'step' \(did you mean 'steps'\?\); it has: steps, restarts, eps"),
        ("fgsm,,pgd", "there is nothing on one side of a ','"),
        (":attack", "named by MODULE:CALLABLE or FILE.py:CALLABLE, without values"),
        ("mine:attack(eps=1)", "named by MODULE:CALLABLE or FILE.py:CALLABLE, without values"),
        ("nowhere.to_be:found", "there is no module 'nowhere', neither installed nor in the current folder"),
        ("nowhere.py:attack", "there is no file nowhere.py"),
        ("mine:nothing", "--attack mine:nothing: 'mine' has no 'nothing'"),
        ("mine:atack", r"'mine' has no 'atack' \(did you mean 'attack'\?\)"),
        ("mine:EPS", "'EPS' of 'mine' is not a function"),
        ("broken:attack", "importing 'broken' failed with ZeroDivisionError: division by zero"),
        ("broken.py:attack", "importing 'broken.py' failed with ZeroDivisionError: division by zero"),
        ("needs:attack", "importing 'needs' failed with ModuleNotFoundError: No module named 'not_there'"),
        ("mine:raises", "running it failed with KeyError: 'oh dear'"),
        ("mine:returns_nothing", "it returns a NoneType instead of a tensor of images"),
        ("mine:logits", r"it returns images of shape \(2, 3\) for images of \(2, 1, 8, 8\)"),
        ("mine:infinite", "it returns images that are not finite"),
        ("mine:bright", r"it returns values from .* to .*, but images must be in \[0, 1\]"),
    ],
)
def test_each_mistake_has_an_error_message_in_one_line(attacks: str, message: str, user_modules: Path):
    with pytest.raises(UsageError, match=message) as error:
        check_user_attacks(make_network(), small_view(), attacks)
    assert "\n" not in str(error.value)


def test_a_users_function_gets_copies_and_rounding_errors_are_clipped():
    def overshoot(net: object, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        labels += 1
        return images.mul_(0).add_(1 + 5e-7)

    images, labels = torch.rand(2, 1, 8, 8), torch.tensor([0, 1])
    before = images.clone()
    perturbed = UserAttack("theirs:overshoot", overshoot).perturb(lambda x: x, images, labels, torch.Generator())
    assert torch.equal(images, before)
    assert labels.tolist() == [0, 1]
    assert torch.equal(perturbed, torch.ones_like(images))


def test_the_version_of_an_attack_depends_on_ours_and_on_the_users_code(
    user_modules: Path, monkeypatch: pytest.MonkeyPatch
):
    version = attack_version("mine.py:attack")
    assert attack_version("package/inner.py:attack") == version, "both files have the same text"
    assert attack_version("fgsm") == attack_version("pgd") != version
    assert attack_version("nowhere.py:attack") == attack_version("broken:attack") == ""
    monkeypatch.setattr(attack_specs, "ATTACKS_VERSION", 2)
    assert (attack_version("fgsm"), attack_version("mine.py:attack")) == ("2", f"2{version.removeprefix('1')}")


def test_neither_torch_nor_a_users_module_is_imported_by_parsing():
    code = "import sys; from robustkd.evaluation.attack_specs import *; parse_attacks('fgsm,pgd50,gone:attack'); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_pgd_takes_its_steps_from_its_name():
    assert parse_attacks("pgd50") == parse_attacks("pgd(steps=50)") != parse_attacks("pgd")


def test_a_misspelt_attack_is_refused_before_torch_is_loaded():
    code = f"""
import sys
from pipelines import cli
try:
    cli.main({[*RUN, "--attack", "pdg"]})
finally:
    print("torch" in sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (2, "False\n")
    assert result.stderr.startswith("robustkd: no attack is called 'pdg' (did you mean 'pgd'?)")


@pytest.mark.parametrize("attack", ["mine:nothing", "mine:logits"])
def test_an_attack_that_does_not_work_is_refused_before_training(
    attack: str, user_modules: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as end:
        cli.main([*RUN, "--attack", attack, "--out", str(user_modules / "out")])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"robustkd: --attack {attack}: ")
    assert not list(user_modules.glob("out/*"))
