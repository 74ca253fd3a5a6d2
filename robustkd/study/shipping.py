"""What a run on another machine needs and returns: data in memory, and files by content, as no folder is shared.

Relative paths keep their meaning: their files lie below the folder in which the other machine executes the run. Only a study's
plugins, its teacher and its first weights may have other paths, which the plan there replaces.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from robustkd.atomic import TEMPORARY, write_atomically
from robustkd.data.manifest import Splits
from robustkd.data.view import Source, View
from robustkd.errors import UsageError
from robustkd.locks import LOCK_FILE
from robustkd.models import MODELS
from robustkd.models.weight_sources import checkpoint_files
from robustkd.plugins import plugin_paths
from robustkd.study.integrity import DAMAGED
from robustkd.study.plan import Plan, Run, StudyData
from robustkd.study.run_folder import UNFINISHED, load_views, source_of

Files = Mapping[str, bytes]  # content by name
LAST = ("trained.json", "result.json")  # written after the files that they list
GIVEN = "given"  # folder of the files that have another path than on the study's machine


def collect_data(plan: Plan, runs: Iterable[Run]) -> StudyData:
    """Return the data of runs, with images that are no longer memory-mapped."""
    kept: dict[int, Source] = {}

    def in_memory(source: Source) -> Source:
        return kept.setdefault(id(source), replace(source, images=np.asarray(source.images)))

    def view_in_memory(view: View) -> View:
        return replace(view, sources=tuple(map(in_memory, view.sources)))

    seeds = sorted({plan.options.data_seed(run.seed) for run in runs})
    views = {seed: Splits(*map(view_in_memory, load_views(plan, seed))) for seed in seeds}
    return StudyData(in_memory(source_of(plan)), views)


def with_writable_labels(data: StudyData) -> StudyData:
    """Return data whose rows and labels, unlike those of shared memory, torch accepts without a warning."""

    def copy(view: View) -> View:
        return replace(view, rows=view.rows.copy(), labels=view.labels.copy())

    return replace(data, views={seed: Splits(*map(copy, views)) for seed, views in data.views.items()})


def read_folder(folder: Path) -> Files:
    """Read the files of a run's folder, without those that only this machine uses."""
    if not folder.is_dir():
        return {}
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if _belongs_to_run(path)}


def _belongs_to_run(path: Path) -> bool:
    return path.is_file() and path.name != LOCK_FILE and path.suffix != DAMAGED and not TEMPORARY.fullmatch(path.name)


def write_folder(folder: Path, files: Files) -> None:
    """Write files into a run's folder, each atomically, and the documents that say that others are complete last.

    The saved state is removed where training is over.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in sorted(files, key=lambda name: LAST.index(name) if name in LAST else -1):
        write_atomically(folder / name, lambda file, name=name: file.write(files[name]))  # type: ignore[misc]
    if LAST[0] in files and UNFINISHED not in files:
        (folder / UNFINISHED).unlink(missing_ok=True)


def collect_given_files(plan: Plan, runs: Iterable[Run]) -> Files:
    """Read the files that the options of a study name, by path.

    Raises:
        UsageError: a file that a criterion, a method or a network reads has no relative path below the working directory.
    """
    named = {file for run in runs for file in run.method.files()}
    for word in (plan.settings.student, plan.settings.teacher):
        named |= (
            set(checkpoint_files(MODELS.parse(word))) if plan.teacher is None or word != plan.options.teacher else set()
        )
    for file in sorted(named):
        if file.is_absolute() or ".." in file.parts:
            raise UsageError(
                f"--on {plan.options.on}: '{file}', which a method or a network reads, is sent to other machines under the same"
                " path, so it must be relative and below the working directory"
            )
    return {str(path): path.read_bytes() for path in (*named, *_replaced_files(plan))}


def _replaced_files(plan: Plan) -> list[Path]:
    """Return the files whose path a plan replaces on another machine."""
    given = [*map(Path, plugin_paths(plan.options.plug)), plan.teacher, plan.init]
    return [path for path in given if path is not None]


def unpack_plan(plan: Plan, data: StudyData, given: Files, folder: Path) -> Plan:
    """Return the plan of a machine that executes runs below a folder, in which the given files are written."""
    moved = {
        str(path): folder / GIVEN / str(number) / path.name.replace(",", "_")
        for number, path in enumerate(_replaced_files(plan))
    }
    for name, content in given.items():
        path = moved.get(name, folder / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    plugs = [str(moved[str(Path(path))]) for path in plugin_paths(plan.options.plug)]
    return replace(
        plan,
        options=replace(plan.options, plug=",".join(plugs) or None),
        folder=folder,
        teacher=None if plan.teacher is None else moved[str(plan.teacher)],
        init=None if plan.init is None else moved[str(plan.init)],
        data=with_writable_labels(data),
    )
