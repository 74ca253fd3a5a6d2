"""Contracts of all methods, checked for each entry of METHODS; and for each contract a method that violates it.

A contract is a function of a spec. All registered methods are checked against all contracts.
"""

import inspect
import math
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import fields, replace
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from robustkd import types
from robustkd.criteria.base import Criterion
from robustkd.criteria.ce import CE
from robustkd.data.loader import Loader
from robustkd.data.mixing import Mixup, mix_batch
from robustkd.data.view import View
from robustkd.method import Distiller, Method, Phase
from robustkd.method_spec import INGREDIENTS
from robustkd.methods import METHODS
from robustkd.methods.baseline import Baseline
from robustkd.methods.dml import DML
from robustkd.methods.hinton import Hinton
from robustkd.models.net import Frozen, Network
from robustkd.specs import Spec
from robustkd.training import engine
from robustkd.training.finite_updates import FiniteUpdates
from robustkd.types import Batch, DatasetInfo, Mixed, Objective, Output
from tests.helpers import (
    SHAPE,
    BuiltMethod,
    build_method,
    build_study_method,
    large_view,
    make_loader,
    make_source,
    reload_state,
    small_view,
    states_equal,
    toy_spec,
)

Criteria = Callable[[], Criterion]


# Hyperparameters and ingredients


def hyperparameters_have_types_and_defaults(spec: Spec) -> None:
    target = spec.load()
    hints = get_type_hints(target.__init__, include_extras=True)
    for name, parameter in inspect.signature(target).parameters.items():
        assert parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD), f"{name} accepts any argument"
        if parameter.kind is parameter.KEYWORD_ONLY:
            assert name in hints, f"{name} has no type"
            assert parameter.default is not parameter.empty, f"{name} has no default"
            assert types.validate(name, hints[name], parameter.default) == parameter.default


class MissingDefault(Baseline):
    def __init__(self, student: Network, criterion: Criteria, *, weight: float) -> None:
        super().__init__(student, criterion)


def derived_hyperparameters_are_none_until_resolved(spec: Spec) -> None:
    derived = spec.load().derived
    defaults = {name: parameter.default for name, parameter in inspect.signature(spec.load()).parameters.items()}
    assert all(defaults[name] is None for name in derived), "a derived hyperparameter has a default of its own"
    resolved = build_method(spec).method.resolved
    assert resolved.keys() <= derived.keys() - spec.kwargs().keys(), "a value was resolved that is not derived"


class ResolvingInSecret(Baseline):
    def __init__(self, student: Network, criterion: Criteria, *, weight: float | None = None) -> None:
        super().__init__(student, criterion)
        self.weight = self.resolve("weight", weight, 2.0)


def ingredients_are_known(spec: Spec) -> None:
    for name, parameter in inspect.signature(spec.load()).parameters.items():
        if parameter.kind is not parameter.KEYWORD_ONLY:
            assert name in INGREDIENTS, f"{name} is not an ingredient"
            assert parameter.default is parameter.empty, f"the ingredient {name} has a default"


class UnknownIngredient(Baseline):
    def __init__(self, pupil: Network, criterion: Criteria) -> None:
        super().__init__(pupil, criterion)


def the_model_is_a_trained_network(spec: Spec) -> None:
    method = build_method(spec).method
    assert isinstance(method.model, Network)
    ours, moved = set(method.parameters()), {p for phase in method.phases() for p in phase.parameters}
    assert set(method.model.parameters()) <= ours & moved, "the model is not trained"
    assert method.model(torch.rand(2, *SHAPE)).logits.shape == (2, 3)


class TeacherAsModel(Distiller):
    """Trains a student but returns the teacher as the model."""

    def __init__(self, student: Network, teacher: Frozen, criterion: Criteria) -> None:
        super().__init__(student, teacher, criterion)
        del self.model
        self.__dict__["model"] = teacher.net

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        return {}


def auxiliary_logits_are_like_those_of_the_model(spec: Spec) -> None:
    built = build_method(spec)
    built.train_fully(small_view())
    built.method.eval()
    before = reload_state(built.method.state_dict())
    with torch.no_grad():
        images = torch.rand(5, *SHAPE)
        whole = built.method.auxiliary_logits(images)
        again = [built.method.auxiliary_logits(part) for part in (images[:2], images[2:])]
    for name, logits in whole.items():
        assert logits.shape == (5, 3), f"{name} has the wrong shape"
        parts = torch.cat([part[name] for part in again])
        assert torch.allclose(parts, logits, atol=1e-4), f"{name} depends on the rest of the batch"
    assert states_equal(built.method.state_dict(), before), "evaluation changes the method"


