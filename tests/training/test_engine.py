"""The training loop: updates, phases, the meter, resuming and divergence."""

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from robustkd.attacks.boundary import boundary_weights
from robustkd.method import Method, Phase
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.training.engine import DivergedError, Epoch, Meter, fit, seconds_per_step, total_epochs
from robustkd.training.recipe import Recipe
from robustkd.types import Batch, Clock, Objective
from tests.helpers import RECIPE, build_method, make_loader, reload_state, small_view, states_equal, toy_spec


class SquareLoss(Method):
    """A method with one parameter x and the loss x^2 / 2, whose gradient is x."""

    def __init__(self) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.clocks: list[tuple[str, int, int]] = []

    def objective(self, batch: Batch) -> Objective:
        self.clocks.append(("train", *batch.clock))
        return Objective({"square": self.x.square().sum() / 2})


def run(method: Method, recipe: Recipe, **options: object) -> list[Epoch]:
    return list(fit(method, make_loader(small_view()), recipe, **options))


# Phases and epochs


@pytest.mark.parametrize("word", ["baseline", "fitnet"])
def test_total_epochs_is_the_number_of_epochs_run(word):
    made = build_method(METHODS.parse(word))
    recipe = replace(RECIPE, epochs=2)
    numbers = [epoch.number for epoch in run(made.method, recipe, random=made.random)]
    assert numbers == list(range(1, total_epochs(made.method, recipe) + 1))


# The update


def test_sgd_by_hand():
    # lr 0.1, decay 0.5, no momentum: x <- x - 0.1 (x + 0.5 x) = 0.85 x, for two batches
    method = SquareLoss()
    (epoch,) = run(method, Recipe(1, 0.1, "constant", momentum=0, weight_decay=0.5))
    assert method.x.item() == pytest.approx(0.85**2)
    assert epoch.terms == {"square": pytest.approx((1 + 0.85**2) / 2 / 2)}  # the mean of the two losses x^2 / 2


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_that_of_a_plain_loop(nesterov):
    method, x, v = SquareLoss(), 1.0, 0.0
    run(method, Recipe(2, 0.1, "constant", momentum=0.9, nesterov=nesterov, weight_decay=0))
    for _ in range(4):
        gradient = x
        v = 0.9 * v + gradient
        x -= 0.1 * (gradient + 0.9 * v if nesterov else v)
    assert method.x.item() == pytest.approx(x)


def test_the_rate_is_set_before_every_batch():
    method, x = SquareLoss(), 1.0
    recipe = Recipe(2, 0.5, "cosine", warmup=0.25, momentum=0, weight_decay=0)
    run(method, recipe)
    for done in (0, 0.25, 0.5, 0.75):  # two epochs of two batches
        rate = 0.5 * done / 0.25 if done < 0.25 else 0.25 * (1 + math.cos(math.pi * (done - 0.25) / 0.75))
        x -= rate * x
    assert method.x.item() == pytest.approx(x)


def test_the_clock_counts_the_epochs_of_a_phase():
    method = SquareLoss()
    run(method, Recipe(3, 0.1))
    assert method.clocks == [("train", epoch, 3) for epoch in range(3) for _ in range(2)]


class TwoPhases(SquareLoss):
    """Two phases, each with a parameter of its own and a `begin`."""

    def __init__(self) -> None:
        super().__init__()
        self.y = nn.Parameter(torch.ones(1, dtype=torch.float64))
        self.begun: list[str] = []

    def both(self, batch: Batch) -> Iterator[Objective]:
        self.clocks.append(("both", *batch.clock))
        yield Objective({"both": self.x.square().sum() + self.y.square().sum()})

    def phases(self) -> tuple[Phase, ...]:
        return (
            Phase("first", self.both, [self.x], 0.5, lambda: self.begun.append("first")),
            Phase("second", self.both, [self.y], None, lambda: self.begun.append("second")),
        )


def test_a_phase_trains_its_own_parameters_and_begins_once():
    method, moved = TwoPhases(), []
    for epoch in fit(method, make_loader(small_view()), Recipe(2, 0.1, "constant")):
        moved.append((epoch.phase, epoch.number, method.x.item(), method.y.item()))
        assert method.begun == ["first", "second"][: 1 + (epoch.phase == "second")]
    assert [(phase, number) for phase, number, *_ in moved] == [("first", 1), ("second", 2), ("second", 3)]
    assert moved[0][3] == 1
    assert moved[0][2] == moved[1][2] == moved[2][2] < 1
    assert 1 > moved[1][3] > moved[2][3]
    assert method.clocks == [("both", 0, 1)] * 2 + [("both", 0, 2)] * 2 + [("both", 1, 2)] * 2


