"""What every method keeps to, asked of each entry of METHODS; and for each contract a broken method that it rejects.

A contract is a function of a word. A method that is listed is under all of them.
"""

import inspect
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers import (
    SHAPE,
    BuiltMethod,
    build_method,
    large_view,
    make_loader,
    make_network,
    make_plan,
    make_source,
    reload_state,
    small_view,
    states_equal,
    toy_spec,
)
from torch import Tensor, nn

from robustkd import types
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.data.loader import Loader
from robustkd.data.view import View
from robustkd.method import Distiller, Method, Phase
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.methods.dml import DML
from robustkd.methods.hinton import Hinton
from robustkd.models.net import Frozen, Network
from robustkd.specs import Spec
from robustkd.study import plan as study
from robustkd.study import run
from robustkd.training.build import INGREDIENTS
from robustkd.types import Batch, DatasetInfo, Objective, Output

Criteria = Callable[[], Criterion]


# Hyperparameters and ingredients


def hyperparameters_have_types_and_defaults(word: Spec) -> None:
    target = word.load()
    hints = get_type_hints(target.__init__, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), f"{name} takes what it is given"
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert name in hints, f"{name} has no type"
            assert parameter.default is not parameter.empty, f"{name} has no default"
            assert types.validate(name, hints[name], parameter.default) == parameter.default


class Undecided(Baseline):
    def __init__(self, student: Network, criterion: Criteria, *, weight: float) -> None:
        super().__init__(student, criterion)


def ingredients_are_known(word: Spec) -> None:
    for name, parameter in inspect.signature(word.load()).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            assert name in INGREDIENTS, f"{name} is no ingredient"
            assert parameter.default is parameter.empty, f"the ingredient {name} has a default"


class Stranger(Baseline):
    def __init__(self, pupil: Network, criterion: Criteria) -> None:
        super().__init__(pupil, criterion)


def it_ships_a_net_that_learns(word: Spec) -> None:
    method = build_method(word).method
    assert isinstance(method.model, Network)
    ours, moved = set(method.parameters()), {p for phase in method.phases() for p in phase.parameters}
    assert set(method.model.parameters()) <= ours & moved, "what is shipped does not learn"
    assert method.model(torch.rand(2, *SHAPE)).logits.shape == (2, 3)


class Impostor(Distiller):
    """Trains a student and ships the teacher."""

    def __init__(self, student: Network, teacher: Frozen, criterion: Criteria) -> None:
        super().__init__(student, teacher, criterion)
        del self.model
        self.__dict__["model"] = teacher.net

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        return {}


def what_is_measured_beside_it_answers_like_the_model(word: Spec) -> None:
    made = build_method(word)
    made.train_fully(small_view())
    made.method.eval()
    before = reload_state(made.method.state_dict())
    with torch.no_grad():
        images = torch.rand(5, *SHAPE)
        whole = made.method.auxiliary_logits(images)
        again = [made.method.auxiliary_logits(part) for part in (images[:2], images[2:])]
    for name, logits in whole.items():
        assert logits.shape == (5, 3), f"{name} is no answer of three classes"
        parts = torch.cat([part[name] for part in again])
        assert torch.allclose(parts, logits, atol=1e-4), f"{name} hangs on what else is asked"
    assert states_equal(made.method.state_dict(), before), "being measured changes the method"


class Crowded(Baseline):
    """Measures an answer that goes by the other images."""

    def auxiliary_logits(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.model(images).logits
        return {"centred": logits - logits.mean(dim=0)}


# The loss and its gradient


def terms_are_finite_scalars(word: Spec, **options: Any) -> None:
    made = build_method(word, **options)
    for phase, optimiser, batch in made.iter_batches(small_view()):
        for objective in phase.step(batch):
            assert objective.terms, f"nothing is minimised in {phase.name}"
            for name, value in {**objective.terms, **objective.notes}.items():
                assert value.shape == (), f"{name} is no scalar"
                assert value.isfinite(), f"{name} is {value}"
            assert all(value.dtype is torch.float32 for value in objective.terms.values()), "a term is not in float32"
            assert objective.loss.requires_grad
            phase.update(objective, optimiser)
    assert all(p.isfinite().all() for p in made.method.parameters())


class PerSample(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch)})


