"""compare: what studies came to, as pages of tables and as files, from their folders or from MLflow.

In a notebook:

    made = compare.read("studies")              # folders of studies or with studies in them, and MLflow run ids
    comparison.across(made).table               # a line per study and method
    compare.stacked(made, "classes")            # a line per study, class and method; so for any of a comparison's frames
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any, Literal

import numpy as np
import pandas as pd
from rich.console import Console

from pipelines import tables, tracking
from pipelines.asked import Chosen
from pipelines.screen import console
from pipelines.tables import Grid
from robustkd import comparison, statistics
from robustkd.comparison import HEADLINE, TEACHER, Comparison
from robustkd.words import UsageError, nearest

METHODS_SHOWN, CLASSES_SHOWN = 6, 40  # of the table per class on a page; its file has all
INTERVALS_SHOWN = 3  # methods up to which each class's difference has room for its interval
RIGHT = {
    **{"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "worst_recall": "worst class"},
    **{"worst_three": "worst three", "macro_f1": "macro F1"},
}
PROBABILITIES = {
    **{"nll": "NLL", "brier": "Brier", "ece": "ECE, %", "ece_scaled": "ECE, % after one temperature"},
    "temperature": "temperature",
}
FREQUENCIES = {"many": "many", "medium": "medium", "few": "few"}
THIRDS = {"head": "largest third", "middle": "middle third", "tail": "smallest third"}
TRUTH = {
    **{"clean_accuracy": "clean part", "clean_balanced_accuracy": "clean part, balanced"},
    **{"memorised": "memorised", "seen_through": "seen through", "clean_fit": "clean fit"},
    "loss_auroc": "AUROC of the loss",
}
AGREEMENT = {"agreement_test": "on the test set", "agreement_corrupted": "on wrong training labels"}
NAMES = {
    **RIGHT,
    **PROBABILITIES,
    "nll_scaled": "NLL after one temperature",
    **FREQUENCIES,
    **THIRDS,
    **TRUTH,
    **AGREEMENT,
}
COSTS = {
    **{"parameters": "parameters", "macs": "MACs of an image", "images": "images seen", "seconds": "seconds"},
    **{"teacher_seconds": "teacher's seconds", "images_per_second": "images a second"},
    "peak_memory": "peak memory, bytes",
}
NUMBERS = {
    "nll",
    "brier",
    "temperature",
    "loss_auroc",
}  # and what is made of them: figures that are no share in per cent
ANEW = "without the file, the command that made the study makes it again"
CONTINUED = re.compile(r"\.\d{8}-\d{6}")  # what --fresh put aside
PICTURES = ("per_class.png", "curves.png")
FRAMES = {  # a comparison's frames by the names of their files
    **{name: name for name in ("summary", "verdicts", "classes", "per_class", "along", "costs")},
    "per_class_clean": "clean",
}
STACKED = ("summary", "verdicts", "classes", "costs")  # those that go into one file for several studies
WATCHED = 2000  # robustkd.cell.WATCHED, for which torch is not worth its seconds: rows looked at after every epoch
TEXT, NUMBER = (str,), (int, float)
STUDY = {
    "given.scenario": TEXT,
    "given.dataset": TEXT,
    "dataset": TEXT,
    "methods": (list,),
    "seeds": (int,),
    "classes": (list,),
}
RESULT = {
    **{"name": TEXT, "cell.role": TEXT, "cell.method": TEXT, "cell.seed": (int,)},
    **{f"last.{figure}": NUMBER for figure in comparison.FIGURES},
    **{"last.recall": (dict,), "last.support": (dict,)},
}


def main(
    studies: Sequence[str],
    origin: Literal["files", "mlflow"] = "files",
    asked: Chosen | None = None,
    *,
    each: bool = False,
    figure: str = HEADLINE,
    csv: Path | None = None,
    markdown: Path | None = None,
    latex: Path | None = None,
) -> None:
    """Show studies and write what was asked for: one study's page, or the table across several.

    Args:
        studies: folders, MLflow run ids or, from MLflow, names of studies.
        asked: the words of a study, or at least an experiment.
        each: show a page for each of several studies too.
        figure: what the table across studies shows.
    """
    found = find(studies, origin, asked or Chosen())
    trust = True if asked is not None and asked.trust_test_labels else None
    made = read(*found, trust=trust)
    if figure != HEADLINE:
        known(made, figure)  # of one study too, whose page shows them all
    frames = stack(made, figure) if len(made) > 1 else frames_of(made[0])
    _refuse_taken(frames, csv, markdown, latex)
    pages = [page(m, trust) for m in made] if each or len(made) == 1 else []
    pages += [across(made, figure, trust)] if len(made) > 1 else []
    written = _export(frames, [part for one in pages for part in one], csv, markdown, latex)
    for one in pages:
        tables.show(one, console)
    if len(made) == 1 and (folder := made[0].folder) is not None:
        try:
            _write(made[0], folder / "comparison", trust)
            console.print(f"tables, pictures and runs: {folder}", markup=False)
        except OSError as error:  # somebody else's study, on a disk that is only read
            console.print(
                f"{folder}: the comparison cannot be written there ({error.strerror or error}); --csv, --markdown and"
                " --latex write elsewhere",
                markup=False,
            )
    for paths in written:
        console.print(f"written: {paths}", markup=False)


def _export(
    frames: Mapping[str, pd.DataFrame],
    whole: Sequence[str | Grid],
    csv: Path | None,
    markdown: Path | None,
    latex: Path | None,
) -> list[str]:
    """Write what was asked for; the names of what was written."""
    written = []
    for path, text in ((markdown, tables.markdown), (latex, tables.latex)):
        if path is not None:
            path.write_text(text(whole), encoding="utf-8")
            written.append(str(path))
    return [*written, *([", ".join(map(str, tables.csv(frames, csv)))] if csv is not None else [])]


def _refuse_taken(
    frames: Mapping[str, pd.DataFrame], csv: Path | None, markdown: Path | None, latex: Path | None
) -> None:
    """Refuse files that are there, and two options for one file."""
    wanted: dict[Path, str] = {}
    inside = [csv, *(csv / f"{name}.csv" for name in frames)] if csv is not None else []
    for option, path in (*(("--csv", path) for path in inside), ("--markdown", markdown), ("--latex", latex)):
        if path is not None and (other := wanted.setdefault(path.resolve(), option)) != option:
            raise UsageError(f"{option} {path}: {other} writes there too, and each needs a path of its own")
    if csv is not None:
        if csv.is_file():
            raise UsageError(f"--csv {csv}: this is a file, and it should be a folder for several")
        tables.free("--csv", *(csv / f"{name}.csv" for name in frames))
    for option, path in (("--markdown", markdown), ("--latex", latex)):
        if path is not None:
            tables.free(option, path)


def find(studies: Sequence[str], origin: Literal["files", "mlflow"], asked: Chosen) -> list[str | Path]:
    """Which studies are meant: those named, the one with these words, all of an experiment, or the newest.

    Raises:
        robustkd.words.UsageError: words that name no study.
    """
    bare = Chosen(experiment=asked.experiment, trust_test_labels=asked.trust_test_labels, out=asked.out)
    if asked.scenario and studies:
        raise UsageError(f"compare {studies[0]} --scenario {asked.scenario}: a study is named by one or the other")
    if not asked.scenario and asked != bare:
        raise UsageError("compare: options of a study find it only together with --scenario")
    if origin == "files":
        if asked.experiment and not asked.scenario:
            raise UsageError(f"--experiment {asked.experiment}: experiments are MLflow's, so --from mlflow is needed")
        return [_words(asked)] if asked.scenario else [*studies] or [newest(Path(asked.out))]
    names = [_words(asked).name] if asked.scenario else [Path(study).name for study in studies]
    if names and all(tracking.is_reference(name) for name in names):
        return [*names]
    there = tracking.studies(asked.experiment)
    for name in names:
        if name not in there and not tracking.is_reference(name):
            raise UsageError(f"{name}: the experiment has no study of this name{nearest(name, there)}")
    if names:
        return [there.get(name, name) for name in names]
    return [there[name] for name in sorted(there)] if asked.experiment else [next(iter(there.values()))]


def _words(asked: Chosen) -> Path:
    from pipelines import prepare  # it needs torch

    return prepare.draft(asked).plan.folder


def newest(out: Path) -> Path:
    """The study that was worked on last."""
    cards = sorted(out.glob("*/study.json"), key=lambda card: card.stat().st_mtime)
    if not cards:
        raise UsageError(f"{out}: there is no study here yet; `robustkd run --scenario noise0.4` makes one")
    return cards[-1].parent


def read(*studies: str | Path, trust: bool | None = None) -> list[Comparison]:
    """The comparisons of studies: of folders, of all studies in a folder (by name), or of MLflow's parent runs by their ids.

    Args:
        trust: take test labels for clean where nobody has said so; as each study was told where not given.

    Raises:
        robustkd.words.UsageError: there is no study where one was named.
    """
    places: dict[str, Path | str] = {}
    for study in studies:
        if tracking.is_reference(str(study)) and not Path(study).exists():
            places[str(study)] = str(study)
        else:
            for folder in _folders(Path(study)):
                places.setdefault(str(folder.resolve()), folder)
    return [_read(place, trust) for place in places.values()]


def _folders(place: Path) -> list[Path]:
    if (place / "study.json").is_file():
        return [place]
    inside = sorted(card.parent for card in place.glob("*/study.json"))
    kept = [folder for folder in inside if not CONTINUED.fullmatch(folder.suffix)]
    if not kept:
        names = [path.name for path in place.parent.glob("*/")] if place.parent.is_dir() else []
        hint = "" if place.exists() else nearest(place.name, names)
        raise UsageError(
            f"{place}: there is no study here (it would hold a study.json){hint}; `robustkd run` makes one"
        )
    return kept


def _read(place: Path | str, trust: bool | None) -> Comparison:
    if isinstance(place, str):
        record = tracking.recorded(place)
        _sound(record.study, STUDY, f"{place}, config.json")
        for result in record.results:
            _sound(result, RESULT, f"{place}, result.json of {result['name']}")
    else:
        _sound(_content(place / "study.json"), STUDY, place / "study.json")
        for path in sorted(place.glob("runs/*/result.json")):
            _sound(_content(path), RESULT, path)
    try:
        record = comparison.recorded(place) if isinstance(place, Path) else record
        return comparison.compare(record, trusted(record.study, trust))
    except (KeyError, TypeError, ValueError) as error:  # what is damaged deeper, or a history
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(f"{place}: a file of this study cannot be read ({told})") from error


def _content(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: this file cannot be read ({error}); {ANEW}") from None


def _sound(content: Any, wanted: Mapping[str, tuple[type, ...]], file: str | Path) -> None:
    """Refuse a file's content that lacks what every comparison needs."""
    for name, kinds in wanted.items():
        at = content
        for key in name.split("."):
            at = at.get(key) if isinstance(at, Mapping) else None
        if not isinstance(at, kinds):
            raise UsageError(f"{file}: this file is damaged, for '{name}' is missing or wrong in it; {ANEW}")