def test_every_epoch_of_all_phases_has_an_order_of_its_own():
    method, seen = TwoPhases(), []
    original = method.both
    method.both = lambda batch: (seen.append(batch.index.tolist()), original(batch))[1]
    run(method, Recipe(2, 0.1))
    loader = make_loader(small_view())
    assert seen == [batch.index.tolist() for number in range(3) for batch in loader.iter_epoch(number, Clock(0, 1))]
    assert len(set(map(tuple, seen))) == 6


def test_a_phase_may_define_its_own_update():
    method, calls = SquareLoss(), []
    phase = replace(method.phases()[0], update=lambda objective, optimiser: calls.append(objective.loss.item()))
    method.phases = lambda: (phase,)
    run(method, Recipe(1, 0.1))
    assert calls == [0.5, 0.5]
    assert method.x.item() == 1


class WithNote(Baseline):
    """Logs a value that it does not minimise."""

    def objective(self, batch: Batch) -> Objective:
        assert self.training
        plain = super().objective(batch)
        heavy = 1000 * torch.stack([p.square().sum() for p in self.parameters()]).sum()
        return Objective(plain.terms, {"weight": heavy})


def test_notes_are_logged_and_not_minimised():
    noted, plain = build_method(toy_spec("method", WithNote)), build_method(METHODS.parse("baseline"))
    (epoch,), (other,) = run(noted.method, RECIPE), run(plain.method, RECIPE)
    assert epoch.terms.keys() == {"ce", "weight"}
    assert epoch.terms["ce"] == other.terms["ce"]
    assert epoch.terms["weight"] > 1000
    assert states_equal(noted.method.state_dict(), plain.method.state_dict())


def test_a_method_is_in_evaluation_mode_between_epochs():
    made = build_method(METHODS.parse("baseline"))
    for _ in fit(made.method, make_loader(small_view()), replace(RECIPE, epochs=2)):
        assert not any(part.training for part in made.method.modules())


def test_seconds_per_step_is_the_median_without_the_first_step(monkeypatch: pytest.MonkeyPatch):
    method, times = SquareLoss(), iter([0.0, 10.0, 11.0, 13.0, 17.0])  # steps of 10, 1, 2 and 4 seconds
    monkeypatch.setattr("robustkd.training.engine.time.perf_counter", lambda: next(times))
    assert seconds_per_step(method, method.phases()[0], make_loader(small_view(), 3), Recipe(lr=0.1), 3) == 2
    assert len(method.clocks) == 4
    assert {*method.clocks} == {("train", 5, 10)}, "past a warm-up"


def test_the_timed_steps_include_boundary_samples():
    # Their weight is zero in the last quarter of a run.
    assert boundary_weights(Clock(5, 10))[1] > 0


# The meter


def objective(**terms: float) -> Objective:
    return Objective({name: torch.tensor(value, requires_grad=True) for name, value in terms.items()})


def test_the_meter_averages_each_term_over_its_occurrences():
    meter = Meter()
    meter.add(objective(a=1.0, b=10.0))
    meter.add(objective(a=2.0))
    meter.add(Objective(objective(a=6.0).terms, {"share": torch.tensor(3)}))
    assert meter.means() == {"a": 3, "b": 10, "share": 3}


def test_the_meter_keeps_no_graph():
    meter = Meter()
    meter.add(objective(a=1.0))
    assert not any(value.requires_grad for value in meter.sums.values())


# Resuming and reproducibility


@pytest.mark.parametrize("word", ["baseline", "dml", "fitnet"])
def test_a_resumed_run_has_equal_weights(word):
    def train(state: object = None, seed: int = 0) -> tuple[list[Epoch], list[dict], dict]:
        made, states, epochs = build_method(METHODS.parse(word), seed=seed), [], []
        loader = make_loader(small_view(), augment=True)
        for epoch in fit(made.method, loader, Recipe(3, 0.05, "cosine", warmup=0.2), random=made.random, state=state):
            epochs.append(epoch)
            states.append(reload_state(epoch.state()))
        return epochs, states, made.method.state_dict()

    epochs, states, final = train()
    middle = len(states) // 2
    later, after, resumed = train(states[middle - 1], seed=1)
    assert states_equal(resumed, final)
    assert [(e.phase, e.number, e.terms) for e in later] == [(e.phase, e.number, e.terms) for e in epochs[middle:]]
    assert all(states_equal(one["method"], other["method"]) for one, other in zip(after, states[middle:], strict=True))


