"""Planning of a study: read the data, split it, apply the scenario, and check everything before anything is trained.

The result is a draft. Writing it down creates the study's folder, named after its data set, its scenario and a digest of what
decides its results, so that commands with the same options find the same study.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import scenarios
from pipelines.console import console
from pipelines.data_summary import split_data
from pipelines.folder_names import legal_folder_name, short_dataset_name
from pipelines.networks import (
    identify_networks,
    print_class_orders,
    print_first_weights,
    resolve_networks,
)
from pipelines.parallel_jobs import with_measured_jobs
from pipelines.study_records import earlier_cost_ratio, earlier_record, study_record
from robustkd.data import manifest
from robustkd.data.augment import parse_augment
from robustkd.data.augmentations import build_augmentation
from robustkd.data.manifest import Splits
from robustkd.data.mixing import parse_mixing
from robustkd.data.normalisation import channel_mean_std
from robustkd.data.splits import SplitRows
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.evaluation import corruptions, robustness
from robustkd.evaluation.latency import measure_latency
from robustkd.hashing import digest
from robustkd.method_sets import read_method_list
from robustkd.method_spec import MethodSpec
from robustkd.plugins import load_plugins, plugin_digests
from robustkd.study.child_process import prepare_process
from robustkd.study.conclusions import UNDEFINED_CORRUPTIONS
from robustkd.study.construct import check_constructible, untrained_network
from robustkd.study.cost_ratio import measure_cost_ratio, needs_cost_ratio
from robustkd.study.early_stopping import check_early_stopping
from robustkd.study.given_networks import load_first_weights
from robustkd.study.integrity import set_aside
from robustkd.study.options import StudyOptions
from robustkd.study.peers import check_processes
from robustkd.study.plan import Plan, Run, Settings, list_runs, resolve_settings, teacher_method
from robustkd.study.ray_cluster import Capacity, check_device, connect, read_capacity
from robustkd.study.results import (
    BASELINE,
    COST_RATIO,
    TEACHER,
    Document,
    MeasuredRatio,
    StudyRecord,
    read_document,
    write_document,
)
from robustkd.study.run_folder import load_network, load_source
from robustkd.study.versions import RESULTS_VERSION, content_digest
from robustkd.training import hardware
from robustkd.training.compilation import check_compilation
from scenarios.base import Scenario, list_advice


@dataclass(frozen=True)
class Draft:
    """A study that has been checked but not written yet."""

    plan: Plan
    drawn: dict[int, Splits]  # what each data seed is shown
    record: StudyRecord

    @property
    def runs(self) -> tuple[Run, ...]:
        """The study's runs, teachers first."""
        return list_runs(self.plan.options, self.plan.teacher is not None)

    def write(self) -> Plan:
        """Write the study's folder: its record, and a manifest for each data seed."""
        folder, options = self.plan.folder, self.plan.options
        folder.mkdir(parents=True, exist_ok=True)
        about = {"scenario": options.scenario, "split_seed": options.split_seed}
        for seed, views in self.drawn.items():
            if not has_manifest(folder / f"manifest-{seed}", views):
                manifest.save_manifest(folder / f"manifest-{seed}", views, about)
        if (ratio := self.plan.settings.cost_ratio) is not None:
            replace_document(folder / COST_RATIO, MeasuredRatio(cost_ratio=ratio))
        replace_document(folder / "study.json", self.record)
        return self.plan


def replace_document(path: Path, document: Document) -> None:
    """Write a document of a study; an older one that is damaged is set aside."""
    if path.exists():
        try:
            read_document(path, type(document))
        except UsageError as error:
            console.print(f"{error}, and the old one is kept as {set_aside(path).name}")
    write_document(path, document)


def has_manifest(path: Path, views: Splits) -> bool:
    """Whether a study's manifest exists; damaged files are set aside, since the scenario draws the same again.

    Raises:
        UsageError: the scenario now draws something else, as when a file that it reads has changed.
    """
    table, card = manifest.manifest_paths(path)
    if not card.exists():
        return False
    try:
        recorded = manifest.read_card(card)["digest"]
    except UsageError as error:
        console.print(f"{error}; it is written again, and the old one is kept as {set_aside(card).name}")
        return False
    if recorded != {split: view.digest for split, view in views._asdict().items()}:
        raise UsageError(
            f"{card}: the scenario no longer draws what this study was shown, as when a file that it reads has changed:"
            " --fresh starts again"
        )
    try:
        manifest.load_manifest(path, views.train.sources[0])
    except UsageError as error:
        console.print(f"{error}; it is written again")
        if table.exists():
            set_aside(table)
        return False
    return True