def trusted(study: Mapping[str, Any], trust: bool | None = None) -> bool:
    """Whether test labels are taken for clean: as said now, or else as the study was told."""
    return bool(study["given"].get("trust_test_labels", False) if trust is None else trust)


def frames_of(made: Comparison) -> dict[str, pd.DataFrame]:
    """A study's frames by the names of their files, but for those that are empty."""
    return {name: frame for name, field in FRAMES.items() if len(frame := getattr(made, field))}


def stacked(made: Sequence[Comparison], frame: str) -> pd.DataFrame:
    """One of the studies' frames in one, with the column `study` in front.

    Args:
        frame: a field of `Comparison` that is a frame, such as summary, classes or curves.
    """
    parts = {}
    for label, each in zip(comparison.labels([m.study for m in made]), made, strict=True):
        part: pd.DataFrame = getattr(each, frame)
        parts[label] = part.reset_index() if part.index.name else part
    kept = [part.assign(study=label) for label, part in parts.items() if len(part)]
    if not kept:
        return pd.DataFrame()
    table = pd.concat(kept, ignore_index=True)
    return table[["study", *(name for name in table if name != "study")]]


def stack(made: Sequence[Comparison], figure: str = HEADLINE) -> dict[str, pd.DataFrame]:
    """The frames of several studies by the names of their files."""
    side_by_side = comparison.across(made, known(made, figure))
    frames = {
        "across": side_by_side.table,
        "ranks": side_by_side.ranks,
        **{name: stacked(made, FRAMES[name]) for name in STACKED},
    }
    return {name: frame for name, frame in frames.items() if len(frame)}


