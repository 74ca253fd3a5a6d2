"""What a study is: cells (method, criterion, seed) that are trained, evaluated, resumed and reused, without any tracker.

    FOLDER/study.json              what was asked, and what it came to
    FOLDER/manifest-0.csv, .json   the scenario's draw for a data seed
    FOLDER/runs/hinton-seed0/      model.pt, early.pt, epochs.csv, trained.json, then result.json, per_class.csv, confusion.csv

A cell is finished when its result.json is there. It talks to other cells through files only, so that cells can run side by
side in processes of their own.
"""

import contextlib
import json
import multiprocessing
import queue
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from robustkd import build, checkpoint, engine, metrics, seeds, words
from robustkd.criteria import CRITERIA
from robustkd.data import manifest, sources
from robustkd.data.loader import Loader
from robustkd.data.view import Source, View
from robustkd.method import Method
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.make import make
from robustkd.models.net import Frozen, Network
from robustkd.options import Data, Study
from robustkd.records import Facts

TABLES = {"METHODS": METHODS, "CRITERIA": CRITERIA, "MODELS": MODELS}
SAVE_EVERY = 30.0  # seconds between saves of an unfinished run


@dataclass(frozen=True)
class Cell:
    """One run: a method (with its criterion) and a seed. The teacher is trained by the baseline."""

    role: Literal["teacher", "student"]
    method: str
    seed: int

    @property
    def name(self) -> str:
        """The run's name, which is also its folder's."""
        text = self.role if self.role == "teacher" else self.method
        return re.sub(r"[^\w.+=-]+", "-", text).strip("-") + f"-seed{self.seed}"


@dataclass(frozen=True)
class Plan:
    """All that a cell needs, in whatever process it runs."""

    options: Study
    folder: Path
    device: str
    half: bool  # whether nets compute in bf16
    mean: tuple[float, ...]  # of the training pixels, per channel, in [0, 1]
    std: tuple[float, ...]
    teacher: Path | None  # a trained teacher that was given
    init: Path | None
    jobs: int
    threads: int  # of each job

    def run(self, cell: Cell) -> Path:
        """A cell's folder."""
        return self.folder / "runs" / cell.name

    @property
    def recipe(self) -> engine.Recipe:
        o = self.options
        return engine.Recipe(
            o.epochs,
            o.lr,
            o.schedule,
            tuple(float(part) for part in o.milestones.split(",")),
            o.factor,
            o.warmup,
            o.momentum,
            o.nesterov,
            o.weight_decay,
        )


@dataclass(frozen=True)
class Progress:
    """An epoch that has ended somewhere."""

    cell: Cell
    epoch: int
    epochs: int
    row: dict[str, Any]  # the line of epochs.csv


Report = Callable[[Progress], None]


def cells(options: Study, given_teacher: bool) -> tuple[Cell, ...]:
    """The cells of a study: teachers first, where any method wants one."""
    methods = options.method_texts()
    wanted = any("teacher" in build.needs(build.read(text)[0]) for text in methods)
    teachers = ["baseline+" + options.teacher_criterion] if wanted else []
    return (
        *(Cell("teacher", text, seed) for seed in range(1 if given_teacher else options.seeds) for text in teachers),
        *(Cell("student", text, seed) for seed in range(options.seeds) for text in methods),
    )


@lru_cache(maxsize=1)
def _source(dataset: str, data_dir: str | None, download: bool, image_size: int, skip: bool) -> Source:
    return sources.read(dataset, data_dir=data_dir, download=download, image_size=image_size, skip_bad_images=skip)


def source(options: Data) -> Source:
    """The data set, read once per process."""
    return _source(options.dataset, options.data_dir, options.download, options.image_size, options.skip_bad_images)


def views(plan: Plan, seed: int) -> manifest.Splits:
    """What the seed is shown, from its manifest."""
    return manifest.load(plan.folder / f"manifest-{plan.options.data_seed(seed)}", source(plan.options))


def facts(view: View) -> Facts:
    """What a method may know of a training view."""
    return Facts(len(view), tuple(view.counts.tolist()), view.sources[0].shape)


def network(plan: Plan, word: str, seed: int, head: str, *names: str | int) -> Network:
    """A net with the first weights that the seed gives it, on the plan's device."""
    shown = source(plan.options)
    net = make(
        MODELS.read(word),
        shape=shown.shape,
        classes=len(shown.classes),
        mean=plan.mean,
        std=plan.std,
        head=head,
        half=plan.half,
        seed=seeds.derive(seed, "init", *names),
    )
    return net.to(plan.device)


