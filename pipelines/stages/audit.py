"""audit: estimate the label noise of a data set from networks that were not trained on the labels they assess.

OUT/NAME-DIGEST/fold-0.npz        probabilities, reused by an audit with the same options; probe.npz of a linear probe
                suspects.csv      suspicious labels, worst first
                classes.csv       per class: labels given, estimated share that is wrong, estimated true size
                transition.csv    estimated: row = true class, column = given label; matrix(file=...) reads it
                report.html       the suspicious images
                audit.json        options, metrics and versions
                pruned.csv, relabelled.csv, each with its .json, if requested: manifests for a study
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import scenarios
from pipelines import planning, session
from pipelines.auditing.documents import write_audit
from pipelines.auditing.findings import AuditedRows, AuditFindings
from pipelines.auditing.predictions import FoldTraining, Probing, plan_predictions, uses_probe
from pipelines.auditing.summary import describe_reliability, print_findings
from pipelines.cli_options import AuditOptions
from pipelines.data_summary import split_data
from pipelines.folder_names import legal_folder_name, short_dataset_name
from pipelines.networks import check_buildable
from robustkd.data import manifest
from robustkd.data.view import Source, View, concat
from robustkd.errors import UsageError
from robustkd.hashing import digest
from robustkd.label_audit import confident_learning, out_of_fold
from robustkd.label_audit.probabilities_file import load_probabilities
from robustkd.models import MODELS
from robustkd.plugins import plugin_digests
from robustkd.study.image_sizes import resolve_net_size
from robustkd.study.run_folder import load_source
from robustkd.study.versions import RESULTS_VERSION
from robustkd.training import hardware


@dataclass(frozen=True)
class AuditPlan:
    """An audit that has been checked but not started.

    Attributes:
        view: training rows, followed by held-out rows.
        held_out: (n,) which rows of `view` are held out.
        predictor: what probabilities come from; None if the user gave them.
        probabilities: (N, K) as given by the user, for all rows of the source.
    """

    options: AuditOptions
    source: Source
    view: View
    held_out: NDArray[np.bool_]
    test: View
    folder: Path
    predictor: FoldTraining | Probing | None = None
    probabilities: out_of_fold.ClassProbabilities | None = None


def main(options: AuditOptions) -> None:
    """Audit the labels of a data set; write and print the findings.

    Raises:
        robustkd.errors.UsageError: an option is invalid, or the data cannot be audited with them.
    """
    audit_source(options, load_audited(options))


def load_audited(options: AuditOptions) -> Source:
    """Check names, output folder and network, then read the data set.

    Raises:
        robustkd.errors.UsageError: a name is unknown, the folder cannot be written, or the data cannot be loaded.
    """
    scenarios.parse(options.scenario)
    MODELS.parse(options.net).kwargs()
    uses_probe(options)
    planning.require_writable(Path(options.out))
    resolved = resolve_net_size(options, options.net)
    if options.probabilities is None:
        check_buildable(options.dataset, resolved.read_options()["image_size"], {options.net: None})
    return load_source(resolved)


def audit_source(options: AuditOptions, source: Source) -> None:
    """Audit a data set that has been read, and print the findings.

    Raises:
        robustkd.errors.UsageError: the data cannot be audited, or are not to be pruned or relabelled by these findings.
    """
    options = resolve_net_size(options, options.net)  # also for the command to continue with
    findings, folder, changes = execute_audit(options, source)
    print_findings(options, findings, folder, changes)
    require_believable(options, findings)


def require_believable(options: AuditOptions, findings: AuditFindings) -> None:
    """Refuse to prune or relabel by an estimate that cannot be believed.

    Raises:
        robustkd.errors.UsageError: it cannot, and the user does not insist.
    """
    if (options.prune or options.relabel) and not findings.may_be_changed(options.force):
        option = "--prune" if options.prune else "--relabel"
        reason = describe_reliability(findings.train)
        raise UsageError(f"{option} is refused: {reason}; --force writes the manifest anyway")


def execute_audit(options: AuditOptions, source: Source) -> tuple[AuditFindings, Path, list[str]]:
    """Audit a data set that has been read, and write the findings.

    Returns:
        The findings, the folder they are in, and sentences about what was pruned or relabelled.
    """
    plan = plan_audit(resolve_net_size(options, options.net), source)
    with session.study_lock(plan.folder, fresh=options.fresh), cpu_threads(options.threads or hardware.count_cores()):
        findings = assess_labels(plan)
        changes = write_audit(options, findings, plan.predictor.config if plan.predictor else None, plan.folder)
    return findings, plan.folder, changes


def plan_audit(options: AuditOptions, source: Source) -> AuditPlan:
    """Apply the scenario and assign the folds; nothing is written.

    Raises:
        robustkd.errors.UsageError: an option is invalid, or the data cannot be audited with them.
    """
    scenario = scenarios.parse(options.scenario)
    if options.probabilities is not None and options.scenario != "clean":
        raise UsageError(
            "--probabilities are of networks trained on the labels as given, so --scenario should be clean"
        )
    source, rows, *_ = split_data(options, source)
    splits = manifest.build_splits(scenario, source, rows, options.seed)
    view = concat(splits.train, [splits.train, splits.held_out])
    held_out = np.arange(len(view)) >= len(splits.train)
    if options.probabilities is not None:
        given = load_probabilities(options.probabilities, len(source.labels), len(source.classes))
        folder = Path(options.out) / audit_name(options, view, splits.test, {"probabilities": digest(given)})
        return AuditPlan(options, source, view, held_out, splits.test, folder, probabilities=given)
    predictor = plan_predictions(options, view)
    folder = Path(options.out) / audit_name(options, view, splits.test, predictor.identity())
    return AuditPlan(options, source, view, held_out, splits.test, folder, predictor)


def audit_name(options: AuditOptions, view: View, test: View, probabilities: Mapping[str, Any]) -> str:
    """Return a recognisable name with a digest of all that decides the probabilities."""
    name = short_dataset_name(options.dataset)
    name += "" if options.scenario == "clean" else f"-{options.scenario}"
    decisive = {
        **probabilities,
        "drawn": [view.digest, test.digest],
        **({} if view.sources[0].crop is None else {"crop": view.sources[0].crop}),
        "results_version": RESULTS_VERSION,
        "plugins": plugin_digests(options.plug),
    }
    short = digest(text=json.dumps(decisive, sort_keys=True))[:8]
    return f"{legal_folder_name(name) or 'audit'}-{short}"


@contextmanager
def cpu_threads(count: int) -> Iterator[None]:
    """Set the number of CPU threads, of torch and of the libraries behind NumPy, for the duration of the context."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(before)