def write(folder: Path, trust: bool | None = None) -> None:
    """FOLDER/comparison: the frames as CSV; the page as comparison.txt, .md and .tex; and pictures."""
    _write(_read(folder, trust), folder / "comparison", trust)


def _write(made: Comparison, out: Path, trust: bool | None) -> None:
    from pipelines import figures, report

    out.mkdir(exist_ok=True)
    for name in FRAMES:
        (out / f"{name}.csv").unlink(missing_ok=True)  # what no longer applies goes
    tables.csv(frames_of(made), out)
    whole = page(made, trust)
    for suffix, text in (("txt", tables.text), ("md", tables.markdown), ("tex", tables.latex)):
        (out / f"comparison.{suffix}").write_text(text(whole), encoding="utf-8")
    if len(made.per_class):
        figures.write(figures.per_class(made.per_class), out / PICTURES[0])
    if len(made.curves):
        figures.write(figures.curves(made.curves), out / PICTURES[1])
    report.write(made, out, trusted(made.study, trust))


def show(folder: Path, trust: bool | None = None) -> None:
    """Print a study's comparison."""
    render(_read(folder, trust), console, trust)
    console.print(f"tables, pictures and runs: {folder}", markup=False)


def render(made: Comparison, to: Console, trust: bool | None = None) -> None:
    """A study's page on a terminal."""
    tables.show(page(made, trust), to)