def loaded(plan: Plan, path: Path) -> Network:
    """A saved net, refused in one sentence where it does not fit the study."""
    net, card = checkpoint.load_net(path, plan.half)
    shown = source(plan.options)
    if tuple(card["shape"]) != shown.shape or len(card["classes"]) != len(shown.classes):
        raise words.UsageError(
            f"{path}: this net takes images of {tuple(card['shape'])} and knows {len(card['classes'])} classes; "
            f"'{shown.name}' has {shown.shape} and {len(shown.classes)}"
        )
    return net.to(plan.device)


def model_card(plan: Plan, cell: Cell, net: Network) -> dict[str, Any]:
    """What rebuilds a cell's net and says where it came from."""
    shown, o = source(plan.options), plan.options
    return {
        "model": o.teacher if cell.role == "teacher" else o.student,
        "shape": shown.shape,
        "classes": shown.classes,
        "mean": plan.mean,
        "std": plan.std,
        "head": criterion_class(cell).head,
        "role": cell.role,
        "method": cell.method,
        "seed": cell.seed,
        "scenario": o.scenario,
        "dataset": shown.name,
        "image_size": o.image_size,
        "parameters": sum(parameter.numel() for parameter in net.parameters()),
    }


def criterion_class(cell: Cell) -> Any:
    return build.read(cell.method)[1].load()


def construct(plan: Plan, cell: Cell, view: View, random: torch.Generator, *, teacher: Network | None = None) -> Method:
    """A cell's method on the plan's device; `teacher` stands in for the trained one where there is none yet."""
    method, criterion = build.read(cell.method)
    chosen, data = criterion.chosen(), facts(view)
    head = criterion.load().head
    word = plan.options.teacher if cell.role == "teacher" else plan.options.student

    def student(number: int = 0) -> Network:
        net = network(plan, word, cell.seed, head, cell.role, number)
        if plan.init is not None and cell.role == "student" and number == 0:
            try:
                net.load_state_dict(loaded(plan, plan.init).state_dict())
            except RuntimeError:
                raise words.UsageError(f"--init {plan.init}: its weights are not those of a {word}") from None
        return net

    def trained() -> Frozen:
        path = plan.teacher or plan.run(Cell("teacher", "", cell.seed)) / "model.pt"
        return Frozen(loaded(plan, path) if teacher is None else teacher)

    ingredients: build.Ingredients = {
        "student": student,
        "students": lambda: lambda count: [student(number) for number in range(count)],
        "teacher": trained,
        "data": lambda: data,
        "criterion": lambda: lambda: criterion.load()(data, **chosen),
        "random": lambda: random,
    }
    with torch.random.fork_rng(devices=[]):  # adapters draw their first weights from the global generator
        torch.default_generator.manual_seed(seeds.derive(cell.seed, "init", cell.role, "method"))
        return build.build(method, ingredients).to(plan.device)


def answers(net: Network, loader: Loader) -> NDArray[np.float32]:
    """The net's logits for a view, in order: (n, K)."""
    net.eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = torch.cat([net(images).logits for images, _ in loader.plain()]).cpu().numpy()
    return logits


def accuracy(net: Network, loader: Loader) -> float:
    """The share of a view's labels that the net gives, NaN where there are none."""
    if not len(loader.view):
        return float("nan")
    return float((answers(net, loader).argmax(axis=1) == loader.view.labels).mean())


