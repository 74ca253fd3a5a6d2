"""One cell of a study, done: its method constructed, trained from where it was left, and measured on the test set."""

import json
import time
import traceback
from typing import Any

import numpy as np
import pandas as pd
import torch

from robustkd import errors, seeds, specs
from robustkd.data.loader import Loader
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.data.view import View
from robustkd.method import Method
from robustkd.models.net import Frozen, Network
from robustkd.study.evaluate import evaluate
from robustkd.study.plan import Plan, Progress, Report, Run, facts, loaded, network, source, views
from robustkd.training import build, checkpoint, engine, hardware
from robustkd.training.inference import compute_accuracy, predict_auxiliary_logits, predict_logits

SAVE_EVERY = 30.0  # seconds between saves of an unfinished run
WATCHED = 2000  # rows that are looked at after every epoch, of the test set and of the wrong training labels


def model_card(plan: Plan, cell: Run, net: Network) -> dict[str, Any]:
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


def criterion_class(cell: Run) -> Any:
    return build.read(cell.method)[1].load()


def construct(plan: Plan, cell: Run, view: View, random: torch.Generator, *, teacher: Network | None = None) -> Method:
    """A cell's method on the plan's device; `teacher` stands in for the trained one where there is none yet."""
    method, criterion = build.read(cell.method)
    chosen, data = criterion.kwargs(), facts(view)
    head = criterion.load().head
    word = plan.options.teacher if cell.role == "teacher" else plan.options.student

    def student(number: int = 0) -> Network:
        net = network(plan, word, cell.seed, head, cell.role, number)
        if plan.init is not None and cell.role == "student" and number == 0:
            try:
                net.load_state_dict(loaded(plan, plan.init).state_dict())
            except RuntimeError:
                raise errors.UsageError(f"--init {plan.init}: its weights are not those of a {word}") from None
        return net

    def trained() -> Frozen:
        path = plan.teacher or plan.run(Run("teacher", "", cell.seed)) / "model.pt"
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
        made = build.build(method, ingredients).to(plan.device)
    for text in made.views:  # a misspelt one is refused here, before anything is trained
        PAIRED_VIEWS.parse(text).kwargs()
    return made


def batches(plan: Plan, method: Method, view: View, seed: int = 0) -> Loader:
    """A view's batches as the method wants them."""
    o = plan.options
    return Loader(view, o.batch, torch.device(plan.device), seed=seed, augment=o.augment, views=method.views)


def watched(view: View) -> View:
    """A sample of a view to look at after every epoch: the same rows whatever the seed, in order."""
    keys = seeds.row_keys(0, view.sample_ids)
    return view.take(np.sort(np.argsort(keys, kind="stable")[:WATCHED]))


def memorisation_rates(net: Network, loader: Loader) -> dict[str, float]:
    """What a net makes of wrong labels: the share it gives itself, and the share whose true label it gives."""
    view = loader.view
    if not len(view) or view.truth is None:
        return {}
    given = predict_logits(net, loader).argmax(axis=1)
    return {"memorised": float((given == view.labels).mean()), "recovered": float((given == view.truth).mean())}