def page(made: Comparison, trust: bool | None = None) -> list[str | Grid]:
    """A study as a person reads it, in per cent: what is unsure first, the answer last, where a terminal leaves the eye."""
    study = made.study
    seeds = f"{study['seeds']} seed{'s' if study['seeds'] != 1 else ''}"
    first = comparison.caveat(study)
    parts: list[str | Grid] = [first] if first else []
    parts.append(f"{study['dataset']}, scenario {study['given']['scenario']}, {seeds}, last epoch, per cent")
    if not len(made.summary):
        return [*parts, "No run is finished yet."]
    parts += [*gets_right(made), *_judged(made, trusted(study, trust)), *probabilities(made), *by_size(made)]
    parts += [*against_truth(made), *robust(made), *costs(made)]
    parts += _by_class(made)
    if len(made.along):
        points_ = ", ".join(f"{at} {spread(row['mean'], row['std'])}" for at, row in made.along.iterrows())
        rows = study.get("resolved", {}).get("rows_test", 0)  # a study of an earlier version does not say
        of = f" on {WATCHED:,} fixed test rows" if rows > WATCHED else ""
        parts += [
            "",
            f"plain training along the run (test accuracy{of}): {points_}",
        ]
        if noisy(made):
            parts.append(
                "Under label noise long training memorises wrong labels, and that alone can make distillation look good."
            )
    return [*parts, "", *comparison.answer(made)]


def gets_right(made: Comparison) -> list[str | Grid]:
    """A row per method: the figures of its decisions."""
    heads = {name: head for name, head in RIGHT.items() if name != "worst_three" or len(made.study["classes"]) > 3}
    return [by_method("what it gets right: mean ± standard deviation over seeds", {**heads, "seeds": "seeds"}, made)]


