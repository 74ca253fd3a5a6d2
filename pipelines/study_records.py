"""The record of a planned study, study.json: its options, what they resulted in, and what is known of its data."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any

import torch

import robustkd
from robustkd.data.manifest import Splits
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.study.agreements import pack_classes, pack_groups
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Plan
from robustkd.study.recipe_presets import ROLES, Role
from robustkd.study.results import COST_RATIO, MeasuredRatio, ResolvedSettings, StudyRecord, read_document


def earlier_record(plan: Plan) -> StudyRecord | None:
    """Return the record of a study that was begun, None for a new one."""
    file = plan.folder / "study.json"
    with suppress(UsageError):  # a damaged record is written again
        return read_document(file, StudyRecord) if file.exists() else None
    return None


def earlier_cost_ratio(plan: Plan) -> float | None:
    """Return the cost ratio of a study that was begun, also if its record is damaged or missing; None where it has none."""
    if (earlier := earlier_record(plan)) is not None:
        return earlier.resolved.cost_ratio
    with suppress(UsageError):
        file = plan.folder / COST_RATIO
        return read_document(file, MeasuredRatio).cost_ratio if file.exists() else None
    return None


def study_record(
    options: StudyOptions, plan: Plan, drawn: Mapping[int, Splits], source: Source, leaks: Sequence[str]
) -> StudyRecord:
    """Return the record of a planned study.

    Args:
        options: as given; the plan's own name the methods that a set or file stands for.
    """
    specs, first, earlier = plan.options.method_specs(), next(iter(drawn.values())), earlier_record(plan)
    oracles = [spec.text for spec in specs if spec.oracle]
    return StudyRecord(
        methods=[spec.text for spec in specs],
        criteria={spec.text: spec.criterion_text for spec in specs},
        # Also those that it was asked for before, whose runs are still there: they are not compared.
        oracles=[*dict.fromkeys([*oracles, *(earlier.oracles if earlier else ())])],
        seeds=options.seeds,
        options=StudyOptions(**{field.name: getattr(options, field.name) for field in fields(StudyOptions)}),
        resolved=resolved_settings(plan, first, source),
        dataset=source.name,
        classes=list(source.classes),
        fingerprint=source.fingerprint,
        truth_known=not first.test.may_have_label_noise,
        known_training=count_known(drawn[0].train),
        known_test=count_known(drawn[0].test),
        test_labels=pack_classes(first.test.labels),
        test_truth=pack_test_truth(first.test),
        test_groups=pack_groups(None if source.groups is None else source.groups[first.test.rows]),
        skipped=list(source.skipped),
        leaks=list(leaks),
    )


def pack_test_truth(test: View) -> str:
    """Return the true labels of test rows whose labels may be wrong, packed; an empty string where none is known."""
    if not test.may_have_label_noise or test.truth is None or not (test.truth >= 0).any():
        return ""
    return pack_classes(test.truth)


def resolved_settings(plan: Plan, views: Splits, source: Source) -> ResolvedSettings:
    """Return what a study's options resulted in.

    Args:
        views: of its first data seed.
    """
    return ResolvedSettings(
        precision=plan.settings.precision,
        device=plan.settings.device,
        jobs=plan.jobs,
        threads_per_job=plan.threads,
        rows_train=len(views.train),
        rows_held_out=len(views.held_out),
        rows_test=len(views.test),
        recipes=trained_recipes(plan),
        cost_ratio=plan.settings.cost_ratio,
        latencies=dict(plan.settings.latencies),
        fingerprint=source.fingerprint,
        robustkd=robustkd.__version__,
        torch=torch.__version__,
    )


def trained_recipes(plan: Plan) -> dict[Role, dict[str, Any]]:
    """Return the options of the recipe of each role whose networks are trained, those of its preset included."""
    options, roles = plan.options, ROLES if plan.teacher is None else ("student",)
    return {
        role: {
            "recipe": options.preset(role),
            **options.recipe_values(role),
            "augment": options.augmentation(role),
        }
        for role in roles
    }


def count_known(view: View) -> tuple[int, int]:
    """Return how many rows have a known true label, and how many rows there are."""
    return 0 if view.truth is None else int((view.truth >= 0).sum()), len(view)