def train(plan: Plan, cell: Run, report: Report) -> None:
    """Train a cell, from where it was left if it was; what it leaves is model.pt, early.pt, epochs.csv and trained.json."""
    folder, device = plan.run(cell), torch.device(plan.device)
    folder.mkdir(parents=True, exist_ok=True)
    shown = views(plan, cell.seed)
    seed = seeds.derive(cell.seed, "run")
    looked_at = watched(shown.test), shown.held_out, watched(shown.train.take(shown.train.corrupted))
    test, held_out, fooled = (Loader(view, 512, device, augment=False) for view in looked_at)
    random = torch.Generator(device).manual_seed(seeds.derive(cell.seed, "method"))
    method = construct(plan, cell, shown.train, random)
    loader = batches(plan, method, shown.train, seed)
    card = model_card(plan, cell, method.model)

    unfinished = folder / "unfinished.pt"
    state = checkpoint.load_checkpoint(unfinished) if unfinished.exists() else None
    rows: list[dict[str, Any]] = [] if state is None else json.loads(state["rows"])
    best: dict[str, Any] = {"accuracy": -1.0} if state is None else state["best"]
    seconds, saved = (rows[-1]["seconds"] if rows else 0.0), time.monotonic()
    started, epochs = time.monotonic(), engine.total_epochs(method, plan.recipe)
    counted = hardware.reset_peak_memory(plan.device)
    for epoch in engine.fit(method, loader, plan.recipe, random=random, state=state):
        seconds += time.monotonic() - started
        row = {"epoch": epoch.number, "phase": epoch.phase, "seconds": seconds, **epoch.terms}
        row["accuracy"] = compute_accuracy(method.model, test)
        row["held_out_accuracy"] = compute_accuracy(method.model, held_out)
        row |= memorisation_rates(method.model, fooled)
        rows.append(row)
        if row["held_out_accuracy"] > best["accuracy"]:
            weights = {name: tensor.detach().clone() for name, tensor in method.model.state_dict().items()}
            best = {"accuracy": row["held_out_accuracy"], "epoch": epoch.number, "weights": weights}
        if time.monotonic() - saved > SAVE_EVERY and epoch.number < epochs:
            checkpoint.save_checkpoint(unfinished, {**epoch.state(), "rows": json.dumps(rows), "best": best})
            saved = time.monotonic()
        report(Progress(cell, epoch.number, epochs, row))
        started = time.monotonic()
    pd.DataFrame(rows).to_csv(folder / "epochs.csv", index=False)
    checkpoint.save_net(folder / "model.pt", method.model.state_dict(), card)
    if beside := predict_auxiliary_logits(method, Loader(shown.test, 512, device, augment=False)):
        np.savez_compressed(folder / "beside.npz", **beside)
    if "weights" in best:
        checkpoint.save_net(folder / "early.pt", best["weights"], {**card, "stopped_at": best["epoch"]})
    trained = {
        "seconds": seconds,
        "updates": epochs * len(loader),
        "samples": len(shown.train),
        "images_per_second": epochs * len(shown.train) / max(seconds, 1e-9),
        "peak_memory": hardware.peak_memory(plan.device) if counted else None,
        "early_epoch": best.get("epoch"),
        "finished": time.time(),
        **resolved(plan, cell),
    }
    (folder / "trained.json").write_text(json.dumps(trained, indent=2))
    unfinished.unlink(missing_ok=True)


def resolved(plan: Plan, cell: Run) -> dict[str, Any]:
    """What a cell's words came to: every hyperparameter with its value."""
    method, criterion = build.read(cell.method)
    values = {}
    for word in (method, criterion):
        defaults = {name: p.default for name, p in specs.settable_parameters(word.load()).items()}
        values.update({f"{word.name}.{name}": value for name, value in {**defaults, **word.kwargs()}.items()})
    return {"precision": "bf16" if plan.half else "fp32", "device": plan.device, "hyperparameters": values}


def work(plan: Plan, cell: Run, report: Report) -> None:
    """Do all that is left to do for a cell."""
    folder = plan.run(cell)
    folder.mkdir(parents=True, exist_ok=True)
    given = cell.role == "teacher" and plan.teacher is not None
    try:
        if not given and not (folder / "trained.json").exists():
            train(plan, cell, report)
        evaluate(plan, cell)
    except (engine.DivergedError, errors.UsageError):
        raise
    except Exception as error:  # a fault in the code, ours or the user's: its whole story goes into a file
        (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        raise errors.ExecutionError(f"{type(error).__name__}: {error} (see {folder / 'error.txt'})") from error


def rehearse(plan: Plan, cell: Run, view: View) -> Method:
    """A cell's method with an untrained teacher: whatever cannot be constructed is refused before anything is trained."""
    teacher = network(plan, plan.options.teacher, 0, "linear") if plan.teacher is None else None
    random = torch.Generator(plan.device).manual_seed(0)
    return construct(plan, cell, view, random, teacher=teacher)


def estimate(plan: Plan, cell: Run, view: View, steps: int = 4) -> tuple[int, float]:
    """A cell's updates on a training view, and the seconds they would take by a few timed ones."""
    method = rehearse(plan, cell, view)
    loader = batches(plan, method, view)
    paces = [(phase, engine.seconds_per_step(method, phase, loader, plan.recipe, steps)) for phase in method.phases()]
    seconds = sum(pace * len(loader) * plan.recipe.phase_epochs(phase) for phase, pace in paces)
    return engine.total_epochs(method, plan.recipe) * len(loader), seconds