def probabilities(made: Comparison) -> list[str | Grid]:
    """A row per method: the figures of its probabilities."""
    shown = _measured(made, PROBABILITIES)
    if not shown:
        return []
    what = {
        "nll": "NLL: mean negative log-likelihood, in nats",
        "brier": "Brier: squared error of all probabilities",
        "ece": "ECE: how far confidence lies from accuracy, over 15 equal bins",
        "ece_scaled": "one temperature is fitted on the held-out split, which is corrupted like the training rows",
    }
    told = "; ".join(text for name, text in what.items() if name in shown)
    return [by_method("how good its probabilities are (less is better)", shown, made), f"{told[0].upper()}{told[1:]}."]


def by_size(made: Comparison) -> list[str | Grid]:
    """A row per method: mean recall of groups of classes by their number of training images."""
    shown = _measured(made, FREQUENCIES)
    if len(shown) > 1:
        told = "many: over 100 training images, medium: 20 to 100, few: under 20"
    elif len(made.study["classes"]) >= 9 and (shown := _measured(made, THIRDS)):
        told = "thirds of the classes by their number of training images"
    else:
        return []
    return [by_method(f"mean recall by class size ({told})", shown, made)]


def against_truth(made: Comparison) -> list[str | Grid]:
    """A row per method: the figures against the truth that were measured, and agreement with the teacher."""
    parts: list[str | Grid] = []
    if shown := _measured(made, TRUTH):
        parts.append(by_method("against the truth", shown, made))
    told = {
        "memorised": "memorised: wrong training labels that a net gives all the same",
        "seen_through": "seen through: true ones instead",
        "clean_fit": "clean fit: right training labels that it gives",
        "loss_auroc": "AUROC: how well the loss tells wrong labels from right ones",
    }
    if sentences := [text for name, text in told.items() if name in shown]:
        parts.append("; ".join(sentences) + ".")
        some, every = made.study.get("known_training", (0, 0))  # a study of an earlier version does not say
        if some < every:
            parts.append(f"Measured on the {some} of {every} training rows whose truth is known.")
    if shown := _measured(made, AGREEMENT):
        parts.append(by_method("how often it says what its teacher says", shown, made))
    return parts


def robust(made: Comparison) -> list[str | Grid]:
    """A row per method: accuracy on attacked and corrupted test images, where that was asked for."""
    names = [str(column).removesuffix("_mean") for column in made.summary if str(column).endswith("_mean")]
    attacked = [r for result in made.results for r in result.get("robust") or {}]
    shown = {name: name for name in names if name in attacked or name.startswith("corruption")}
    return [by_method("accuracy on changed test images", shown, made)] if shown else []


def costs(made: Comparison) -> list[str | Grid]:
    """A row per method: what one run of it costs."""
    shown = {name: head for name, head in COSTS.items() if name in made.costs}
    if not shown:
        return []
    rows = [
        [_method(str(name), made.study), *(amount(row[figure]) for figure in shown)]
        for name, row in made.costs.iterrows()
    ]
    return [Grid("what a run costs", ["", *shown.values()], rows)]


def by_method(title: str, figures: Mapping[str, str], made: Comparison) -> Grid:
    """A row per method that has any of the figures, a column per figure; `seeds` is a count."""
    table = made.summary
    shown = {name: head for name, head in figures.items() if name == "seeds" or f"{name}_mean" in table}
    rows = []
    for name, row in table.iterrows():
        cells = [
            str(int(row[figure])) if figure == "seeds" else spread(row[f"{figure}_mean"], row[f"{figure}_std"], figure)
            for figure in shown
        ]
        if {*cells} != {"-"}:
            rows.append([_method(str(name), made.study), *cells])
    return Grid(title, ["", *shown.values()], rows)


def _measured(made: Comparison, names: Mapping[str, str]) -> dict[str, str]:
    return {name: head for name, head in names.items() if f"{name}_mean" in made.summary}


def _method(name: str, study: Mapping[str, Any]) -> str:
    return teacher(study["given"]) if name == TEACHER else name


def noisy(made: Comparison) -> bool:
    """Whether training labels are known to be wrong, or nobody knows."""
    some, every = made.study.get("known_training", (0, 0))
    return some < every or any(r.get("fit", {}).get("corrupted", 1) for r in made.results)


