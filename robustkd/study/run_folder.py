"""A run on disk: its files around the in-memory functions that train and evaluate it.

    FOLDER/study.json              the study: options, data set, methods
    FOLDER/manifest-0.csv, .json   the scenario's draw for a data seed
    FOLDER/runs/hinton-seed0/      model.pt, early.pt and ema.pt, epochs.csv, held_out.npz, trained.json, then result.json,
                                   per_class.csv, confusion.csv

A run is finished when its result.json exists and is up to date. Runs communicate through files only, so that they can be
executed in processes of their own.
"""

import json
import math
import traceback
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robustkd.atomic import remove_temporary_files, write_atomically
from robustkd.csv_cells import write_csv
from robustkd.data import manifest, sources
from robustkd.data.manifest import Splits
from robustkd.data.view import Source
from robustkd.errors import ExecutionError, UsageError, is_out_of_memory
from robustkd.evaluation import attack_specs, corruptions
from robustkd.locks import hold_lock
from robustkd.models.net import Network
from robustkd.study.evaluate import Evaluation, Teacher, evaluate, evaluation_version, known_predictions
from robustkd.study.given_networks import load_first_weights, load_given_network
from robustkd.study.integrity import digest_files, find_damaged_files, is_whole, set_aside
from robustkd.study.memory import OutOfSharedMemory, describe_lack_of_memory, find_fitting_batch
from robustkd.study.options import DataOptions
from robustkd.study.peers import peers_of
from robustkd.study.plan import Plan, Report, Run, teacher_of, teacher_run
from robustkd.study.results import TEACHER, RunResult, TrainingInfo, read_document, write_document
from robustkd.study.run import TrainedRun, model_card, train
from robustkd.study.stopping import RunPaused, RunStopped
from robustkd.study.versions import method_version
from robustkd.training import checkpoint, engine
from robustkd.training.data_parallel import DataParallel

PATIENCE = 60.0  # seconds that a run waits for an orphan, the worker of a command that was killed, to end
UNFINISHED = "unfinished.pt"  # the state of a run that is not finished
ARRAYS = ("test-last", "test-early", "fit-last")
# Files that training and evaluation write before their documents, which list the digests.
TRAINED = ("epochs.csv", "model.pt", "auxiliary.npz", "early.pt", "ema.pt", "held_out.npz")
EVALUATED = (*(f"{name}.npz" for name in ARRAYS), "per_class.csv", "confusion.csv")


class FileCheckpointer:
    """Keeps the state of an unfinished run in a file.

    Args:
        version: of the method's results; the state of another version is ignored.
        interval: seconds between two saves.
        should_stop: whether training should stop after the present epoch.
        share: of the epochs, after which the run is paused.
    """

    def __init__(
        self,
        path: Path,
        version: str,
        interval: float = 0.0,
        should_stop: Callable[[], bool] = lambda: False,
        share: float = 1.0,
    ) -> None:
        self.path, self.version, self.interval, self.should_stop = path, version, interval, should_stop
        self.share = share

    def load(self) -> dict[str, Any] | None:
        """Return the saved state, or None; a damaged file is set aside."""
        try:
            state = checkpoint.load_checkpoint(self.path) if self.path.exists() else {}
        except UsageError:
            set_aside(self.path)
            return None
        return state if state.get("version") == self.version else None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the saved state."""
        checkpoint.save_checkpoint(self.path, {**state, "version": self.version})

    def clear(self) -> None:
        """Remove the saved state."""
        self.path.unlink(missing_ok=True)


@lru_cache(maxsize=1)
def _read_source(dataset: str, read_options: tuple[tuple[str, Any], ...]) -> Source:
    return sources.load_dataset(dataset, **dict(read_options))


def load_source(options: DataOptions) -> Source:
    """Read the data set, once per process."""
    return _read_source(options.dataset, tuple(options.read_options().items()))


def source_of(plan: Plan) -> Source:
    """Return the data set of a plan, from its files unless the plan holds it."""
    return load_source(plan.options) if plan.data is None else plan.data.source


def load_views(plan: Plan, seed: int) -> Splits:
    """Return what a seed is shown, from its manifest unless the plan holds it."""
    data_seed = plan.options.data_seed(seed)
    if plan.data is not None:
        return plan.data.views[data_seed]
    return manifest.load_manifest(plan.folder / f"manifest-{data_seed}", load_source(plan.options))


def load_network(plan: Plan, path: Path, role: str) -> Network:
    """Load a role's saved network onto the plan's device, with its outputs in the order of the data set's classes.

    Raises:
        UsageError: it does not fit the study's images or classes.
    """
    return load_given_network(plan, path, source_of(plan), role)


def load_teacher(plan: Plan, run: Run, data: Splits) -> Teacher | None:
    """Return the teacher that a run's method needs, or the one that the user gave; None where there is neither."""
    needed = teacher_of(plan, run)
    if run.role == TEACHER or (needed is None and plan.teacher is None):
        return None
    path = plan.teacher or plan.run_folder(needed or teacher_run(plan, run.seed)) / "model.pt"
    folder = None if needed is None else plan.run_folder(needed)
    info = None if folder is None else read_training_info(folder)
    arrays = {} if folder is None else read_arrays(folder)
    return Teacher(
        lambda: load_network(plan, path, TEACHER), info.seconds if info else None, known_predictions(arrays, data)
    )