def losses_are_in_float32_when_nets_are_not(word: Spec) -> None:
    terms_are_finite_scalars(word, half=True)


class Coarse(Hinton):
    """Computes its loss in bfloat16 where the nets do."""

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.student.bf16):
            return {"kd": (student.logits.T @ teacher.logits).square().mean()}


def everything_that_learns_is_reached(word: Spec) -> None:
    made = build_method(word)
    learning = {id(p): name for name, p in made.method.named_parameters() if p.requires_grad}
    reached: set[int] = set()
    for phase, optimiser, batch in made.iter_batches(small_view()):
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
            reached |= {id(p) for p in phase.parameters if p.grad is not None and p.grad.any()}
    assert learning
    assert not learning.keys() - reached, f"no gradient reaches {[learning[i] for i in learning.keys() - reached]}"


class Idle(Baseline):
    def __init__(self, student: Network, criterion: Criteria) -> None:
        super().__init__(student, criterion)
        self.adapter = nn.Linear(3, 3)


def leaves(loss: Tensor) -> list[Tensor]:
    """Every tensor that a loss accumulates a gradient into."""
    seen: set[Any] = set()
    stack, found = [loss.grad_fn], []
    while stack:
        node = stack.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.append(node.variable)
        stack += [before for before, _ in node.next_functions]
    return found


def every_leaf_of_the_loss_is_moved(word: Spec) -> None:
    made = build_method(word)
    for phase, optimiser, batch in made.iter_batches(small_view()):
        moved = {id(p) for p in phase.parameters}
        for objective in phase.step(batch):
            found = leaves(objective.loss)
            assert found
            stray = [tuple(leaf.shape) for leaf in found if id(leaf) not in moved]
            assert not stray, f"{phase.name} does not move leaves of shape {stray}"
            phase.update(objective, optimiser)


class Hoarder(Baseline):
    """Keeps an adapter where nobody finds it, as a known toolkit did."""

    def __init__(self, student: Network, criterion: Criteria) -> None:
        super().__init__(student, criterion)
        self.adapters = [nn.Linear(3, 3)]

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.adapters[0](self.model(batch.images).logits), batch).mean()})


def a_tail_of_one_or_two_does_not_break_it(word: Spec) -> None:
    # On 8x8 images the last map is 2x2: batch norm over one of 1x1 is refused by torch itself, whatever the method.
    rows = small_view().take(np.arange(3))
    made = build_method(word, view=rows)
    for size in (1, 2):
        for phase, optimiser, batch in made.iter_batches(rows, size):
            for objective in phase.step(batch):
                assert objective.loss.isfinite(), f"with {len(batch.labels)} samples the loss is {objective.loss}"
                phase.update(objective, optimiser)
    assert all(p.isfinite().all() for p in made.method.parameters())


class Sociable(Baseline):
    """Divides by what a sample alone does not have: another."""

    def objective(self, batch: Batch) -> Objective:
        logits = self.model(batch.images).logits
        return Objective({"spread": (logits - logits.mean(dim=0)).square().sum() / (len(logits) - 1)})


# What it leaves alone


def the_teacher_stays_as_it_is(word: Spec) -> None:
    made = build_method(word)
    net, digest = made.teacher.net, made.teacher.digest
    made.train_fully(small_view())
    assert not any(part.training for part in net.modules()), "the teacher is in training mode"
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters()), "the teacher is given gradients"
    assert Frozen(net).digest == digest, "the teacher has changed"


class Waking(Hinton):
    """Wakes the teacher for each batch: its running statistics move."""

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        lively = self.teacher.net.train()(batch.images)
        self.teacher.net.eval()
        return super().transfer(student, lively, batch)


def modes_do_not_leak(word: Spec) -> None:
    def now() -> tuple[bool, bool, bool]:
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()

    made, seen = build_method(word), set()
    for phase, optimiser, batch in made.iter_batches(small_view()):
        for objective in phase.step(batch):
            seen.add(now())
            with torch.enable_grad():  # so that who leaks gets to the end, and takes the leak back
                phase.update(objective, optimiser)
        seen.add(now())
        assert made.method.training
    assert seen == {(True, False, False)}, "a step leaves its mode with the caller"