def teacher(given: Mapping[str, Any]) -> str:
    """The teacher by its net, its criterion and how it was smoothed, if it was; one that was given by its file's name.

    >>> teacher({"teacher": "wrn_16_2", "teacher_criterion": "ce", "smooth_teacher": "labels"})
    'teacher (wrn_16_2, ce, smooth labels)'
    >>> teacher({"teacher": "/home/me/nets/best.pt", "teacher_criterion": "ce"})
    'teacher (given: best.pt)'
    """
    text = str(given.get("teacher", ""))  # a study of an earlier version does not say all of this
    if tracking.is_reference(text):
        return f"teacher (given: {text})"
    # A net's word has dots and colons, but no folders outside its brackets.
    if text.endswith((".pt", ".pth")) or re.search(r"[/\\]", text.partition("(")[0]):
        return f"teacher (given: {PureWindowsPath(text).name})"  # which knows both kinds of stroke
    smoothed = str(given.get("smooth_teacher", "none"))
    told = [text, str(given.get("teacher_criterion", "")), f"smooth {smoothed}" if smoothed != "none" else ""]
    return f"teacher ({', '.join(word for word in told if word)})" if any(told) else "teacher"


def _judged(made: Comparison, trust: bool) -> list[str | Grid]:
    """A row per method: its difference from its reference, what that shows, and by what rule."""
    table = made.verdicts
    if not len(table):
        return []
    # From its reference stopped early, and from plain training where that is not the reference.
    aside = {"difference_stopped": "from it stopped early", "difference_plain": "from plain baseline"}
    aside = {name: head for name, head in aside.items() if name in table and table[name].notna().any()}
    boot = ["bootstrap"] if table["boot_low"].notna().any() else []  # there is one from 10 seeds
    rows = [
        [
            *(str(method), str(row["reference"]), points(row["difference"], True), interval(row["low"], row["high"])),
            *(interval(row["boot_low"], row["boot_high"]) for _ in boot),
            *(chance(row["p_holm"]), str(row["verdict"]), *(points(row[name], True) for name in aside)),
        ]
        for method, row in table.iterrows()
    ]
    heads = ["", "reference", "difference", "95 % interval", *boot, "p, Holm", "verdict", *aside.values()]
    metric = "balanced accuracy" + (", clean part" if "clean" in table["metric"].iloc[0] else "")
    return [
        Grid(
            f"what the seeds show: {metric}, differences in points",
            heads,
            rows,
            words=frozenset({1, heads.index("verdict")}),
        ),
        *comparison.rule(made, trust),
    ]


def _by_class(made: Comparison) -> list[str | Grid]:
    """The tables per class, on all test rows and on those with a clean label, and how to read them."""
    if not len(made.per_class):
        return []
    methods, columns, classes, told = _chosen(made)
    tested = made.classes[made.classes["method"].isin(methods)] if len(made.classes) else made.classes
    intervals = len(methods) <= INTERVALS_SHOWN
    title = "recall per class" + (" of the baseline, then differences from it in points" if len(tested) else "")
    parts: list[str | Grid] = [_class_grid(title, made.per_class.loc[classes, columns], tested, intervals), *told]
    if len(tested) and tested["q"].notna().any():
        first = "95 % intervals per class are not adjusted; q" if intervals else "q"
        parts.append(
            f"{first} is Benjamini and Hochberg's over all classes and methods, and * stands where it is below 0.05; "
            "no verdict per class."
        )
    if len(made.clean):
        some = made.clean.loc[classes, [name for name in columns if name in made.clean]]
        parts.append(_class_grid(f"on the test rows with a clean label, {title}", some, tested[:0], False))
    return parts


def _class_grid(title: str, table: pd.DataFrame, tested: pd.DataFrame, intervals: bool) -> Grid:
    """A row per class: recalls, and differences with their intervals or a mark."""
    tests = {(row["class"], f"{row['method']} - {row['reference']}"): row for _, row in tested.iterrows()}

    def cell(name: str, column: str, value: float) -> str:
        told, row = points(value, signed=not column.endswith(" recall")), tests.get((name, column))
        if row is None:
            return told
        if intervals and row["low"] == row["low"]:
            told += f" {interval(row['low'], row['high'])}"
        return told + ("*" if row["q"] < statistics.LEVEL else "")

    rows = [
        [str(name), *(cell(str(name), str(column), value) for column, value in row.items())]
        for name, row in table.iterrows()
    ]
    return Grid(title, ["class", *map(str, table.columns)], rows)