def train(plan: Plan, cell: Cell, report: Report) -> None:
    """Train a cell, from where it was left if it was; what it leaves is model.pt, early.pt, epochs.csv and trained.json."""
    folder, device = plan.run(cell), torch.device(plan.device)
    folder.mkdir(parents=True, exist_ok=True)
    shown = views(plan, cell.seed)
    seed = seeds.derive(cell.seed, "run")
    loader = Loader(shown.train, plan.options.batch, device, seed=seed, augment=plan.options.augment)
    test, held_out = (Loader(view, 512, device, augment=False) for view in (shown.test, shown.held_out))
    random = torch.Generator(device).manual_seed(seeds.derive(cell.seed, "method"))
    method = construct(plan, cell, shown.train, random)
    card = model_card(plan, cell, method.model)

    unfinished = folder / "unfinished.pt"
    state = checkpoint.read(unfinished) if unfinished.exists() else None
    rows: list[dict[str, Any]] = [] if state is None else json.loads(state["rows"])
    best: dict[str, Any] = {"accuracy": -1.0} if state is None else state["best"]
    seconds, saved = (rows[-1]["seconds"] if rows else 0.0), time.monotonic()
    started, epochs = time.monotonic(), engine.total(method, plan.recipe)
    for epoch in engine.fit(method, loader, plan.recipe, random=random, state=state):
        seconds += time.monotonic() - started
        row = {"epoch": epoch.number, "phase": epoch.phase, "seconds": seconds, **epoch.terms}
        row["accuracy"] = accuracy(method.model, test)
        row["held_out_accuracy"] = accuracy(method.model, held_out)
        rows.append(row)
        if row["held_out_accuracy"] > best["accuracy"]:
            weights = {name: tensor.detach().clone() for name, tensor in method.model.state_dict().items()}
            best = {"accuracy": row["held_out_accuracy"], "epoch": epoch.number, "weights": weights}
        if time.monotonic() - saved > SAVE_EVERY and epoch.number < epochs:
            checkpoint.write(unfinished, {**epoch.state(), "rows": json.dumps(rows), "best": best})
            saved = time.monotonic()
        report(Progress(cell, epoch.number, epochs, row))
        started = time.monotonic()
    pd.DataFrame(rows).to_csv(folder / "epochs.csv", index=False)
    checkpoint.save_net(folder / "model.pt", method.model.state_dict(), card)
    if "weights" in best:
        checkpoint.save_net(folder / "early.pt", best["weights"], {**card, "stopped_at": best["epoch"]})
    trained = {
        "seconds": seconds,
        "updates": epochs * len(loader),
        "samples": len(shown.train),
        "images_per_second": epochs * len(shown.train) / max(seconds, 1e-9),
        "early_epoch": best.get("epoch"),
        "finished": time.time(),
        **resolved(plan, cell),
    }
    (folder / "trained.json").write_text(json.dumps(trained, indent=2))
    unfinished.unlink(missing_ok=True)


def resolved(plan: Plan, cell: Cell) -> dict[str, Any]:
    """What a cell's words came to: every hyperparameter with its value."""
    method, criterion = build.read(cell.method)
    values = {}
    for word in (method, criterion):
        defaults = {name: p.default for name, p in words.parameters(word.load()).items()}
        values.update({f"{word.word}.{name}": value for name, value in {**defaults, **word.chosen()}.items()})
    return {"precision": "bf16" if plan.half else "fp32", "device": plan.device, "hyperparameters": values}


def evaluate(plan: Plan, cell: Cell) -> dict[str, Any]:
    """Measure a trained cell on the test set, at the last epoch and stopped early, and write its result."""
    folder = plan.run(cell)
    test = Loader(views(plan, cell.seed).test, 512, torch.device(plan.device), augment=False)
    names = test.view.classes
    result: dict[str, Any] = {"cell": {"role": cell.role, "method": cell.method, "seed": cell.seed}, "name": cell.name}
    path = plan.teacher if cell.role == "teacher" and plan.teacher else folder / "model.pt"
    for what, file in (("last", path), ("early", folder / "early.pt")):
        if file.exists():
            logits = answers(loaded(plan, file), test)
            result[what] = metrics.summary(test.view.labels, logits.argmax(axis=1), names)
            np.savez_compressed(folder / f"test-{what}.npz", logits=logits, labels=test.view.labels, row=test.view.rows)
    trained = folder / "trained.json"
    result["trained"] = json.loads(trained.read_text()) if trained.exists() else {}
    last = result["last"]
    pd.DataFrame({"recall": last["recall"], "support": last["support"]}).rename_axis("class").to_csv(
        folder / "per_class.csv"
    )
    pd.DataFrame(last["confusion"], index=list(names), columns=list(names)).to_csv(folder / "confusion.csv")
    (folder / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False))
    return result


def work(plan: Plan, cell: Cell, report: Report) -> None:
    """Do all that is left to do for a cell."""
    folder = plan.run(cell)
    folder.mkdir(parents=True, exist_ok=True)
    given = cell.role == "teacher" and plan.teacher is not None
    try:
        if not given and not (folder / "trained.json").exists():
            train(plan, cell, report)
        evaluate(plan, cell)
    except (engine.Diverged, words.UsageError):
        raise
    except Exception as error:  # a fault in the code, ours or the user's: its whole story goes into a file
        (folder / "error.txt").write_text(traceback.format_exc())
        raise words.Failed(f"{type(error).__name__}: {error} (see {folder / 'error.txt'})") from error