def is_trained(plan: Plan, run: Run) -> bool:
    """Whether a run's network exists, trained by the present version of its method, or was given by the user."""
    if run.role == TEACHER and plan.teacher is not None:
        return True
    folder = plan.run_folder(run)
    info = read_training_info(folder)
    if info is None or info.version != method_version(run.method) or not is_whole(folder, info):
        return False
    return not info.teacher or _has_teacher(plan, run, info.teacher)


def _has_teacher(plan: Plan, run: Run, digest: str) -> bool:
    """Whether a run's teacher is the network with this digest: it may have been lost, and trained again with other results."""
    teacher = teacher_of(plan, run)
    if teacher is None or plan.teacher is not None:  # one that the user gave is part of the study's identity
        return True
    info = read_training_info(plan.run_folder(teacher))
    return info is not None and info.weights in ("", digest) and is_trained(plan, teacher)  # "": of an earlier version


def is_finished(plan: Plan, run: Run) -> bool:
    """Whether a run has a result that is up to date: true labels may have been corrected, or more may be requested."""
    result = read_previous_result(plan.run_folder(run))
    if result is None or not is_trained(plan, run) or not is_whole(plan.run_folder(run), result):
        return False
    wanted = {word: attack_specs.attack_version(word) for word in plan.settings.attacks}
    wanted |= {"corruptions": str(corruptions.CORRUPTIONS_VERSION)} if plan.settings.corruptions else {}
    current = evaluation_version(source_of(plan))
    return result.evaluation_version == current and wanted.items() <= result.robustness_versions.items()