def _chosen(made: Comparison) -> tuple[list[str], list[str], list[Any], list[str]]:
    """The methods, their columns and the classes that a page has room for, and the sentence that says which."""
    table, every = made.per_class, made.study["methods"]
    against = {method: comparison.reference(method, every) for method in every}
    difference = {method: f"{method} - {against[method]}" for method in every}
    methods = [method for method in every if difference[method] in table] or [
        method for method in every if f"{method} recall" in table
    ]
    told, classes = [], list(table.index)
    if len(methods) > METHODS_SHOWN:
        means = made.summary[f"{HEADLINE}_mean"].reindex(methods)
        best = set(means.sort_values(ascending=False, kind="stable").index[:METHODS_SHOWN])
        told.append(f"the {METHODS_SHOWN} of {len(methods)} methods with the highest balanced accuracy")
        methods = [name for name in methods if name in best]
    wanted = {difference[m] for m in methods} | {f"{against[m] or m} recall" for m in methods}
    columns = [str(name) for name in table if name in wanted]
    if len(classes) > CLASSES_SHOWN:
        away = [name for name in columns if not name.endswith(" recall")] or columns
        order = table[away].abs().max(axis=1).fillna(-1.0).sort_values(ascending=False, kind="stable")
        most = set(order.index[:CLASSES_SHOWN])
        told.append(f"the {CLASSES_SHOWN} of {len(classes)} classes in which they differ most, either way")
        classes = [name for name in classes if name in most]
    return methods, columns, classes, [f"Shown: {'; '.join(told)}. per_class.csv has all."] if told else []


def known(made: Sequence[Comparison], figure: str) -> str:
    """A figure that can be set out across studies.

    Raises:
        robustkd.words.UsageError: no study has it, or it is neither good nor bad.
    """
    columns = dict.fromkeys(str(c).removesuffix("_mean") for m in made for c in m.summary if str(c).endswith("_mean"))
    name = figure.replace("-", "_")
    if name.removeprefix("clean_") == "temperature":
        raise UsageError(f"--figure {figure}: a temperature is neither good nor bad, so there is no best or rank by it")
    if name in columns:
        return name
    raise UsageError(
        f"--figure {figure}: no study has this figure{nearest(name, columns)}; there are: {', '.join(columns)}"
    )


def across(made: Sequence[Comparison], figure: str = HEADLINE, trust: bool | None = None) -> list[str | Grid]:
    """Studies side by side: methods down, studies across, the average rank at the right."""
    name = known(made, figure)
    table, ranks = comparison.across(made, name)
    heads = list(dict.fromkeys(table["study"]))
    cells = {(row["method"], row["study"]): row for _, row in table.iterrows()}
    rows, best = [], set()
    for number, method in enumerate(_order(made, set(table["method"]))):
        row = [method]
        for column, head in enumerate(heads, 1):
            found = cells.get((method, head))
            row.append("-" if found is None else _marked(found, name))
            if found is not None and found["best"]:
                best.add((number, column))
        rows.append([*row, f"{ranks['rank'][method]:.1f}" if method in ranks.index else "-"])
    seeds = table["seeds"]
    over = f"{seeds.max()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    title = f"{_named(name)}, mean ± standard deviation over {over} seed{'s' * (over != '1')}" + (
        ", per cent" if is_share(name) else ""
    )
    labels = comparison.labels([m.study for m in made])
    doubtful = [label for label, m in zip(labels, made, strict=True) if comparison.caveat(m.study)]
    parts: list[str | Grid] = [f"test labels as given in: {'; '.join(doubtful)}"] if doubtful else []
    parts.append(Grid(title, ["", *heads, "average rank"], rows, frozenset(best)))
    parts.append(
        "In bold or starred: the best net that a run ships. ⇑ better, ⇓ worse than the baseline with the same criterion, by"
        " the verdict on balanced accuracy; ↓ on the wrong side of it in the mean, which is no verdict."
    )
    studies = "every study" if len(heads) > 1 else "the study"
    parts.append(
        f"Ranks, 1 the best, are among the {len(ranks)} methods that {studies} has with all its seeds."
        if len(ranks) > 1
        else f"No ranks: there are not two methods that {studies} has with all its seeds."
    )
    rules = {sentence: None for m in made for sentence in comparison.rule(m, trusted(m.study, trust))}
    return [*parts, *rules]


