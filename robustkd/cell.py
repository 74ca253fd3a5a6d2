"""One cell of a study, done: its method constructed, trained from where it was left, and measured on the test set."""

import json
import time
import traceback
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from robustkd import build, checkpoint, engine, metrics, seeds, words
from robustkd.data.loader import Loader
from robustkd.data.paired import PAIRED
from robustkd.data.view import View
from robustkd.method import Method
from robustkd.models.net import Frozen, Network
from robustkd.study import Cell, Plan, Progress, Report, facts, loaded, network, source, truth_digest, views

SAVE_EVERY = 30.0  # seconds between saves of an unfinished run


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
        made = build.build(method, ingredients).to(plan.device)
    for text in made.views:  # a misspelt one is refused here, before anything is trained
        PAIRED.read(text).chosen()
    return made


def batches(plan: Plan, method: Method, view: View, seed: int = 0) -> Loader:
    """A view's batches as the method wants them."""
    o = plan.options
    return Loader(view, o.batch, torch.device(plan.device), seed=seed, augment=o.augment, views=method.views)


def answers(net: Network, loader: Loader) -> NDArray[np.float32]:
    """The net's logits for a view, in order: (n, K)."""
    net.eval()
    with torch.no_grad():
        logits: NDArray[np.float32] = torch.cat([net(images).logits for images, _ in loader.plain()]).cpu().numpy()
    return logits


def answers_beside(method: Method, loader: Loader) -> dict[str, Any]:
    """What the method would have measured beside its model, in order: (n, K) by name."""
    method.eval()
    with torch.no_grad():
        parts = [method.beside(images) for images, _ in loader.plain()]
    return {name: torch.cat([part[name] for part in parts]).cpu().numpy() for name in parts[0]}


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
    test, held_out = (Loader(view, 512, device, augment=False) for view in (shown.test, shown.held_out))
    random = torch.Generator(device).manual_seed(seeds.derive(cell.seed, "method"))
    method = construct(plan, cell, shown.train, random)
    loader = batches(plan, method, shown.train, seed)
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
    if beside := answers_beside(method, test):
        np.savez_compressed(folder / "beside.npz", **beside)
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
    """Measure a trained cell and write its result.

    On the test set, at the last epoch and stopped early; and against the truth, as far as it is known: on the test rows where
    labels as given may be wrong, and on the training rows.
    """
    folder, shown = plan.run(cell), views(plan, cell.seed)
    test, train = (Loader(v, 512, torch.device(plan.device), augment=False) for v in (shown.test, shown.train))
    names = test.view.classes
    result: dict[str, Any] = {"cell": {"role": cell.role, "method": cell.method, "seed": cell.seed}, "name": cell.name}
    result["truth"] = truth_digest(plan.options)
    path = plan.teacher if cell.role == "teacher" and plan.teacher else folder / "model.pt"
    for what, file in (("last", path), ("early", folder / "early.pt")):
        if file.exists():
            net = loaded(plan, file)
            logits = answers(net, test)
            result[what] = metrics.summary(test.view.labels, logits.argmax(axis=1), names)
            if what == "last":
                result |= true_figures(net, logits, test.view, train)
            np.savez_compressed(folder / f"test-{what}.npz", logits=logits, labels=test.view.labels, row=test.view.rows)
    beside = np.load(folder / "beside.npz") if (folder / "beside.npz").exists() else {}
    result["beside"] = {n: metrics.summary(test.view.labels, z.argmax(axis=1), names) for n, z in beside.items()}
    trained = folder / "trained.json"
    result["trained"] = json.loads(trained.read_text()) if trained.exists() else {}
    last = result["last"]
    pd.DataFrame({"recall": last["recall"], "support": last["support"]}).rename_axis("class").to_csv(
        folder / "per_class.csv"
    )
    pd.DataFrame(last["confusion"], index=list(names), columns=list(names)).to_csv(folder / "confusion.csv")
    (folder / "result.json").write_text(json.dumps(result, indent=2, ensure_ascii=False), encoding="utf-8")
    return result


def true_figures(net: Network, logits: NDArray[np.float32], test: View, train: Loader) -> dict[str, Any]:
    """Figures against the truth: `fit` of the training rows, and `clean` of the test rows where their labels may be wrong.

    What is not known is absent.
    """
    figures: dict[str, Any] = {}
    truth = np.full(len(train.view), -1) if train.view.truth is None else train.view.truth
    if ((truth >= 0) | train.view.foreign).any():
        predicted = answers(net, train).argmax(axis=1)
        figures["fit"] = metrics.against_truth(predicted, train.view.labels, truth, train.view.foreign)
    if test.doubtful and test.truth is not None and (known := test.truth >= 0).any():
        part = metrics.summary(test.truth[known], logits[known].argmax(axis=1), test.classes)
        figures["clean"] = {"rows": int(known.sum()), **part}
    return figures


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
        (folder / "error.txt").write_text(traceback.format_exc(), encoding="utf-8")
        raise words.Failed(f"{type(error).__name__}: {error} (see {folder / 'error.txt'})") from error


def rehearse(plan: Plan, cell: Cell, view: View) -> Method:
    """A cell's method with an untrained teacher: whatever cannot be constructed is refused before anything is trained."""
    teacher = network(plan, plan.options.teacher, 0, "linear") if plan.teacher is None else None
    random = torch.Generator(plan.device).manual_seed(0)
    return construct(plan, cell, view, random, teacher=teacher)


def estimate(plan: Plan, cell: Cell, view: View, steps: int = 4) -> tuple[int, float]:
    """A cell's updates on a training view, and the seconds they would take by a few timed ones."""
    method = rehearse(plan, cell, view)
    loader = batches(plan, method, view)
    paces = [(phase, engine.pace(method, phase, loader, plan.recipe, steps)) for phase in method.phases()]
    seconds = sum(pace * len(loader) * plan.recipe.length(phase) for phase, pace in paces)
    return engine.total(method, plan.recipe) * len(loader), seconds