def test_a_phase_that_has_begun_does_not_begin_again():
    states = [reload_state(epoch.state()) for epoch in fit(TwoPhases(), make_loader(small_view()), Recipe(2, 0.1))]
    begun = []
    for state in states:
        method = TwoPhases()
        run(method, Recipe(2, 0.1), state=state)
        begun.append(method.begun)
    assert begun == [["second"], [], []]


class RandomLoss(SquareLoss):
    """Draws from the method's own generator."""

    def __init__(self, random: torch.Generator) -> None:
        super().__init__()
        self.random = random

    def objective(self, batch: Batch) -> Objective:
        return Objective({"drawn": (self.x * torch.rand(1, generator=self.random)).square().sum()})


def test_the_methods_generator_is_part_of_the_state():
    def train(seed: int, state: object = None) -> tuple[float, list]:
        random = torch.Generator().manual_seed(seed)
        method = RandomLoss(random)
        states = [
            reload_state(e.state())
            for e in fit(method, make_loader(small_view()), Recipe(3, 0.1), random=random, state=state)
        ]
        return method.x.item(), states

    final, states = train(0)
    assert train(1, states[0])[0] == final
    assert train(1)[0] != final


def test_training_is_reproducible_bit_for_bit():
    def train() -> tuple[list[dict[str, float]], dict]:
        made = build_method(METHODS.parse("hinton"))
        epochs = list(fit(made.method, make_loader(small_view(), augment=True), Recipe(2, 0.1), random=made.random))
        return [epoch.terms for epoch in epochs], made.method.state_dict()

    (terms, one), (again, other) = train(), train()
    assert terms == again
    assert states_equal(one, other)


# Divergence


class Diverging(TwoPhases):
    """A term is not finite in the second epoch of the second phase."""

    def both(self, batch: Batch) -> Iterator[Objective]:
        offset = float("nan") if batch.clock.epochs == 2 and batch.clock.epoch == 1 else 0.0
        yield Objective({"fine": self.y.sum() + self.x.sum(), "bad": self.y.sum() + offset})


def test_divergence_is_reported_with_term_phase_and_epoch():
    epochs = fit(Diverging(), make_loader(small_view()), Recipe(2, 0.1))
    assert [next(epochs).phase for _ in range(2)] == ["first", "second"]
    with pytest.raises(DivergedError, match="the term 'bad' is nan in phase 'second', epoch 2"):
        next(epochs)


def test_divergence_by_a_large_learning_rate_is_reported():
    with pytest.raises(
        DivergedError, match=r"the term 'square' is (inf|nan) in phase 'train', epoch \d+: a smaller --lr"
    ):
        run(SquareLoss(), Recipe(300, 1e3, "constant"))


def test_batch_statistics_that_are_not_finite_are_reported():
    made = build_method(METHODS.parse("baseline"))
    epochs = fit(made.method, make_loader(small_view()), Recipe(2, 0.01))
    next(epochs)
    statistics = next(buffer for name, buffer in made.method.model.named_buffers() if name.endswith("running_var"))
    statistics.fill_(math.inf)  # only in training mode, in which they are not used
    with pytest.raises(DivergedError, match="weights are not finite in phase 'train', epoch 2"):
        next(epochs)


def test_an_infinite_note_is_reported():
    method = SquareLoss()
    original = method.objective
    method.objective = lambda batch: Objective(original(batch).terms, {"ratio": torch.tensor(math.inf)})
    with pytest.raises(DivergedError, match="'ratio' is inf"):
        run(method, Recipe(1, 0.1))


def test_an_objective_is_the_sum_of_its_terms():
    three = Objective({"a": torch.tensor(1.0), "b": torch.tensor(2.5)}, {"note": torch.tensor(100.0)})
    assert isinstance(three.loss, Tensor)
    assert three.loss.item() == 3.5


class Dropping(SquareLoss):
    """Draws from the global generator, as networks with dropout do."""

    def objective(self, batch: Batch) -> Objective:
        return Objective({"square": (self.x * nn.functional.dropout(torch.ones(8))).square().mean()})


def test_what_networks_draw_depends_on_the_epoch_and_not_on_the_process():
    def states(stand, state=None):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stand)  # wherever the process stands
            epochs = fit(
                Dropping(), make_loader(small_view()), Recipe(epochs=3, lr=0.1, schedule="constant"), state=state
            )
            return [reload_state(epoch.state()) for epoch in epochs]

    first, second, third = states(1)
    assert states_equal(states(2)[-1]["method"], third["method"])
    resumed = states(3, first)
    assert states_equal(resumed[0]["method"], second["method"])
    assert states_equal(resumed[1]["method"], third["method"])
    x = [float(state["method"]["x"]) for state in (first, second, third)]
    assert x[1] / x[0] != pytest.approx(x[2] / x[1]), "each epoch has draws of its own"