def _named(figure: str) -> str:
    """A figure as titles call it."""
    part = ", clean part" if figure not in NAMES and figure.startswith("clean_") else ""
    name = figure.removeprefix("clean_") if part else figure
    return NAMES.get(name, name).replace(", %", "") + part


def _order(made: Sequence[Comparison], wanted: set[str]) -> list[str]:
    """Rows of all studies, each after the row that it follows in the first study that has it."""
    order: list[str] = []
    for m in made:
        before = -1
        for name in map(str, m.summary.index):
            if name in order:
                before = order.index(name)
            elif name in wanted:
                before += 1
                order.insert(before, name)
    return order


def _marked(row: "pd.Series[Any]", figure: str) -> str:
    mark = {"better": "⇑ ", "worse": "⇓ "}.get(row["verdict"], "↓ " if row["below"] else "")
    return mark + spread(row["mean"], row["std"], figure)


def is_share(figure: str) -> bool:
    """Whether a figure is a share, which is told in per cent.

    >>> is_share("ece_scaled"), is_share("nll_scaled"), is_share("clean_brier"), is_share("clean_fit")
    (True, False, False, True)
    """
    return figure.removeprefix("clean_").removesuffix("_scaled") not in NUMBERS


def points(share: float, signed: bool) -> str:
    """A share or a difference of shares in points; nothing has no sign, and what was not measured is a dash.

    >>> points(0.0312, True), points(-0.0001, True), points(0.5, False), points(float("nan"), True)
    ('+3.1', '0.0', '50.0', '-')
    """
    if share != share:
        return "-"
    value = round(100 * share, 1)
    return f"{value:+.1f}" if signed and value else f"{abs(value):.1f}"


def interval(low: float, high: float) -> str:
    """An interval of differences in points.

    >>> interval(-0.012, 0.031), interval(float("nan"), float("nan"))
    ('[-1.2, +3.1]', '-')
    """
    return f"[{points(low, True)}, {points(high, True)}]" if low == low else "-"


def chance(p: float) -> str:
    """A p-value.

    >>> chance(0.0123), chance(0.00004), chance(1.0), chance(float("nan"))
    ('0.012', '< 0.001', '1.000', '-')
    """
    return "-" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def spread(mean: float, std: float, figure: str = "") -> str:
    """A mean with its standard deviation; one seed has none, and what was not measured is a dash.

    Args:
        figure: which it is: most are shares, told in per cent.

    >>> spread(0.934, 0.012), spread(1.5, 0.25, "nll"), spread(float("nan"), float("nan"))
    ('93.4 ± 1.2', '1.500 ± 0.250', '-')
    """
    if mean != mean:
        return "-"
    scale, digits = (100, 1) if is_share(figure) else (1, 3)
    return f"{scale * mean:.{digits}f}" + (f" ± {scale * std:.{digits}f}" if std == std else "")


def amount(value: float) -> str:
    """A quantity to three digits, with the SI's letter.

    >>> amount(83466.0), amount(12.34), amount(2.5e9), amount(0.0), amount(float("nan"))
    ('83.5 k', '12.3', '2.50 G', '0', '-')
    """
    if value != value or value == 0:
        return "-" if value else "0"
    power = int(np.clip(np.floor(np.log10(abs(value))) // 3, 0, 4))
    scaled = value / 1000**power
    digits = max(0, 2 - int(np.floor(np.log10(abs(scaled))))) if abs(scaled) < 1000 else 0
    return f"{scaled:.{min(digits, 3)}f}{('', ' k', ' M', ' G', ' T')[power]}"