class BatchDependentLogits(Baseline):
    """Returns logits that depend on the other images."""

    def auxiliary_logits(self, images: Tensor) -> dict[str, Tensor]:
        logits = self.model(images).logits
        return {"centred": logits - logits.mean(dim=0)}


# The loss and its gradient


def terms_are_finite_scalars(spec: Spec, **options: Any) -> None:
    built = build_method(spec, **options)
    for phase, optimiser, batch in built.iter_batches(small_view()):
        for objective in phase.step(batch):
            assert objective.terms, f"{phase.name} has no terms"
            for name, value in {**objective.terms, **objective.notes}.items():
                assert value.shape == (), f"{name} is not a scalar"
                assert value.isfinite(), f"{name} is {value}"
            assert all(value.dtype is torch.float32 for value in objective.terms.values()), "a term is not in float32"
            assert objective.loss.requires_grad
            phase.update(objective, optimiser)
    assert all(p.isfinite().all() for p in built.method.parameters())


class PerSample(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.model(batch.images).logits, batch)})


def losses_are_in_float32_with_bf16_networks(spec: Spec) -> None:
    terms_are_finite_scalars(spec, bf16=True)
    terms_are_finite_scalars(spec, bf16=True, teacher_bf16=False)  # as with a teacher of another library on a CPU


class Bfloat16Loss(Hinton):
    """Computes its loss in bfloat16 if the networks do."""

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.student.bf16):
            return {"kd": (student.logits.T @ teacher.logits).square().mean()}


def every_parameter_receives_a_gradient(spec: Spec) -> None:
    built = build_method(spec)
    trainable = {id(p): name for name, p in built.method.named_parameters() if p.requires_grad}
    reached: set[int] = set()
    for phase, optimiser, batch in built.iter_batches(small_view()):
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
            reached |= {id(p) for p in phase.parameters if p.grad is not None and p.grad.any()}
    assert trainable
    assert not trainable.keys() - reached, f"no gradient reaches {[trainable[i] for i in trainable.keys() - reached]}"


class UnusedAdapter(Baseline):
    def __init__(self, student: Network, criterion: Criteria) -> None:
        super().__init__(student, criterion)
        self.adapter = nn.Linear(3, 3)


def leaves(loss: Tensor) -> list[Tensor]:
    """Return all tensors that a loss accumulates gradients in."""
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


def every_leaf_of_the_loss_is_optimised(spec: Spec) -> None:
    built = build_method(spec)
    for phase, optimiser, batch in built.iter_batches(small_view()):
        moved = {id(p) for p in phase.parameters}
        for objective in phase.step(batch):
            found = leaves(objective.loss)
            assert found
            missing = [tuple(leaf.shape) for leaf in found if id(leaf) not in moved]
            assert not missing, f"{phase.name} does not optimise leaves of shape {missing}"
            phase.update(objective, optimiser)


class HiddenAdapters(Baseline):
    """Keeps an adapter in a list, where it is not registered, as a known toolkit did."""

    def __init__(self, student: Network, criterion: Criteria) -> None:
        super().__init__(student, criterion)
        self.adapters = [nn.Linear(3, 3)]

    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": self.criterion(self.adapters[0](self.model(batch.images).logits), batch).mean()})


def batches_of_one_or_two_are_finite(spec: Spec) -> None:
    # On 8x8 images the last map is 2x2; batch norm of a single 1x1 map would be rejected by torch for all methods.
    rows = small_view().take(np.arange(3))
    built = build_method(spec, view=rows)
    for size in (1, 2):
        for phase, optimiser, batch in built.iter_batches(rows, size):
            for objective in phase.step(batch):
                assert objective.loss.isfinite(), f"with {len(batch.labels)} samples the loss is {objective.loss}"
                phase.update(objective, optimiser)
    assert all(p.isfinite().all() for p in built.method.parameters())


class UndefinedForOneSample(Baseline):
    """Divides by the number of other samples."""

    def objective(self, batch: Batch) -> Objective:
        logits = self.model(batch.images).logits
        return Objective({"spread": (logits - logits.mean(dim=0)).square().sum() / (len(logits) - 1)})


# Side effects