def finished(plan: Plan, cell: Cell) -> bool:
    """Whether a cell has its result."""
    return (plan.run(cell) / "result.json").exists()


class Inline(Executor):
    """Does what is submitted at once, in this process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def run(plan: Plan, wanted: Iterable[Cell], report: Report) -> Iterator[tuple[Cell, Exception | None]]:
    """Do the cells that are not finished, students after their teachers, and hand back each as it ends.

    A cell that fails takes down only what waits for it.
    """
    todo = [cell for cell in wanted if not finished(plan, cell)]
    if plan.jobs == 1 or len(todo) <= 1:
        prepare_process(plan)
        yield from _scheduled(Inline(), 1, lambda cell: (work, plan, cell, report), todo, plan)
        return
    context = multiprocessing.get_context("spawn")
    events = context.Queue()

    def news() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                report(events.get_nowait())

    with ProcessPoolExecutor(plan.jobs, context, _begin, (plan, events)) as pool:
        try:
            yield from _scheduled(pool, plan.jobs, lambda cell: (_work, plan, cell), todo, plan, news)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _scheduled(
    pool: Executor,
    jobs: int,
    call: Callable[[Cell], tuple[Any, ...]],
    todo: list[Cell],
    plan: Plan,
    news: Callable[[], None] = lambda: None,
) -> Iterator[tuple[Cell, Exception | None]]:
    """Keep `jobs` cells running, none before its teacher has ended."""
    running: dict[Future[None], Cell] = {}
    failed: set[Cell] = set()
    while todo or running:
        for cell in list(todo):
            before = _teacher_of(plan, cell)
            if before in failed:
                todo.remove(cell)
                yield cell, words.Failed("it was not run, because its teacher failed")
            elif len(running) < jobs and before not in [*todo, *running.values()]:
                todo.remove(cell)
                running[pool.submit(*call(cell))] = cell
        done, _ = wait(running, timeout=0.2, return_when=FIRST_COMPLETED)
        news()
        for future in done:
            cell, error = running.pop(future), future.exception()
            if isinstance(error, Exception):
                failed.add(cell)
            elif error is not None:
                raise error
            yield cell, error


def _teacher_of(plan: Plan, cell: Cell) -> Cell | None:
    """The cell that must have ended before this one begins."""
    if cell.role == "teacher" or "teacher" not in build.needs(build.read(cell.method)[0]):
        return None
    seed = 0 if plan.teacher is not None else cell.seed
    return Cell("teacher", "baseline+" + plan.options.teacher_criterion, seed)


_events: Any = None


def _begin(plan: Plan, events: Any) -> None:
    global _events
    _events = events
    prepare_process(plan)


def _work(plan: Plan, cell: Cell) -> None:
    work(plan, cell, _events.put)


def prepare_process(plan: Plan) -> None:
    """Threads and the user's own words, in the process that will train."""
    torch.set_num_threads(plan.threads)
    torch.backends.cudnn.benchmark = True  # shapes hardly change within a run
    load_plugs(plan.options)


def load_plugs(options: Study) -> None:
    """Take in the user's files; scenarios in them are taken in where scenarios are read."""
    for path in words.split(options.plug, ",") if options.plug else []:
        words.plug(path, TABLES)


def rehearse(plan: Plan, cell: Cell, view: View) -> Method:
    """A cell's method with an untrained teacher: whatever cannot be constructed is refused before anything is trained."""
    teacher = network(plan, plan.options.teacher, 0, "linear") if plan.teacher is None else None
    random = torch.Generator(plan.device).manual_seed(0)
    return construct(plan, cell, view, random, teacher=teacher)


def estimate(plan: Plan, cell: Cell, steps: int = 4) -> tuple[int, float]:
    """A cell's updates, and the seconds they would take by a few timed ones."""
    view = views(plan, cell.seed).train
    device = torch.device(plan.device)
    loader = Loader(view, plan.options.batch, device, augment=plan.options.augment)
    method = rehearse(plan, cell, view)
    seconds = 0.0
    for phase in method.phases():
        pace = engine.pace(method, phase, loader, plan.recipe, steps)
        seconds += pace * len(loader) * plan.recipe.length(phase)
    return engine.total(method, plan.recipe) * len(loader), seconds