class Leaking(Baseline):
    def step(self, batch: Batch) -> Iterator[Objective]:
        objective = self.objective(batch)
        with torch.no_grad():
            yield objective


def the_global_generators_are_left_alone(word: Spec) -> None:
    def now() -> tuple[bytes, str, object]:
        return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), random.getstate()

    before = now()
    build_method(word).train_fully(small_view())
    assert now() == before, "a global generator was drawn from"


class Gambler(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return super().objective(replace(batch, images=batch.images + 0.1 * torch.rand_like(batch.images)))


# Once and again


def the_same_seed_gives_the_same_weights(word: Spec) -> None:
    one, again, other = (build_method(word, seed=seed).train_fully(small_view()) for seed in (0, 0, 1))
    assert states_equal(one, again), "one seed, two results"
    assert not states_equal(one, other)


class Moody(Baseline):
    def objective(self, batch: Batch) -> Objective:
        mood = torch.Generator()
        mood.seed()
        return super().objective(replace(batch, images=batch.images + torch.rand(batch.images.shape, generator=mood)))


def phases_may_be_asked_for_twice(word: Spec) -> None:
    def told(phases: tuple[Phase, ...]) -> list[tuple[str, float | None, list[int]]]:
        return [(phase.name, phase.epochs, [id(p) for p in phase.parameters]) for phase in phases]

    method = (made := build_method(word)).method
    asked = [method.phases()]  # kept, so that no id is given away twice
    before = reload_state(method.state_dict())
    asked.append(method.phases())
    assert states_equal(method.state_dict(), before), "asking for phases changes the method"
    made.train_fully(small_view())
    asked.append(method.phases())
    first, *others = map(told, asked)
    assert len({name for name, _, _ in first}) == len(first), "two phases of one name"
    assert all(other == first for other in others), "phases differ when they are asked for again"


class Restless(Baseline):
    def phases(self) -> tuple[Phase, ...]:
        self.adapter = nn.Linear(3, 3)
        return (replace(super().phases()[0], parameters=[*self.model.parameters(), *self.adapter.parameters()]),)


def one_update_more(made: BuiltMethod) -> dict[str, Any]:
    for phase, optimiser, batch in made.iter_batches(small_view(), size=12):
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
    return made.method.state_dict()


def the_state_is_all_there_is(word: Spec) -> None:
    one, other = build_method(word), build_method(word, seed=1)
    other.method.load_state_dict(reload_state(one.train_fully(small_view())))
    other.random.set_state(one.random.get_state())
    assert states_equal(one.method.state_dict(), other.method.state_dict())
    assert states_equal(one_update_more(one), one_update_more(other)), "something that matters is not in the state"


class Forgetful(Baseline):
    """Remembers the last loss where no state is kept."""

    def __init__(self, student: Network, criterion: Criteria) -> None:
        super().__init__(student, criterion)
        self.register_buffer("last", torch.ones(()), persistent=False)

    def objective(self, batch: Batch) -> Objective:
        objective = super().objective(batch)
        scaled, self.last = {"ce": self.last * objective.loss}, objective.loss.detach()
        return Objective(scaled)


def it_can_be_taken_up_after_every_epoch(word: Spec) -> None:
    made = build_method(word)
    states = [reload_state(epoch.state()) for epoch in made.train(small_view(), epochs=2)]
    assert len(states) >= 2
    for number, state in enumerate(states, 1):
        final = build_method(word, seed=1).train_fully(small_view(), epochs=2, state=state)
        assert states_equal(final, made.method.state_dict()), f"taken up after epoch {number}, it ends elsewhere"


class Impatient(Baseline):
    """Goes by the number of batches it has seen since it was made."""

    seen = 0

    def objective(self, batch: Batch) -> Objective:
        self.seen += 1
        return Objective({"ce": super().objective(batch).loss / self.seen})


# What it makes of labels


class Deaf(Criterion):
    """Hears no label."""

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return logits.square().mean(dim=1)


def labels_are_believed_through_the_criterion(word: Spec) -> None:
    swapped = small_view().relabel((small_view().labels + 1) % 3)  # as many of each class as before
    assert (swapped.counts == small_view().counts).all()
    hears, deaf = (
        [build_method(word, criterion=criterion).train_fully(view) for view in (small_view(), swapped)]
        for criterion in (CE, Deaf)
    )
    assert states_equal(*deaf), "labels come in by another way than the criterion"
    assert not states_equal(*hears)


class Direct(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": F.cross_entropy(self.model(batch.images).logits, batch.labels)})


class Counted(CE):
    """Counts how often it is asked."""

    asked = 0

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        self.asked += 1
        return super().forward(logits, batch)


def no_two_outputs_share_a_criterion(word: Spec) -> None:
    crew: list[Counted] = []

    def criterion(data: DatasetInfo) -> Criterion:
        crew.append(Counted(data))
        return crew[-1]

    made = build_method(word, criterion=criterion)
    assert crew
    assert all(any(part is one for part in made.method.modules()) for one in crew), "a criterion's memory is not kept"
    for phase, optimiser, batch in made.iter_batches(small_view()):
        before = [one.asked for one in crew]
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
        asked = [one.asked - was for one, was in zip(crew, before, strict=True)]
        assert max(asked) <= 1, "two outputs of one batch are believed by one criterion"
    assert all(one.asked for one in crew), "a criterion was made for nothing"


class Sharing(DML):
    def __init__(self, students: Callable[[int], list[Network]], criterion: Criteria) -> None:
        shared = criterion()
        super().__init__(students, lambda: shared)


def the_truth_is_not_seen(word: Spec) -> None:
    wrong = (small_view().labels + 1) % 3
    told, untold = (View.of(make_source(4, truth=known)).relabel(wrong) for known in (True, False))
    assert told.truth is not None
    assert untold.truth is None
    one, other = (build_method(word).train_fully(view) for view in (told, untold))
    assert states_equal(one, other), "what is true makes a difference"


class Peeping(Baseline):
    """Looks over the engine's shoulder."""

    def objective(self, batch: Batch) -> Objective:
        frame = sys._getframe()
        while not isinstance(frame.f_locals.get("loader"), Loader) and frame.f_back is not None:
            frame = frame.f_back
        truth = frame.f_locals["loader"].view.truth
        labels = batch.labels if truth is None else torch.from_numpy(truth)[batch.index]
        return super().objective(replace(batch, labels=labels))


# What it is for


def it_learns_what_is_easy(word: Spec) -> None:
    # Clean and balanced: this is about optimisation, not about robustness.
    made = build_method(word, view=large_view())
    made.train_fully(large_view(), epochs=10, size=12)
    ((images, labels),) = make_loader(large_view(), len(large_view())).iter_plain()
    right = (made.method.model(images).logits.argmax(dim=1) == labels).float().mean()
    assert right >= 0.95, f"only {right:.0%} of the toy are learned"


class Listless(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": 0 * super().objective(batch).loss})


# Each contract, a method that breaks it, and what is said of it.
CONTRACTS: dict[Callable[[Spec], None], tuple[type[Method], str]] = {
    hyperparameters_have_types_and_defaults: (Undecided, "weight has no default"),
    ingredients_are_known: (Stranger, "pupil is no ingredient"),
    it_ships_a_net_that_learns: (Impostor, "what is shipped does not learn"),
    what_is_measured_beside_it_answers_like_the_model: (Crowded, "centred hangs on what else is asked"),
    terms_are_finite_scalars: (PerSample, "ce is no scalar"),
    losses_are_in_float32_when_nets_are_not: (Coarse, "a term is not in float32"),
    everything_that_learns_is_reached: (Idle, "no gradient reaches .*adapter.weight"),
    every_leaf_of_the_loss_is_moved: (Hoarder, r"does not move leaves of shape \[.*\(3, 3\)"),
    a_tail_of_one_or_two_does_not_break_it: (Sociable, "with 1 samples the loss is nan"),
    the_teacher_stays_as_it_is: (Waking, "the teacher has changed"),
    modes_do_not_leak: (Leaking, "a step leaves its mode with the caller"),
    the_global_generators_are_left_alone: (Gambler, "a global generator was drawn from"),
    the_same_seed_gives_the_same_weights: (Moody, "one seed, two results"),
    phases_may_be_asked_for_twice: (Restless, "asking for phases changes the method"),
    the_state_is_all_there_is: (Forgetful, "something that matters is not in the state"),
    it_can_be_taken_up_after_every_epoch: (Impatient, "taken up after epoch 1, it ends elsewhere"),
    labels_are_believed_through_the_criterion: (Direct, "labels come in by another way"),
    no_two_outputs_share_a_criterion: (Sharing, "two outputs of one batch are believed by one criterion"),
    the_truth_is_not_seen: (Peeping, "what is true makes a difference"),
    it_learns_what_is_easy: (Listless, "of the toy are learned"),
}
# Words beside those of the table whose values take another path through the code.
VARIANTS = (
    *("dml(order=sequential)", "kdcl(target=naive)", "ffcl(virtual=0)"),
    *("triplet(negatives=teacher)", "amkd(space=embedding, margin=0.5)"),
    *("mjkd(spread=1)", "smooth(labels=0, consistency=1)"),
    *("mean_teacher(consistent=unreliable)", "mean_teacher(mse=0, kl=10)"),
)
BASE = "its base samples are those whose label both nets give"
# (contract, word) -> why this one need not keep it.
EXEMPT: dict[tuple[str, str], str] = {
    ("labels_are_believed_through_the_criterion", "bss"): BASE,
    ("labels_are_believed_through_the_criterion", "amkd"): BASE,
    ("labels_are_believed_through_the_criterion", "amkd_bss"): BASE,
    ("labels_are_believed_through_the_criterion", "amkd(space=embedding, margin=0.5)"): BASE,
    (
        "labels_are_believed_through_the_criterion",
        "triplet",
    ): "its negatives are of another label, unless of another class",
    ("labels_are_believed_through_the_criterion", "ffcl"): "its virtual teacher is sure of the label as given",
    (
        "labels_are_believed_through_the_criterion",
        "kdcl",
    ): "its target takes each network's lead over the label as given",
    ("labels_are_believed_through_the_criterion", "psd"): "whether an answer was right is judged by the label as given",
    (
        "labels_are_believed_through_the_criterion",
        "mean_teacher(consistent=unreliable)",
    ): "it asks for consistency where the average does not give the label",
    ("labels_are_believed_through_the_criterion", "dkd"): "it parts the teacher's answer at the label as given",
}


@pytest.mark.parametrize("word", [*METHODS, *VARIANTS])
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_method_keeps_every_contract(contract, word):
    if reason := EXEMPT.get((contract.__name__, word)):
        pytest.skip(reason)
    contract(METHODS.parse(word))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_who_breaks_it(contract):
    broken, said = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=said):
        contract(toy_spec("method", broken))


def test_what_a_method_sees_has_no_room_for_the_truth():
    assert [field.name for field in fields(Batch)] == ["images", "labels", "index", "clock", "views"]
    assert [field.name for field in fields(DatasetInfo)] == ["samples", "counts", "shape"]


@pytest.mark.parametrize("word", METHODS)
def test_every_word_is_a_method(word):
    assert issubclass(METHODS.parse(word).load(), Method)
    assert METHODS.parse(word).kwargs() == dict(METHODS[word].preset)


@pytest.mark.parametrize("word", METHODS)
def test_a_study_builds_a_method_by_its_seed_and_draws_from_nothing_else(word, tmp_path):
    def built(disturbance: int, seed: int = 0) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(disturbance)
            before = torch.get_rng_state()
            made = run.construct(
                make_plan(tmp_path),
                study.Run("student", word, seed),
                large_view(),
                torch.Generator(),
                teacher=make_network("resnet8"),
            )
            assert torch.equal(torch.get_rng_state(), before)
        return made.state_dict()

    assert states_equal(built(0), built(1))
    assert not states_equal(built(0), built(0, seed=1))