def the_teacher_is_unchanged(spec: Spec) -> None:
    built = build_method(spec)
    net, digest = built.teacher.net, built.teacher.digest
    built.train_fully(small_view())
    assert not any(part.training for part in net.modules()), "the teacher is in training mode"
    assert not any(p.requires_grad or p.grad is not None for p in net.parameters()), "the teacher has gradients"
    assert Frozen(net).digest == digest, "the teacher has changed"


class TrainingModeTeacher(Hinton):
    """Sets the teacher to training mode, which changes its running statistics."""

    def transfer(self, student: Output, teacher: Output, batch: Batch) -> dict[str, Tensor]:
        output = self.teacher.net.train()(batch.images)
        self.teacher.net.eval()
        return super().transfer(student, output, batch)


def modes_do_not_leak(spec: Spec) -> None:
    def now() -> tuple[bool, bool, bool]:
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_inference_mode_enabled()

    built, seen = build_method(spec), set()
    for phase, optimiser, batch in built.iter_batches(small_view()):
        for objective in phase.step(batch):
            seen.add(now())
            with torch.enable_grad():  # so that a method that leaks can run to the end and undo the leak
                phase.update(objective, optimiser)
        seen.add(now())
        assert built.method.training
    assert seen == {(True, False, False)}, "a step leaks its mode to the caller"


class LeakingNoGrad(Baseline):
    def step(self, batch: Batch) -> Iterator[Objective]:
        objective = self.objective(batch)
        with torch.no_grad():
            yield objective


def global_generators_are_not_used(spec: Spec) -> None:
    def now() -> tuple[bytes, str, object]:
        return torch.get_rng_state().numpy().tobytes(), repr(np.random.get_state()), random.getstate()

    before = now()
    with pytest.MonkeyPatch.context() as patch:  # without the states that the engine restores after an epoch
        patch.setattr(engine, "seeded_generators", lambda *_: nullcontext())
        build_method(spec).train_fully(small_view())
    assert now() == before, "a global generator was used"


