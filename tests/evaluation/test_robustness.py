"""Attacks against a plain loop and hand numbers, and the sanity checks that tell a weak attack from a robust net."""

import copy
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import large_view, make_loader, make_network, make_teacher, small_view
from torch import Tensor, nn

from pipelines import cli
from robustkd.attacks import gradient
from robustkd.attacks.gradient import gradient_sign
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.evaluation import robustness
from robustkd.evaluation.robustness import evaluate_attacks
from robustkd.models.net import Network
from robustkd.types import Output

CPU = torch.device("cpu")


def random() -> torch.Generator:
    return torch.Generator().manual_seed(3)


class Plain(Network):
    """Any module that maps images to logits, as a network of ours."""

    def __init__(self, inner: nn.Module, **options: Any) -> None:
        super().__init__(**options)
        self.inner = inner

    def forward(self, images: Tensor) -> Output:
        with self.autocast(images):
            logits = self.inner(self.normalise(images))
        return Output(logits.float(), images.flatten(1), ())

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        yield from ()

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError


def linear(weight: Tensor, bias: Tensor | None = None, scale: float = 1.0) -> Plain:
    inner = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        inner.weight.copy_(scale * weight)
        inner.bias.copy_(torch.zeros(len(weight)) if bias is None else scale * bias)
    return Plain(nn.Sequential(nn.Flatten(), inner))


def asked(net: Network) -> Callable[[Tensor], Tensor]:
    return lambda images: net(images).logits


@cache
def attacked(spec: str) -> float:
    """What is left of the accuracy of a trained toy."""
    (figures,) = evaluate_attacks(make_teacher().net, make_loader(large_view(), 60), spec).values()
    return float(figures["accuracy"])


# --- the attacks -----------------------------------------------------------------------------------------------------


def test_accuracy_falls_as_eps_grows_and_to_nothing_when_anything_is_allowed():
    said = make_teacher()(torch.from_numpy(large_view().images() / np.float32(255))).logits.argmax(dim=1)
    clean = float(np.mean(said.numpy() == large_view().labels))
    assert clean > 0.9
    walked = [attacked(f"pgd(eps={eps})") for eps in (0, "8/255", "16/255", "32/255", "64/255", 0.5, 1)]
    assert walked[0] == pytest.approx(clean)
    assert walked == sorted(walked, reverse=True)
    assert walked[-2] < 0.05
    assert attacked("fgsm(eps=0)") == pytest.approx(clean)
    assert attacked("fgsm(eps=64/255)") < clean


@pytest.mark.parametrize("eps", ["16/255", "32/255", "48/255", "64/255"])
def test_many_steps_and_restarts_find_no_less_than_few(eps: str):
    one, twenty, more = (attacked(f"{attack}eps={eps})") for attack in ("fgsm(", "pgd(", "pgd(20, 3, "))
    assert more <= twenty <= one


def test_a_net_that_is_sure_of_itself_hides_nothing():
    """Cross entropy is 0, and so is its slope, where logits lie 1,000 apart: an attack by it would stand still."""
    W = torch.zeros(2, 64)
    W[0, 3], W[1, 30] = 1, 1
    labels = np.arange(20) % 2
    images = np.full((20, 1, 8, 8), 100, np.uint8)
    images.reshape(20, 64)[labels == 0, 3] = images.reshape(20, 64)[labels == 1, 30] = 104
    loader = Loader(View.of(Source("dots", images, labels, ("a", "b"))), 20, CPU, augment=False)
    for scale in (1.0, 1e5):
        figures = evaluate_attacks(linear(W, scale=scale), loader, "fgsm(eps=0),fgsm(eps=4/255),pgd(eps=4/255)")
        assert [f["accuracy"] for f in figures.values()] == [1, 0, 0]


def test_half_precision_hides_nothing():
    # The same weights, attacked in float32 either way: bfloat16 would round slopes and verdicts.
    loader, half = make_loader(large_view(), 60), make_teacher(bf16=True).net
    assert half.bf16
    spec = "fgsm(eps=32/255),pgd(eps=32/255)"
    assert evaluate_attacks(half, loader, spec) == evaluate_attacks(make_teacher().net, loader, spec)
    assert half.bf16


# --- the figures -----------------------------------------------------------------------------------------------------


def test_figures_are_of_each_radius_and_class():
    loader = make_loader(large_view(), 60)
    figures = evaluate_attacks(make_teacher().net, loader, "fgsm,pgd,pgd20,pgd5,pgd(steps=2, restarts=2, eps=0.5/255)")
    assert list(figures) == [
        *("fgsm 8/255", "fgsm 2/255", "pgd20 8/255", "pgd20 2/255", "pgd5 8/255", "pgd5 2/255", "pgd2x2 0.5/255")
    ]
    for each in figures.values():
        assert set(each) == {"accuracy", "balanced_accuracy", "recall"}
        assert list(each["recall"]) == ["left", "middle", "right"]
        assert each["balanced_accuracy"] == pytest.approx(np.mean(list(each["recall"].values())))


def test_a_class_without_rows_has_no_recall():
    view = large_view().take(np.flatnonzero(large_view().labels != 1))
    figures = evaluate_attacks(make_teacher().net, make_loader(view, 16), "fgsm(eps=48/255)")["fgsm 48/255"]
    left, right = figures["recall"]["left"], figures["recall"]["right"]
    assert figures["recall"]["middle"] is None
    assert figures["balanced_accuracy"] == pytest.approx((left + right) / 2)
    assert figures["accuracy"] == pytest.approx((left + right) / 2)  # both are as large