def draft_study(options: StudyOptions) -> Draft:
    """Plan the study that the options describe. Nothing is written.

    Raises:
        robustkd.errors.UsageError: anything that cannot work.
    """
    load_plugins(options.plug, {"SCENARIOS": scenarios.SCENARIOS})
    scenario = scenarios.parse(options.scenario)
    check_words(options)
    methods = read_method_list(options.methods)
    check_combinations(options)
    device = hardware.resolve_device(options.device)
    check_compilation(options.compile, device)
    capacity = find_capacity(options, device)
    given, teacher = resolve_networks(options)
    options = replace(given, methods=methods)
    out = require_writable(Path(options.out))
    source = load_source(options)
    source, rows, _, leaks = split_data(options, source)
    print_class_orders(options, teacher, source)
    for advice in list_advice(scenario, View.of(source, rows.train)):  # before a class without samples is refused
        console.print(advice, highlight=False)
    check_early_stopping(options, len(rows.held_out), teacher is not None)
    drawn = draw_scenario(options, scenario, source, rows)
    runs = list_runs(options, teacher is not None)
    settings = resolve_settings(options, device, channel_mean_std(View.of(source, rows.train)), teacher is not None)
    plan = Plan(
        options,
        settings,
        out / folder_name(options, identity(options, settings, source, drawn[0], teacher)),
        teacher,
        Path(options.init) if options.init else None,
        *divide_cores(options, device, capacity, runs),
    )
    print_first_weights(plan, runs, source)
    plan = with_latencies(with_cost_ratio(plan, drawn[0].train), runs, drawn[0].train)
    plan = with_measured_jobs(without_refused_methods(plan, runs, drawn[0].train), runs)
    check_evaluation(plan, drawn[0].test, source)
    return Draft(plan, drawn, study_record(given, plan, drawn, source, leaks))


def check_combinations(options: StudyOptions) -> None:
    """Refuse options about processes that exclude one another.

    Raises:
        robustkd.errors.UsageError: as said.
    """
    if options.data_parallel > 1:
        processes = f"--data-parallel {options.data_parallel}"
        if options.compile != "off":
            raise UsageError(f"--compile {options.compile}: it is not available with {processes}; use --compile off")
        if options.on is not None:
            raise UsageError(f"{processes}: with --on {options.on}, every run has one process")
    if options.on is not None and options.jobs == "auto":
        raise UsageError(f"--jobs auto: with --on {options.on}, give the number for the cluster")


def find_capacity(options: StudyOptions, device: str) -> Capacity:
    """Return what executes the runs: this machine, or those of a Ray cluster, to which the process is then connected.

    Raises:
        robustkd.errors.UsageError: there is no connection, or the cluster does not have the device.
    """
    cores = hardware.count_cores()
    if options.on is None:
        return Capacity(cores, largest=options.threads or cores, gpus=1)
    jobs = options.jobs if isinstance(options.jobs, int) else 1
    connect(options.on, max(options.threads or cores, jobs))
    capacity = read_capacity(options.on)
    if note := check_device(options.on, device, capacity):
        console.print(note)
    return capacity