class GlobalRandomness(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return super().objective(replace(batch, images=batch.images + 0.1 * torch.rand_like(batch.images)))


# Reproducibility


def the_same_seed_gives_the_same_weights(spec: Spec) -> None:
    one, again, other = (build_method(spec, seed=seed).train_fully(small_view()) for seed in (0, 0, 1))
    assert states_equal(one, again), "the same seed gives different results"
    assert not states_equal(one, other)


class UnseededRandomness(Baseline):
    def objective(self, batch: Batch) -> Objective:
        random_ = torch.Generator()
        random_.seed()
        return super().objective(
            replace(batch, images=batch.images + torch.rand(batch.images.shape, generator=random_))
        )


def phases_has_no_side_effects(spec: Spec) -> None:
    def describe(phases: tuple[Phase, ...]) -> list[tuple[str, float | None, list[int]]]:
        return [(phase.name, phase.epochs, [id(p) for p in phase.parameters]) for phase in phases]

    method = (built := build_method(spec)).method
    results = [method.phases()]  # kept, so that no id is reused
    before = reload_state(method.state_dict())
    results.append(method.phases())
    assert states_equal(method.state_dict(), before), "calling phases changes the method"
    built.train_fully(small_view())
    results.append(method.phases())
    first, *others = map(describe, results)
    assert len({name for name, _, _ in first}) == len(first), "two phases have the same name"
    assert all(other == first for other in others), "repeated calls of phases differ"


class NewParametersInPhases(Baseline):
    def phases(self) -> tuple[Phase, ...]:
        self.adapter = nn.Linear(3, 3)
        return (replace(super().phases()[0], parameters=[*self.model.parameters(), *self.adapter.parameters()]),)


def one_more_epoch(built: BuiltMethod) -> dict[str, Any]:
    for phase, optimiser, batch in built.iter_batches(small_view(), size=12):
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
    return built.method.state_dict()


def the_state_is_complete(spec: Spec) -> None:
    one, other = build_method(spec), build_method(spec, seed=1)
    other.method.load_state_dict(reload_state(one.train_fully(small_view())))
    other.random.set_state(one.random.get_state())
    assert states_equal(one.method.state_dict(), other.method.state_dict())
    assert states_equal(one_more_epoch(one), one_more_epoch(other)), "the state is incomplete"


class NonPersistentState(Baseline):
    """Keeps the last loss in a non-persistent buffer."""

    def __init__(self, student: Network, criterion: Criteria) -> None:
        super().__init__(student, criterion)
        self.register_buffer("last", torch.ones(()), persistent=False)

    def objective(self, batch: Batch) -> Objective:
        objective = super().objective(batch)
        scaled, self.last = {"ce": self.last * objective.loss}, objective.loss.detach()
        return Objective(scaled)


def training_resumes_after_every_epoch(spec: Spec) -> None:
    built = build_method(spec)
    states = [reload_state(epoch.state()) for epoch in built.train(small_view(), epochs=2)]
    assert len(states) >= 2
    for number, state in enumerate(states, 1):
        final = build_method(spec, seed=1).train_fully(small_view(), epochs=2, state=state)
        assert states_equal(final, built.method.state_dict()), f"resuming after epoch {number} gives different weights"


class CountingBatches(Baseline):
    """Depends on the number of batches since it was constructed."""

    seen = 0

    def objective(self, batch: Batch) -> Objective:
        self.seen += 1
        return Objective({"ce": super().objective(batch).loss / self.seen})


def dropped_updates_leave_the_state(spec: Spec) -> None:
    """Between two batches, the method is shown one of images that are not numbers."""
    built = build_method(spec)
    for phase, optimiser, batch in built.iter_batches(small_view()):
        views = tuple(math.nan * view for view in batch.views)
        spoiled = replace(batch, images=math.nan * batch.images, views=views)
        updates, kept = FiniteUpdates(built.method, optimiser), []
        for each in (batch, spoiled, batch):
            before = reload_state(built.method.state_dict())
            updates.begin()
            for objective in phase.step(each):
                phase.update(objective, optimiser)
                updates.add(objective)
            kept.append(bool(updates.end()))
            if not kept[-1]:
                assert states_equal(built.method.state_dict(), before), "a dropped update changes the state"
        assert kept == [True, False, True], "an update that is not finite is kept, or spoils the next"


class MemoryOutsideTheState(Baseline):
    """Keeps the last loss in no buffer."""

    last = torch.ones(())

    def objective(self, batch: Batch) -> Objective:
        loss = super().objective(batch).loss
        scaled, self.last = {"ce": self.last * loss}, loss.detach()
        return Objective(scaled)


# Labels


class LabelFreeCriterion(Criterion):
    """Ignores labels."""

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        return logits.square().mean(dim=1)


def labels_are_used_only_by_the_criterion(spec: Spec) -> None:
    swapped = small_view().relabel((small_view().labels + 1) % 3)  # the class counts are unchanged
    assert (swapped.counts == small_view().counts).all()
    with_labels, without_labels = (
        [build_method(spec, criterion=criterion).train_fully(view) for view in (small_view(), swapped)]
        for criterion in (CE, LabelFreeCriterion)
    )
    assert states_equal(*without_labels), "labels are used outside the criterion"
    assert not states_equal(*with_labels)


class DirectCrossEntropy(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": F.cross_entropy(self.model(batch.images).logits, batch.labels)})


class CountingCE(CE):
    """Counts its calls."""

    calls = 0

    def forward(self, logits: Tensor, batch: Batch) -> Tensor:
        self.calls += 1
        return super().forward(logits, batch)


def every_output_has_its_own_criterion(spec: Spec) -> None:
    criteria: list[CountingCE] = []

    def criterion(data: DatasetInfo) -> Criterion:
        criteria.append(CountingCE(data))
        return criteria[-1]

    built = build_method(spec, criterion=criterion)
    assert criteria
    assert all(any(part is one for part in built.method.modules()) for one in criteria), (
        "a criterion is not part of the method"
    )
    for phase, optimiser, batch in built.iter_batches(small_view()):
        before = [one.calls for one in criteria]
        for objective in phase.step(batch):
            phase.update(objective, optimiser)
        calls = [one.calls - earlier for one, earlier in zip(criteria, before, strict=True)]
        assert max(calls) <= 1, "two outputs of one batch share a criterion"
    assert all(one.calls for one in criteria), "a criterion is never used"


class SharedCriterion(DML):
    def __init__(self, students: Callable[[int], list[Network]], criterion: Criteria) -> None:
        shared = criterion()
        super().__init__(students, lambda: shared)


def true_labels_are_not_used(spec: Spec) -> None:
    wrong = (small_view().labels + 1) % 3
    labelled, unlabelled = (View.of(make_source(4, truth=known)).relabel(wrong) for known in (True, False))
    assert labelled.truth is not None
    assert unlabelled.truth is None
    one, other = (build_method(spec).train_fully(view) for view in (labelled, unlabelled))
    assert states_equal(one, other), "true labels affect the result"


class ReadingTrueLabels(Baseline):
    """Reads the true labels from the stack frame of the engine."""

    def objective(self, batch: Batch) -> Objective:
        frame = sys._getframe()
        while not isinstance(frame.f_locals.get("loader"), Loader) and frame.f_back is not None:
            frame = frame.f_back
        truth = frame.f_locals["loader"].view.truth
        labels = batch.labels if truth is None else torch.from_numpy(truth)[batch.index]
        return super().objective(replace(batch, labels=labels))


def mixtures_have_no_first_label(spec: Spec) -> None:
    """A mixture of a quarter of a and three quarters of b is one of three quarters of b and a quarter of a."""
    if not build_method(spec).method.supports_mixing:
        return

    def train(swap: bool) -> dict[str, Any]:
        built = build_method(spec)
        for phase, optimiser, batch in built.iter_batches(small_view()):
            counts = torch.from_numpy(small_view().counts)
            batch = mix_batch(batch, Mixup(), torch.arange(len(batch.labels)).roll(1), [0.25], counts)
            for objective in phase.step(swap_labels(batch) if swap else batch):
                assert objective.loss.isfinite()
                phase.update(objective, optimiser)
        return built.method.state_dict()

    one, other = train(False), train(True)
    # Gradients are summed in another order.
    same = [torch.allclose(one[name], other[name], atol=1e-4) for name in one if isinstance(one[name], Tensor)]
    assert all(same), "the first label of a mixed image counts more than its weight"


def swap_labels(batch: Batch) -> Batch:
    assert batch.mixed is not None
    mixed = Mixed(batch.labels, batch.index, 1 - batch.mixed.weight)
    return replace(batch, labels=batch.mixed.labels, index=batch.mixed.index, mixed=mixed)


class FirstLabelOnly(Baseline):
    """Ignores the second labels."""

    def objective(self, batch: Batch) -> Objective:
        return super().objective(replace(batch, mixed=None))


# Training


def an_easy_problem_is_learned(spec: Spec) -> None:
    # The data are clean and balanced: this tests optimisation, not robustness.
    built = build_method(spec, view=large_view())
    built.train_fully(large_view(), epochs=10, size=12)
    ((images, labels),) = make_loader(large_view(), len(large_view())).iter_plain()
    right = (built.method.model(images).logits.argmax(dim=1) == labels).float().mean()
    assert right >= 0.95, f"the training accuracy is only {right:.0%}"


class ZeroLoss(Baseline):
    def objective(self, batch: Batch) -> Objective:
        return Objective({"ce": 0 * super().objective(batch).loss})


# Each contract, a method that violates it, and the message of the failure.
CONTRACTS: dict[Callable[[Spec], None], tuple[type[Method], str]] = {
    hyperparameters_have_types_and_defaults: (MissingDefault, "weight has no default"),
    derived_hyperparameters_are_none_until_resolved: (ResolvingInSecret, "resolved that is not derived"),
    ingredients_are_known: (UnknownIngredient, "pupil is not an ingredient"),
    the_model_is_a_trained_network: (TeacherAsModel, "the model is not trained"),
    auxiliary_logits_are_like_those_of_the_model: (BatchDependentLogits, "centred depends on the rest of the batch"),
    terms_are_finite_scalars: (PerSample, "ce is not a scalar"),
    losses_are_in_float32_with_bf16_networks: (Bfloat16Loss, "a term is not in float32"),
    every_parameter_receives_a_gradient: (UnusedAdapter, "no gradient reaches .*adapter.weight"),
    every_leaf_of_the_loss_is_optimised: (HiddenAdapters, r"does not optimise leaves of shape \[.*\(3, 3\)"),
    batches_of_one_or_two_are_finite: (UndefinedForOneSample, "with 1 samples the loss is nan"),
    the_teacher_is_unchanged: (TrainingModeTeacher, "the teacher has changed"),
    modes_do_not_leak: (LeakingNoGrad, "a step leaks its mode to the caller"),
    global_generators_are_not_used: (GlobalRandomness, "a global generator was used"),
    the_same_seed_gives_the_same_weights: (UnseededRandomness, "the same seed gives different results"),
    phases_has_no_side_effects: (NewParametersInPhases, "calling phases changes the method"),
    the_state_is_complete: (NonPersistentState, "the state is incomplete"),
    training_resumes_after_every_epoch: (CountingBatches, "resuming after epoch 1 gives different weights"),
    dropped_updates_leave_the_state: (MemoryOutsideTheState, "or spoils the next"),
    labels_are_used_only_by_the_criterion: (DirectCrossEntropy, "labels are used outside the criterion"),
    every_output_has_its_own_criterion: (SharedCriterion, "two outputs of one batch share a criterion"),
    mixtures_have_no_first_label: (FirstLabelOnly, "the first label of a mixed image counts more"),
    true_labels_are_not_used: (ReadingTrueLabels, "true labels affect the result"),
    an_easy_problem_is_learned: (ZeroLoss, "the training accuracy is only"),
}
# Options that use other branches of the code, in addition to the registered names.
VARIANTS = (
    *("dml(order=sequential)", "kdcl(target=naive)", "ffcl(virtual=0)", "ffcl(virtual=0, layers=last)"),
    *("triplet(negatives=teacher)", "amkd(space=embedding, margin=0.5)"),
    *("mjkd(spread=1)", "smooth(labels=0, consistency=1)"),
    *("mean_teacher(consistent=unreliable)", "mean_teacher(mse=0, kl=10)"),
)
BASE = "its base samples are those that both networks classify as labelled"
# (contract, method) -> why it is exempt.
EXEMPT: dict[tuple[str, str], str] = {
    ("labels_are_used_only_by_the_criterion", "bss"): BASE,
    ("labels_are_used_only_by_the_criterion", "amkd"): BASE,
    ("labels_are_used_only_by_the_criterion", "amkd_annealed"): BASE,
    ("labels_are_used_only_by_the_criterion", "amkd_bss"): BASE,
    ("labels_are_used_only_by_the_criterion", "amkd(space=embedding, margin=0.5)"): BASE,
    (
        "labels_are_used_only_by_the_criterion",
        "triplet",
    ): "its negatives are selected by label by default",
    ("labels_are_used_only_by_the_criterion", "ffcl"): "its virtual teacher is defined by the label",
    (
        "labels_are_used_only_by_the_criterion",
        "kdcl",
    ): "its target is relative to the logit of the label",
    ("labels_are_used_only_by_the_criterion", "prune"): "it audits the labels",
    ("labels_are_used_only_by_the_criterion", "dividemix"): "its targets are labels refined by predictions",
    ("labels_are_used_only_by_the_criterion", "psd"): "correctness is with respect to the label",
    (
        "labels_are_used_only_by_the_criterion",
        "mean_teacher(consistent=unreliable)",
    ): "it applies consistency where the average does not predict the label",
    **{
        ("labels_are_used_only_by_the_criterion", word): "it splits the distribution at the label"
        for word in ("dkd", "dkd_resnet", "dkd_imagenet")
    },
}


@pytest.mark.parametrize("word", [*METHODS, *VARIANTS])
@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_method_fulfils_every_contract(contract, word):
    if reason := EXEMPT.get((contract.__name__, word)):
        pytest.skip(reason)
    contract(METHODS.parse(word))


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)
def test_every_contract_rejects_its_violation(contract):
    violation, message = CONTRACTS[contract]
    with pytest.raises(AssertionError, match=message):
        contract(toy_spec("method", violation))


def test_batches_and_dataset_info_contain_no_true_labels():
    assert [field.name for field in fields(Batch)] == ["images", "labels", "index", "clock", "views", "mixed"]
    assert [field.name for field in fields(DatasetInfo)] == ["samples", "counts", "shape", "names"]


@pytest.mark.parametrize("word", METHODS)
def test_every_word_is_a_method(word):
    assert issubclass(METHODS.parse(word).load(), Method)
    assert METHODS.parse(word).kwargs() == dict(METHODS[word].preset)


@pytest.mark.parametrize("word", METHODS)
def test_a_study_builds_a_method_from_its_seed_alone(word):
    def built(disturbance: int, seed: int = 0) -> dict[str, Any]:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(disturbance)
            before = torch.get_rng_state()
            method = build_study_method(word, seed, large_view())
            assert torch.equal(torch.get_rng_state(), before)
        return method.state_dict()

    assert states_equal(built(0), built(1))
    assert not states_equal(built(0), built(0, seed=1))