def assess_labels(plan: AuditPlan) -> AuditFindings:
    """Predict every label by networks that were not trained on it, or by the user's probabilities, and assess it."""
    options, view, test, folder = plan.options, plan.view, plan.test, plan.folder
    folder.mkdir(parents=True, exist_ok=True)
    notes: list[str] = []
    seconds = 0.0
    if plan.predictor is None:
        assert plan.probabilities is not None
        own, other = plan.probabilities[view.rows], plan.probabilities[test.rows]
        assessable, test_assessable = has_prediction(own), has_prediction(other)
        if missing := int((~assessable).sum()):
            notes.append(f"{missing} training rows have no probabilities and are not assessed")
    else:
        own, other, seconds = plan.predictor.predict(options, view, test, folder)
        assessable, test_assessable = ~plan.predictor.unassessable(view), np.ones(len(test), bool)
        notes += plan.predictor.notes(view, options.folds)
    return AuditFindings(
        plan.source,
        AuditedRows("train", view, own, confident_learning.find_label_issues(view.labels, own, assessable)),
        plan.held_out,
        AuditedRows("test", test, other, confident_learning.find_label_issues(test.labels, other, test_assessable)),
        notes,
        seconds,
    )


def has_prediction(probabilities: out_of_fold.ClassProbabilities) -> NDArray[np.bool_]:
    """Return a mask of the rows that are not NaN: (n, K) -> (n,)."""
    finite: NDArray[np.bool_] = np.isfinite(probabilities.sum(axis=1))
    return finite