def test_the_net_is_left_as_it_was_and_results_repeat(monkeypatch: pytest.MonkeyPatch):
    net = make_network("resnet8").train()
    net.head.requires_grad_(False)
    before, learning = copy.deepcopy(net.state_dict()), [p.requires_grad for p in net.parameters()]
    net.stem.eval()
    modes, state = [part.training for part in net.modules()], torch.get_rng_state()
    first = evaluate_attacks(net, make_loader(small_view(), 6), "fgsm,pgd3")
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    monkeypatch.setattr(robustness, "MAX_PIXELS", 64)
    monkeypatch.setattr(robustness, "MIN_BATCH", 12)  # and whole batches at a time make no difference
    assert evaluate_attacks(net, make_loader(small_view(), 6), "fgsm,pgd3") == first
    assert all(torch.equal(net.state_dict()[name], before[name]) for name in before)
    assert [part.training for part in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == learning
    assert all(p.grad is None for p in net.parameters())
    assert torch.is_grad_enabled()


def test_large_sets_of_images_are_attacked_in_pieces(monkeypatch: pytest.MonkeyPatch):
    sizes: list[int] = []
    whole = evaluate_attacks(make_teacher().net, make_loader(large_view(), 60), "fgsm")
    monkeypatch.setattr(robustness, "MAX_PIXELS", 1)
    monkeypatch.setattr(robustness, "MIN_BATCH", 7)
    monkeypatch.setattr(gradient, "gradient_sign", lambda *all_: (sizes.append(len(all_[1])), gradient_sign(*all_))[1])
    assert evaluate_attacks(make_teacher().net, make_loader(large_view(), 60), "fgsm") == whole
    assert sizes == 2 * [7, 7, 7, 7, 7, 7, 7, 7, 4]


# --- words, and attacks of one's own ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "sentence"),
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
        ("mine:nothing_at_all", "it returns a NoneType instead of a tensor of images"),
        ("mine:logits", r"it returns images of shape \(2, 3\) for images of \(2, 1, 8, 8\)"),
        ("mine:endless", "it returns images that are not finite"),
        ("mine:bright", r"it returns values from .* to .*, but images must be in \[0, 1\]"),
    ],
)
def test_each_wrong_word_has_its_sentence(spec: str, sentence: str, mine: Path):
    with pytest.raises(UsageError, match=sentence) as error:
        robustness.check_user_attacks(make_network(), small_view(), spec)
    assert "\n" not in str(error.value)


MINE = """
EPS = 0.25

def attack(net, images, labels):
    assert not net.training
    assert net(images).shape == (len(labels), 3)
    images += 0.1 * (images < 0.5)  # in place, and of one image more
    images[0] += 0.15 * (images[0] < 0.5)
    net.train()
    net(images)  # and so other statistics, in what it was handed
    for parameter in net.parameters():
        parameter.data += 1
    return images

def noisy(net, images, labels):
    import torch
    return torch.rand_like(images)

def raises(net, images, labels):
    raise KeyError("oh dear")

def nothing_at_all(net, images, labels):
    pass

def logits(net, images, labels):
    return net(images)

def endless(net, images, labels):
    return images / 0

def bright(net, images, labels):
    return images + 1
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the user's modules, from which commands are given."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    (tmp_path / "needs.py").write_text("import not_there\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "inner.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    assert sys.path == path
    for name in set(sys.modules) - modules:
        if name.split(".")[0] in ("mine", "package") or name.startswith("robustkd_user_"):
            del sys.modules[name]


@pytest.mark.parametrize("word", ["mine:attack", "package.inner:attack", "package/inner.py:attack"])
def test_an_attack_of_ones_own_is_measured_beside_its_largest_change(word: str, mine: Path):
    loader, net = make_loader(small_view(), 6), make_teacher().net
    state = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        figures = evaluate_attacks(net, loader, f"fgsm,{word}")[word]
    assert all(torch.equal(net.state_dict()[name], state[name]) for name in state)
    loader = make_loader(small_view(), 12)
    ((images, labels),) = loader.iter_plain()
    there = images + 0.1 * (images < 0.5)
    there[0] += 0.15 * (there[0] < 0.5)
    net.eval()
    assert figures["accuracy"] == pytest.approx((net(there).logits.argmax(1) == labels).float().mean().item())
    assert figures["largest_linf"] == pytest.approx(0.25)
    assert figures["largest_l2"] == pytest.approx((there - images).flatten(1).norm(dim=1).max().item(), rel=1e-5)


def test_an_attack_of_ones_own_draws_the_same_each_time(mine: Path):
    first = evaluate_attacks(make_teacher().net, make_loader(small_view(), 12), "mine:noisy")
    torch.rand(3)
    assert evaluate_attacks(make_teacher().net, make_loader(small_view(), 12), "mine:noisy") == first


RUN = ["run", "--scenario", "clean", "--student", "resnet8", "--methods", "baseline", "--tracker", "files"]


def test_a_misspelt_attack_is_refused_before_torch_is_loaded():
    code = f"""
import sys
from pipelines import cli
try:
    cli.main({[*RUN, "--attack", "pdg"]})
finally:
    print("torch" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert done.stderr.startswith("robustkd: no attack is called 'pdg' (did you mean 'pgd'?)")


@pytest.mark.parametrize("word", ["mine:nothing", "mine:logits"])
def test_an_attack_that_cannot_work_is_refused_before_anything_is_trained(
    word: str, mine: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit) as end:
        cli.main([*RUN, "--attack", word, "--out", str(mine / "out")])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith(f"robustkd: --attack {word}: ")
    assert not list(mine.glob("out/*"))