def divide_cores(options: StudyOptions, device: str, capacity: Capacity, runs: Sequence[Run]) -> tuple[int, int]:
    """Return how many runs are executed in parallel, and the threads of each of their processes.

    Raises:
        robustkd.errors.UsageError: a run cannot be divided among as many processes.
    """
    cores, processes = options.threads or capacity.cores, options.data_parallel
    check_processes(processes, device, options.batch)
    most = max(1, min(cores // processes, len(runs))) if device == "cpu" else capacity.gpus
    jobs = options.jobs if isinstance(options.jobs, int) else most
    return jobs, min(max(1, cores // (jobs * processes)), capacity.largest)


def check_words(options: StudyOptions) -> None:
    """Refuse misspelt mixtures and augmentations, before the data are read.

    Raises:
        robustkd.errors.UsageError: as said.
    """
    parse_mixing(options.mixing)
    build_augmentation(options.transform)
    parse_augment(options.augmentation("student"))


def with_cost_ratio(plan: Plan, view: View) -> Plan:
    """Measure what distillation costs relative to plain training, if a method is trained at that cost.

    A study that was begun keeps its ratio, also while no method asks for it, so that all its runs are trained alike. What a
    given teacher cost is not known.
    """
    options = plan.options
    ratio = None if options.fresh else earlier_cost_ratio(plan)
    needed = plan.teacher is None and any(needs_cost_ratio(spec) for spec in options.method_specs())
    if ratio is None and needed:
        prepare_process(plan)
        ratio = measure_cost_ratio(view, plan.settings, options)
        console.print(f"teacher and student take {ratio:g} times as long as plain training")
    return replace(plan, settings=replace(plan.settings, cost_ratio=ratio))


def with_latencies(plan: Plan, runs: tuple[Run, ...], view: View) -> Plan:
    """Measure the latency of each role's network, unless the study was begun and has it: of the architecture, not of a run."""
    earlier, settings = earlier_record(plan), plan.settings
    known = earlier.resolved.latencies if earlier and earlier.resolved.device == settings.device else {}
    latencies = {}
    for role in dict.fromkeys(run.role for run in runs):
        if role in known:
            latencies[role] = known[role]
            continue
        given = plan.teacher if role == TEACHER else None
        net = untrained_network(view, role, settings, "linear", 0) if given is None else load_network(plan, given, role)
        latencies[role] = measure_latency(net, view.sources[0].shape, settings.device)
    return replace(plan, settings=replace(settings, latencies=latencies))


def without_refused_methods(plan: Plan, runs: tuple[Run, ...], view: View) -> Plan:
    """Construct every method once; leave out those of a set, such as `all`, that these nets and data do not allow.

    Raises:
        robustkd.errors.UsageError: a method that was requested by name, or a plugged one, cannot be constructed.
    """
    options = plan.options
    refused: dict[str, None] = {}
    teacher = load_network(plan, plan.teacher, TEACHER) if plan.teacher is not None else None
    for run in runs:
        if run.seed == options.first_seed and (run.role == "student" or teacher is None):
            try:
                check_constructible(
                    view, run, plan.settings, teacher=teacher, init=load_first_weights(plan, run, view.sources[0])
                )
            except UsageError as error:
                dependent = [run.method] if run.role == "student" else control_students(options, run.method)
                if not dependent or any(not options.may_omit(spec) or spec.text == BASELINE for spec in dependent):
                    raise
                console.print(f"left out of {options.methods}: {error}")
                refused |= dict.fromkeys(spec.text for spec in dependent)
    if not refused:
        return plan
    kept = [spec.text for spec in options.method_specs() if spec.text not in refused]
    return replace(plan, options=replace(options, methods=",".join(kept)))


def control_students(options: StudyOptions, teacher: MethodSpec) -> list[MethodSpec]:
    """Return the methods that ask for a teacher other than the study's, trained with the true labels."""
    if teacher == teacher_method(options):
        return []
    specs = [spec for spec in options.method_specs() if spec.needs_teacher]
    return [spec for spec in specs if teacher_method(options, spec.teacher_labels) == teacher]


def check_evaluation(plan: Plan, test: View, source: Source) -> None:
    """Try the user's own attacks, and warn about corruptions that are not defined for the images.

    Raises:
        robustkd.errors.UsageError: an attack does not work.
    """
    options = plan.options
    if options.attack is not None:
        net = untrained_network(test, "student", plan.settings, "linear", 0)
        robustness.check_user_attacks(net, test, options.attack)
    if options.corruptions and not corruptions.supports_shape(source.shape):
        console.print(f"--corruptions: {UNDEFINED_CORRUPTIONS}")


def draw_scenario(options: StudyOptions, scenario: Scenario, source: Source, rows: SplitRows) -> dict[int, Splits]:
    """Return what each data seed is shown, and what seed 0 is, whose draw is part of the study's identity."""
    data_seeds = sorted({options.data_seed(seed) for seed in (0, *options.seed_numbers)})
    drawn = {seed: manifest.build_splits(scenario, source, rows, seed) for seed in data_seeds}
    for views in drawn.values():
        refuse_empty_classes(options, View.of(source, rows.train), views.train)
    return drawn


def identity(
    options: StudyOptions, settings: Settings, source: Source, views: Splits, teacher: Path | None
) -> dict[str, Any]:
    """Return all that decides a study's results. What a scenario reads from files is covered by what it drew.

    Our own code is represented by RESULTS_VERSION, a user's plugins by their content, which has no version. A file that a
    student's criterion reads is part of the version of its runs instead, so that the other runs are kept when it changes.
    """
    teacher_files = [content_digest(file) for file in teacher_method(options).files()]
    return {
        **options.identity(),
        "fingerprint": source.fingerprint,
        "drawn": [view.digest for view in views],
        "bf16": settings.bf16,
        **({} if settings.teacher_bf16 is None else {"teacher_bf16": settings.teacher_bf16}),
        **identify_networks(options, teacher, source),
        "results_version": RESULTS_VERSION,
        "plugins": plugin_digests(options.plug),
        **({"teacher_files": teacher_files} if teacher_files else {}),
    }


def folder_name(options: StudyOptions, decisive: Mapping[str, Any]) -> str:
    """Return a recognisable name with a digest of what decides the results."""
    name = options.name or f"{short_dataset_name(options.dataset)}-{options.scenario}"
    short = digest(text=json.dumps(decisive, sort_keys=True, default=str))[:8]
    return f"{legal_folder_name(name) or 'study'}-{short}"


def require_writable(folder: Path) -> Path:
    """Return the folder if it can be written to, or created. It is not created: it may lie among the images to be read."""
    existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    try:
        probe = existing / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UsageError(f"--out {folder}: it cannot be written ({error.strerror})") from None
    return folder


def refuse_empty_classes(options: StudyOptions, before: View, after: View) -> None:
    """Refuse a class without training rows, which cannot be learnt, and a batch larger than the training set."""
    for number in np.flatnonzero((after.counts == 0) & (before.counts > 0)):
        raise UsageError(
            f"scenario '{options.scenario}' would leave class '{before.classes[number]}' without a training sample "
            f"(it has {before.counts[number]}): use a milder scenario or more data"
        )
    for number in np.flatnonzero(before.counts == 0):
        raise UsageError(f"class '{before.classes[number]}' has no training sample")
    if options.batch > len(after):
        raise UsageError(f"--batch {options.batch} is larger than the training set, which has {len(after)} samples")