def execute(plan: Plan, run: Run, report: Report, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train and evaluate a run as far as it is not done yet.

    Args:
        should_stop: asked after every epoch whether training should be saved and stopped.

    Raises:
        RunStopped: training was stopped on request.
        OutOfSharedMemory: the run does not fit into memory next to others, as the plan has several jobs.
        ExecutionError: the code, ours or the user's, failed; the traceback is in the run's folder.
        UsageError, DivergedError: as raised by training.
    """
    folder = plan.run_folder(run)
    with hold_lock(folder, f"{folder}: another process is still at work on this run", PATIENCE):
        repair_folder(folder)
        try:
            if not is_trained(plan, run):
                train_in_folder(plan, run, report, should_stop)
            if plan.share is None or run.role == TEACHER:
                evaluate_in_folder(plan, run)
            return
        except RunPaused:
            return
        except engine.DivergedError as error:
            hint = "; --on-nonfinite skip drops single updates" if plan.settings.on_nonfinite == "stop" else ""
            raise engine.DivergedError(f"{error}{hint}") from None
        except (UsageError, RunStopped):
            raise
        except (Exception, SystemExit) as error:  # a user's method may call sys.exit
            if not is_out_of_memory(error):
                (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
                raise ExecutionError(f"{type(error).__name__}: {error} (see {folder / 'error.txt'})") from error
        # After the handler, whose traceback holds the tensors of the run.
        if plan.jobs > 1:
            raise OutOfSharedMemory(f"out of memory on {plan.settings.device} with {plan.jobs} runs in parallel")
        raise ExecutionError(explain_lack_of_memory(plan, run))


def repair_folder(folder: Path) -> None:
    """Set damaged files aside, and remove what processes left that failed or were killed."""
    for name in find_damaged_files(folder):
        set_aside(folder / name)
    remove_temporary_files(folder)
    (folder / "error.txt").unlink(missing_ok=True)


def explain_lack_of_memory(plan: Plan, run: Run) -> str:
    """Return the sentence for a run that ran out of memory, with a batch that fits if it was in training."""
    if is_trained(plan, run):
        return (
            f"out of memory on {plan.settings.device} during evaluation; with more memory, the same command continues"
        )
    try:
        data = load_views(plan, run.seed)
        teacher = load_teacher(plan, run, data)
        batch = find_fitting_batch(data.train, run, plan.settings, None if teacher is None else teacher.network())
    except Exception:  # whatever fails where there is hardly any memory
        batch = None
    return describe_lack_of_memory(plan.settings, batch)


def read_unfinished(folder: Path, version: str) -> dict[str, Any] | None:
    """Read the saved state of a run that is not finished; None where there is none of this version."""
    return FileCheckpointer(folder / UNFINISHED, version).load()


def parse_rows(state: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of epochs.csv in a saved state."""
    return pd.DataFrame(json.loads(state["rows"]))


def train_in_folder(plan: Plan, run: Run, report: Report, should_stop: Callable[[], bool] = lambda: False) -> None:
    """Train a run and write its network and history."""
    folder = plan.run_folder(run)
    folder.mkdir(parents=True, exist_ok=True)
    share = 1.0 if plan.share is None or run.role == TEACHER else plan.share
    checkpointer = FileCheckpointer(
        folder / UNFINISHED, method_version(run.method), plan.options.save_interval, should_stop, share
    )
    if plan.options.data_parallel > 1:
        checkpointer.load()  # sets a damaged file aside before peers read it
    with peers_of(plan, run, train_as_peer) as parallel:
        trained = train_on_files(plan, run, checkpointer, report, parallel)
    save_trained(folder, trained, card_in_study(plan, run, trained))
    checkpointer.clear()


def train_on_files(
    plan: Plan, run: Run, checkpointer: FileCheckpointer, report: Report, parallel: DataParallel | None
) -> TrainedRun:
    """Train a run on what the study's files hold, from its checkpoint if there is one."""
    data = load_views(plan, run.seed)
    return train(
        data,
        run,
        plan.settings,
        teacher=load_teacher(plan, run, data),
        init=load_first_weights(plan, run, source_of(plan)),
        checkpointer=checkpointer,
        report=report,
        parallel=parallel,
    )


def train_as_peer(plan: Plan, run: Run, parallel: DataParallel) -> None:
    """Train a run together with the process that writes its files."""
    checkpointer = FileCheckpointer(plan.run_folder(run) / UNFINISHED, method_version(run.method), interval=math.inf)
    train_on_files(plan, run, checkpointer, lambda progress: None, parallel)


def card_in_study(plan: Plan, run: Run, trained: TrainedRun) -> dict[str, Any]:
    """Return the model card of a study's network."""
    source, options = source_of(plan), plan.options
    origin: dict[str, Any] = {
        "scenario": options.scenario,
        "dataset": source.name,
    }
    if source.value_range is not None:  # later images must be scaled alike
        origin["value_range"] = source.value_range
    return model_card(trained, run, plan.settings, source, **origin)


def save_trained(folder: Path, trained: TrainedRun, card: Mapping[str, Any]) -> None:
    """Write what training resulted in; trained.json last, as it says that the rest is complete."""
    write_csv(trained.history, folder / "epochs.csv", index=False)
    checkpoint.save_net(folder / "model.pt", trained.model.state_dict(), card)
    if trained.auxiliary:
        write_npz(folder / "auxiliary.npz", trained.auxiliary)
    if trained.early_weights is not None:
        early = {**card, "stopped_at": trained.info.early_epoch}
        checkpoint.save_net(folder / "early.pt", trained.early_weights, early)
    if trained.held_out.size:
        write_npz(folder / "held_out.npz", {"predicted": trained.held_out})
    if trained.averaged_weights is not None:
        checkpoint.save_net(folder / "ema.pt", trained.averaged_weights, {**card, "averaged": True})
    files = digest_files(folder, TRAINED)
    write_document(folder / "trained.json", trained.info.model_copy(update={"files": files}))


def evaluate_in_folder(plan: Plan, run: Run) -> RunResult:
    """Evaluate a trained run and write its result."""
    folder, data = plan.run_folder(run), load_views(plan, run.seed)
    given = run.role == TEACHER and plan.teacher is not None
    path = plan.teacher if given and plan.teacher is not None else folder / "model.pt"
    files = {"last": path, "early": folder / "early.pt"}
    evaluation = evaluate(
        {which: load_network(plan, file, run.role) for which, file in files.items() if file.exists()},
        data,
        run,
        plan.settings,
        teacher=load_teacher(plan, run, data),
        auxiliary=read_npz(folder / "auxiliary.npz"),
        training=read_training_info(folder),
        previous=read_previous_result(folder),
    )
    save_evaluation(folder, evaluation)
    return evaluation.result


def save_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write a run's arrays and tables; result.json last, as it says that the rest is complete."""
    for name in ARRAYS:
        if name in evaluation.arrays:
            write_npz(folder / f"{name}.npz", evaluation.arrays[name])
        else:
            (folder / f"{name}.npz").unlink(missing_ok=True)  # of a truth that was withdrawn
    last = evaluation.result.last
    table = pd.DataFrame({**last.by_class, "support": last.support})
    write_csv(table.rename_axis("class"), folder / "per_class.csv")
    names = list(last.support)
    write_csv(pd.DataFrame(last.confusion_matrix(), index=names, columns=names), folder / "confusion.csv")
    files = digest_files(folder, EVALUATED)
    write_document(folder / "result.json", evaluation.result.model_copy(update={"files": files}))


def write_npz(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays atomically."""
    write_atomically(path, lambda file: np.savez_compressed(file, **arrays))  # type: ignore[arg-type]


def read_training_info(folder: Path) -> TrainingInfo | None:
    """Read a run's trained.json; None where it is missing or damaged, as the run can be trained again."""
    try:
        return read_document(folder / "trained.json", TrainingInfo)
    except UsageError:
        return None


def read_previous_result(folder: Path) -> RunResult | None:
    """Read a run's result.json; None where it is missing or not usable, as the run can be evaluated again."""
    try:
        return read_document(folder / "result.json", RunResult)
    except UsageError:
        return None


def read_arrays(folder: Path) -> dict[str, dict[str, NDArray[Any]]]:
    """Read the arrays of an evaluated run, as far as they exist."""
    return {name: read_npz(folder / f"{name}.npz") for name in ARRAYS if (folder / f"{name}.npz").exists()}


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of an npz by name; none where there is no such file, or it is damaged, as they can be computed again."""
    try:
        with path.open("rb") as file, np.load(file) as arrays:
            return dict(arrays)
    except Exception:  # what a damaged archive raises depends on where it is damaged
        return {}
