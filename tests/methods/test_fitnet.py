"""fitnet: first a hint loss for the lower stages, L = 1/2 || r(v_g) - u_h ||^2; then Hinton's loss for the whole student."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustkd.criteria.ce import CE
from robustkd.errors import UsageError
from robustkd.method import Phase
from robustkd.methods import METHODS
from robustkd.methods.fitnet import FitNet
from robustkd.methods.hinton import Hinton
from robustkd.models.net import Frozen, Network, StagedNetwork
from robustkd.training.engine import fit
from robustkd.types import Output
from tests.helpers import (
    FIVE,
    LABELS,
    RECIPE,
    STUDENT,
    TEACHER,
    S,
    T,
    build_method,
    golden,
    make_batch,
    make_loader,
    small_view,
)

FITNET = METHODS.parse("fitnet")


class ConstantMaps(Network):
    """A network whose maps and logits are parameters."""

    def __init__(self, maps: Sequence[Tensor], logits: Tensor = S) -> None:
        super().__init__()
        self.maps = nn.ParameterList(maps)
        self.logits = nn.Parameter(logits.clone())

    def forward(self, images: Tensor) -> Output:
        return Output(self.logits, self.logits, tuple(self.maps))

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        for x in self.maps:
            yield 1 * x

    def replace_head(self, head: nn.Linear) -> None:
        raise NotImplementedError


def net(*stages: tuple[int, int], channels: int = 1) -> StagedNetwork:
    """Build a network of a stem and stages of (channels, stride) each."""
    parts, inside = [], 2
    for outside, stride in stages:
        parts.append(nn.Sequential(nn.Conv2d(inside, outside, 3, stride, padding=1), nn.BatchNorm2d(outside)))
        inside = outside
    return StagedNetwork(nn.Conv2d(channels, 2, 3, padding=1), parts, nn.Linear(inside, 5))


def fitnet(student: Network, teacher: Network, shape: tuple[int, int, int] = (1, 8, 8), **options: float) -> FitNet:
    return FitNet(student, Frozen(teacher), replace(FIVE, shape=shape), lambda: CE(FIVE), **options)


def hint(method: FitNet) -> Tensor:
    (objective,) = method.hint_step(make_batch())
    assert list(objective.terms) == ["hint"]
    return objective.loss


def test_hint_loss_by_hand():
    # Student 1..9 on 3x3, teacher 2x2, r sums 2x2 windows: 12, 16, 24, 28. The differences to 10, 16, 24, 32 are 2, 0, 0, -4:
    # (4 + 0 + 0 + 16) / 4 / 2 = 2.5
    student = torch.arange(1.0, 10).reshape(1, 1, 3, 3)
    teacher = torch.tensor([[[[10.0, 16], [24, 32]]]])
    method = fitnet(ConstantMaps([student] * 2), ConstantMaps([teacher] * 2), hint=1)
    with torch.no_grad():
        method.regressor.weight.fill_(1)
        method.regressor.bias.fill_(0)
    assert hint(method).item() == 2.5


def three(student: Tensor, teacher: Tensor) -> FitNet:
    """A method of two networks with three maps, of which the last is the hint."""
    return fitnet(*(ConstantMaps([torch.zeros(1, 1, 4, 4)] * 2 + [x]) for x in (student, teacher))).double()


def test_hint_loss_matches_a_loop():
    student, teacher = golden((2, 3, 4, 5), 0.37, 0.2), golden((2, 2, 2, 4), 0.53, 0.5)
    method = three(student, teacher)
    weight, bias = method.regressor.weight, method.regressor.bias
    assert weight.shape == (2, 3, 3, 2)  # 4 - 2 + 1 by 5 - 4 + 1
    total = 0.0
    for b in range(2):
        for c in range(2):
            for y in range(2):
                for x in range(4):
                    predicted = bias[c] + (weight[c] * student[b, :, y : y + 3, x : x + 2]).sum()
                    total += (predicted - teacher[b, c, y, x]).item() ** 2
    assert hint(method).item() == pytest.approx(total / 32 / 2, rel=1e-12)


def test_a_perfect_hint_has_zero_loss_and_gradient():
    student = golden((2, 3, 4, 4), 0.37, 0.2)
    method = three(student, torch.zeros(2, 2, 4, 4, dtype=torch.float64))
    with torch.no_grad():
        method.teacher.net.maps[2] += method.regressor(student)
    loss = hint(method)
    loss.backward()
    assert loss.item() == 0
    assert method.student.maps[2].grad.abs().max() == 0
    assert method.regressor.weight.grad.abs().max() == 0


def test_hint_loss_ignores_labels_and_repeated_samples():
    student, teacher = golden((2, 3, 4, 4), 0.37, 0.2), golden((2, 2, 4, 4), 0.53, 0.5)
    method, repeated = three(student, teacher), three(torch.cat([student] * 2), torch.cat([teacher] * 2))
    repeated.regressor = method.regressor
    assert hint(repeated).item() == pytest.approx(hint(method).item(), rel=1e-12)
    (other,) = method.hint_step(make_batch((LABELS + 1) % 5))
    assert other.loss.item() == hint(method).item()


def test_gradient_of_the_hint_loss():
    method = three(golden((1, 2, 3, 3), 0.37, 0.2), golden((1, 2, 2, 2), 0.53, 0.5))

    def loss(student: Tensor) -> Tensor:
        return (method.regressor(student) - method.teacher.net.maps[2]).square().mean() / 2

    (objective,) = method.hint_step(make_batch())
    assert objective.loss.item() == loss(method.student.maps[2]).item()
    objective.loss.backward()
    assert torch.autograd.gradcheck(loss, (method.student.maps[2],))
    (exact,) = torch.autograd.grad(loss(method.student.maps[2]), method.student.maps[2])
    assert torch.equal(method.student.maps[2].grad, exact)


def test_the_second_phase_is_hinton():
    maps = [torch.zeros(1, 1, 2, 2)] * 3
    ours = fitnet(ConstantMaps(maps), ConstantMaps(maps, T)).objective(make_batch()).terms
    theirs = Hinton(ConstantMaps(maps), Frozen(ConstantMaps(maps, T)), lambda: CE(FIVE)).objective(make_batch()).terms
    assert {name: term.item() for name, term in ours.items()} == {name: term.item() for name, term in theirs.items()}
    assert sum(ours.values()).item() == pytest.approx(1.2712183125, abs=1e-10)


@pytest.mark.parametrize(
    ("stages", "kernel"), [([(4, 1), (6, 1)], (5, 5)), ([(4, 1), (6, 2)], (1, 1)), ([(4, 2), (6, 1)], (1, 1))]
)
def test_the_regressor_matches_the_map_sizes(stages, kernel):
    method = fitnet(net(*stages), net((3, 1), (7, 2)))
    assert (method.regressor.in_channels, method.regressor.out_channels) == (6, 7)
    assert method.regressor.kernel_size == kernel
    images = torch.rand(4, 1, 8, 8)
    assert [objective.loss.shape for objective in method.hint_step(make_batch(images=images))] == [()]


def test_the_regressor_may_be_non_square():
    student, teacher = (ConstantMaps([torch.zeros(1, 1, *size)] * 2) for size in ((5, 3), (2, 3)))
    assert fitnet(student, teacher, hint=1).regressor.kernel_size == (4, 1)


@pytest.mark.parametrize(("shape", "size", "kernel"), [((8, 2), (4, 2), (1, 3)), ((2, 8), (2, 4), (3, 1))])
def test_a_larger_hint_is_pooled_to_the_size_of_the_guided_map(shape, size, kernel):
    student = ConstantMaps([torch.zeros(2, 1, 4, 4)] * 3)
    hint = torch.rand(2, 1, *shape)
    method = fitnet(student, ConstantMaps([torch.zeros(1, 1, 1, 1)] * 2 + [hint]))
    assert method.regressor.kernel_size == kernel
    (objective,) = method.hint_step(make_batch())
    pooled = hint.reshape(2, 1, size[0], shape[0] // size[0], size[1], shape[1] // size[1]).mean((3, 5))
    bias = method.regressor.bias.item()
    assert objective.loss.item() == pytest.approx(((bias - pooled) ** 2).mean().item() / 2, rel=1e-5)


@pytest.mark.parametrize("number", [2, 3, 9])
def test_a_hint_above_the_last_stage_is_rejected(number):
    small, large = net((4, 2)), net((4, 2), (6, 2), (6, 1))
    for student, teacher in ((small, large), (large, small)):
        with pytest.raises(UsageError, match=f"hint is {number} but should be at most 1, the number of stages"):
            fitnet(student, teacher, hint=number)
        method = fitnet(student, teacher, hint=1)  # the last stages are paired
        assert (method.guided, method.hint) == ((1, 3) if student is small else (3, 1))


def test_the_first_phase_leaves_everything_above_the_hint_unchanged():
    built = build_method(FITNET)
    before = {name: tensor.clone() for name, tensor in built.method.model.state_dict().items()}
    epochs = built.train(small_view(), epochs=1)
    assert next(epochs).phase == "hint"
    # Including buffers: changed running statistics would show that the upper stages were run.
    moved = {name for name, tensor in built.method.model.state_dict().items() if not torch.equal(tensor, before[name])}
    upper = {name for name in before if name.startswith(("stages.2", "neck", "head"))}
    fixed = {"mean", "std"}
    assert (STUDENT, TEACHER, built.method.hint) == ("wrn_10_1", "resnet8", 2)
    assert any("running_mean" in name for name in upper)
    assert moved == before.keys() - upper - fixed


def test_the_second_phase_updates_the_whole_student_but_not_the_regressor():
    built = build_method(FITNET)
    before, regressor = {}, None
    for epoch in built.train(small_view(), epochs=1):
        if epoch.phase == "hint":
            before = {name: tensor.clone() for name, tensor in built.method.student.state_dict().items()}
            regressor = built.method.regressor.weight.detach().clone()
    after = built.method.student.state_dict()
    assert {name for name in after if torch.equal(after[name], before[name])} == {"mean", "std"}
    assert torch.equal(built.method.regressor.weight, regressor)


def test_the_second_phase_has_a_new_optimiser_and_schedule(monkeypatch):
    built, seen = build_method(FITNET), []
    phases = built.method.phases()

    def watched(phase: Phase) -> Phase:
        def update(objective, optimiser):
            seen.append((phase.name, len(optimiser.state), optimiser.param_groups[0]["lr"]))
            phase.update(objective, optimiser)

        return replace(phase, update=update)

    monkeypatch.setattr(built.method, "phases", lambda: tuple(map(watched, phases)))
    recipe = replace(RECIPE, epochs=2, schedule="cosine", lr=0.1)
    assert [epoch.phase for epoch in fit(built.method, make_loader(small_view()), recipe)] == ["hint", "train", "train"]
    first = seen[[name for name, *_ in seen].index("train")]
    assert first == ("train", 0, 0.1)  # no momentum from the first phase, and the schedule from its start
    assert seen[0] == ("hint", 0, 0.1)
    assert seen[-1][1] > 0


def test_epochs_and_parameters_of_the_phases():
    method = build_method(FITNET).method
    names = {id(p): name for name, p in method.named_parameters(remove_duplicate=False) if not name.startswith("model")}
    first, second = method.phases()
    assert [(phase.name, phase.epochs) for phase in (first, second)] == [("hint", 0.2), ("train", None)]
    lower, whole = ({names[id(p)] for p in phase.parameters} for phase in (first, second))
    assert whole == {f"student.{name}" for name, _ in method.student.named_parameters()}
    upper = {name for name in whole if name.startswith(("student.stages.2", "student.neck", "student.head"))}
    assert lower == whole - upper | {"regressor.weight", "regressor.bias"}


@pytest.mark.parametrize("options", [{"alpha": 0.3}, {"temperature": 2.0}, {"alpha": 1.0, "temperature": 1.0}])
def test_the_second_phase_uses_the_hyperparameters_of_hinton(options: dict[str, float]):
    maps = [torch.zeros(1, 1, 2, 2)] * 3
    ours = fitnet(ConstantMaps(maps), ConstantMaps(maps, T), **options).objective(make_batch()).terms
    theirs = (
        Hinton(ConstantMaps(maps), Frozen(ConstantMaps(maps, T)), lambda: CE(FIVE), **options)
        .objective(make_batch())
        .terms
    )
    assert {name: term.item() for name, term in ours.items()} == {name: term.item() for name, term in theirs.items()}
    assert theirs["kd"].item() != pytest.approx(0.9 * 1.1528813057, rel=1e-3)


@pytest.mark.parametrize(("first", "epochs"), [(0.5, 5), (0.01, 1), (0.0, 0)])
def test_the_first_phase_has_at_least_one_epoch_unless_it_is_left_out(first: float, epochs: int):
    phase, _ = fitnet(net((4, 2), (6, 2)), net((4, 2), (6, 2)), first=first).phases()
    assert replace(RECIPE, epochs=10).phase_epochs(phase) == epochs


@pytest.mark.parametrize("student", [golden((1, 3, 4, 4), 0.37, 0.2), torch.zeros(2, 3, 4, 4).double()])
def test_degenerate_hints_have_finite_gradients(student: Tensor):
    method = three(student, torch.zeros(len(student), 2, 4, 4, dtype=torch.float64))
    hint(method).backward()
    assert method.student.maps[2].grad.isfinite().all()
    assert method.regressor.weight.grad.isfinite().all()
