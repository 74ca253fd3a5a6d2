"""Command line: commands, options, one-line errors.

Every option of a study is defined once, in robustkd.study.options; a YAML file and the -P of `mlflow run` set the same ones.
Names are checked here before torch or MLflow is imported, which is why each command imports its stage when it is called.
"""

import os
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import yaml
from cyclopts import App, CycloptsError, Parameter
from pydantic import ValidationError

import robustkd
import scenarios
from pipelines.cli_options import AuditOptions, StudySelection, SweepOptions
from robustkd import errors, registry, specs, types
from robustkd.criteria import CRITERIA
from robustkd.data.sources import DATASETS
from robustkd.evaluation.attack_specs import parse_attacks
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.plugins import load_plugins
from robustkd.study.options import DataOptions, StudyOptions

app = App(
    name="robustkd",
    help="Knowledge distillation under noisy labels and unbalanced classes, compared class by class with plain training.",
    version=robustkd.__version__,
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)

Options = Annotated[StudyOptions, Parameter(name="*")]
Config = Annotated[Path | None, Parameter(help="A YAML file of these options; what is typed beside it wins.")]


@app.command
def run(options: Options, *, dry_run: bool = False, config: Config = None) -> None:
    """Do all stages of a study: prepare, teacher, distil, evaluate, compare.

    Parameters
    ----------
    dry_run
        Say which runs there would be and how long they would take, and train nothing.
    """
    check_options(options)
    from pipelines.stages import run as stage

    stage.main(options, dry_run=dry_run)


@app.command
def prepare(options: Options, *, config: Config = None) -> None:
    """Read the data, apply the scenario and freeze it into manifests."""
    check_options(options)
    from pipelines.stages import prepare as stage

    stage.main(options)


@app.command
def teacher(options: Options, *, config: Config = None) -> None:
    """Train the teachers of a study."""
    check_options(options)
    from pipelines.stages import teacher as stage

    stage.main(options)


@app.command
def distil(options: Options, *, config: Config = None) -> None:
    """Train the students of a study from the teachers that are there."""
    check_options(options)
    from pipelines.stages import distil as stage

    stage.main(options)


@app.command
def evaluate(options: Options, *, config: Config = None) -> None:
    """Measure the trained nets of a study again."""
    check_options(options)
    from pipelines.stages import evaluate as stage

    stage.main(options)


@app.command
def compare(
    *studies: str,
    origin: Annotated[Literal["files", "mlflow"], Parameter(name="--from")] = "files",
    each: bool = False,
    figure: str = "balanced_accuracy",
    csv: Path | None = None,
    markdown: Path | None = None,
    latex: Path | None = None,
    options: Annotated[StudySelection | None, Parameter(name="*")] = None,
    config: Config = None,
) -> None:
    """Show what studies came to: the page of one, or a table across several.

    Parameters
    ----------
    studies
        Folders of studies or with studies in them, or MLflow run ids. Where none is named: the study with the words given
        (at least --scenario), or the newest in --out; from MLflow all of --experiment, or the newest.
    origin
        Where studies are read from; from mlflow, STUDIES may be names too.
    each
        Of several studies, show each one's page too.
    figure
        What the table across studies shows: accuracy, balanced_accuracy, worst_recall, macro_f1, ...
    csv
        A folder to write all tables to, none of which may be there.
    markdown
        A file to write what is shown to; it must not exist.
    latex
        The same for LaTeX.
    """
    if options is not None and options.scenario:
        check_options(options)
    from pipelines.stages import compare as stage

    stage.main(studies, origin, options, each=each, figure=figure, csv=csv, markdown=markdown, latex=latex)


@app.command
def sweep(
    options: Annotated[SweepOptions, Parameter(name="*")], *, dry_run: bool = False, config: Config = None
) -> None:
    """Do a study for each scenario and data set, and set them side by side: methods down, scenarios across.

    Parameters
    ----------
    dry_run
        Say which runs there would be and how long they would take, and train nothing.
    """
    register_plugins(options.plug)
    studies = list(options.studies())
    for one in studies:
        scenarios.parse(one.scenario)
    check_options(studies[0])
    from pipelines.stages import sweep as stage

    stage.main(options, dry_run=dry_run)


@app.command
def describe(
    scenario: str,
    /,
    *,
    data: Annotated[DataOptions | None, Parameter(name="*")] = None,
    seed: types.Seed = 0,
    save: Path | None = None,
    figure: Path | None = None,
    plug: str | None = None,
) -> None:
    """Say what a scenario really does to a data set: rates, transition matrix, class sizes, digest.

    Parameters
    ----------
    scenario
        Words chained with +, as in imbalance0.2+noise0.4.
    seed
        The data seed of the draw.
    save
        A manifest to write, NAME.csv or NAME.parquet, that `manifest(file=...)` takes as a scenario; it must not exist.
    figure
        A picture to draw, .png, .svg or .pdf: class sizes, matrix, a sheet of corrupted samples; it must not exist.
    plug
        Python files of your own that the scenario's words come from.
    """
    register_plugins(plug)
    steps = scenarios.parse(scenario)
    from pipelines.stages import describe as stage

    stage.main(scenario, steps, data or DataOptions(), seed, save, figure)


@app.command
def audit(spec: str, /, *, options: Annotated[AuditOptions | None, Parameter(name="*")] = None) -> None:
    """Estimate the label noise of a data set, and list, prune or relabel the labels that are probably wrong.

    Parameters
    ----------
    spec
        Any data set: a word such as digits, or your own by folder:PATH and the like (see `robustkd datasets`).
    """
    options = replace(options or AuditOptions(), dataset=spec)
    register_plugins(options.plug)
    scenarios.parse(options.scenario)
    MODELS.parse(options.net)
    from pipelines.stages import audit as stage

    stage.main(options)


@app.command
def check_data(
    spec: str,
    /,
    *,
    data_dir: str | None = None,
    download: bool = False,
    image_size: int = 32,
    least: int = 20,
    json: bool = False,
) -> None:
    """Look for what is wrong with a data set: bad files, copies, leaks, names, sizes. Exit 0 clean, 1 warnings, 2 errors.

    Parameters
    ----------
    spec
        Any data set: a word such as digits, or your own by folder:PATH and the like (see `robustkd datasets`).
    data_dir
        Where the files of a published data set lie; ./data where not given.
    download
        Fetch a published data set that is not there.
    image_size
        Pixels of the side that image files are brought to before they are compared.
    least
        How many training images a class should have.
    json
        Write all findings with all examples as JSON, and nothing else.
    """
    from pipelines.stages import check_data as stage

    stage.main(spec, data_dir=data_dir, download=download, image_size=image_size, least=least, as_json=json)


@app.command
def predict(
    model: str,
    images: str,
    /,
    *,
    to: Path | None = None,
    device: str = "auto",
    skip_bad_images: bool = False,
    plug: str | None = None,
) -> None:
    """Classify the images of a folder: a CSV with a line per image, on the terminal or in a file.

    Parameters
    ----------
    model
        A model.pt, an MLflow run id or a model URI.
    images
        folder:PATH.
    to
        The CSV file to write; it must not exist.
    device
        cpu, cuda, ...; auto takes a GPU where there is one.
    skip_bad_images
        Leave out files that cannot be read instead of stopping.
    plug
        Python files of your own that the net's word comes from.
    """
    register_plugins(plug)
    from pipelines.stages import predict as stage

    stage.main(model, images, to, device, skip_bad_images)


@app.command
def export(
    model: str,
    /,
    *,
    method: str | None = None,
    to: Path | None = None,
    formats: str = "onnx,torch",
    register: str | None = None,
    alias: str | None = None,
    plug: str | None = None,
) -> None:
    """Write a trained net as files that run without robustkd, with a card; or register it in MLflow; or both.

    The files take uint8 images (batch, height, width, channels) and give probabilities; normalisation is inside.

    Parameters
    ----------
    model
        A model.pt, a study's folder with --method, an MLflow run id or a model URI.
    method
        Whose student of a study's folder; always that of the first seed, which is fixed beforehand.
    to
        The folder to write: model.onnx, model.pt2, card.json, README.md; it must be empty or not exist.
    formats
        onnx (for ONNX Runtime; needs the extra `export`), torch (for torch alone), or both with a comma between.
    register
        The name under which MLflow's registry takes the model that a study logged.
    alias
        An alias that the registered version gets, such as candidate; it leaves the version that had it.
    plug
        Python files of your own that the net's word comes from.
    """
    register_plugins(plug)
    from pipelines.stages import export as stage

    stage.main(model, method, to, formats, register, alias)


def listed(registry: registry.Registry, word: str | None) -> None:
    """A table of contents, or one word's card and parameters."""
    from rich.markup import escape
    from rich.table import Table

    from pipelines.console import console

    table = Table(box=None, show_header=False)
    if word is None:
        for name in registry:
            examples = ", ".join(registry[name].examples)
            table.add_row(escape(name), escape(registry[name].summary + (f": {examples}" if examples else "")))
        console.print(table)
        return
    read = registry.parse(word)
    found = read.load()
    print((sys.modules[found.__module__].__doc__ or found.__doc__ or "").strip(), end="\n\n")
    hints, said = specs.parameter_types(found), {**read.preset, **read.fields}
    for name, parameter in specs.settable_parameters(found).items():
        default = said.get(name, "needed" if parameter.default is parameter.empty else parameter.default)
        table.add_row(
            name, escape(types.describe_type(hints[name])), f"{default:.4g}" if type(default) is float else str(default)
        )
    console.print(table)


@app.command
def methods(word: str | None = None, /) -> None:
    """List the methods, or one method's card and hyperparameters."""
    listed(METHODS, word)


@app.command(name="scenarios")
def scenarios_(word: str | None = None, /) -> None:
    """List the scenarios, or one scenario's card and parameters."""
    listed(scenarios.SCENARIOS, word)


@app.command
def models(word: str | None = None, /) -> None:
    """List the nets, or one net's card and parameters."""
    listed(MODELS, word)


@app.command
def criteria(word: str | None = None, /) -> None:
    """List the criteria, or one criterion's card and parameters."""
    listed(CRITERIA, word)


@app.command
def datasets() -> None:
    """List the data sets."""
    for name, summary in DATASETS.items():
        print(f"{name:15} {summary}")


def register_plugins(files: str | None) -> None:
    """Register what the user's files define, scenarios included."""
    load_plugins(files, {"SCENARIOS": scenarios.SCENARIOS})


def check_options(options: StudyOptions) -> None:
    """Refuse unknown names before anything heavy is imported, then values that do not fit their signatures.

    Raises:
        robustkd.errors.UsageError: the first problem.
    """
    register_plugins(options.plug)
    scenarios.parse(options.scenario)
    methods = options.method_specs()
    CRITERIA.parse(options.teacher_criterion)
    MODELS.parse(options.student)
    attacks = parse_attacks(options.attack) if options.attack is not None else ()
    for method in methods:  # imports torch, which is why names are checked first
        method.check()
    for attack in attacks:
        attack.load()


def spelled(arguments: list[str]) -> list[str]:
    """What was typed, with `--flag true` (as MLflow spells it) made `--flag=true`.

    >>> spelled(["run", "--fresh", "true", "--seeds", "2"])
    ['run', '--fresh=true', '--seeds', '2']
    >>> spelled(["audit", "digits", "--prune", "true"])
    ['audit', 'digits', '--prune=true']
    """
    options = {**SweepOptions.__dataclass_fields__, **AuditOptions.__dataclass_fields__}
    flags = {name for name, field in options.items() if field.type is bool} | {"dry_run", "json", "each"}
    words_: list[str] = []
    for word in arguments:
        before = words_[-1].removeprefix("--").replace("-", "_") if words_ and words_[-1].startswith("--") else ""
        if before in flags and word.lower() in ("true", "false"):
            words_[-1] += f"={word.lower()}"
        else:
            words_.append(word)
    return words_


def configured(arguments: list[str]) -> list[str]:
    """What was typed, with the options of the YAML file it names; what is typed wins.

    The file's lines become words of the command line, so that both are read and refused in one way.
    """
    named = [a.removeprefix("--config=") for a in arguments if a.startswith("--config=")]
    named += [after for before, after in pairwise(arguments) if before == "--config"]
    if not named:
        return arguments
    try:
        content = yaml.safe_load(Path(named[0]).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise errors.UsageError(f"--config {named[0]}: it cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise errors.UsageError(f"--config {named[0]}: this is no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise errors.UsageError(f"--config {named[0]}: it should hold lines such as 'seeds: 5'")
    typed = {a.split("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for a in arguments}
    known, lines = [*StudyOptions.__dataclass_fields__, "dry_run"], []
    if arguments[0] == "sweep":  # lists in the place of one
        known = [
            name for name in (*SweepOptions.__dataclass_fields__, "dry_run") if name not in ("dataset", "scenario")
        ]
    for key, value in content.items():
        option = str(key).replace("-", "_")
        if option not in known:
            raise errors.UsageError(
                f"--config {named[0]}: there is no option '{key}'{errors.did_you_mean(option, known)}"
            )
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        if option not in typed and value is not None:
            lines.append(f"--{option}={text.lower() if isinstance(value, bool) else text}")
    return [*arguments, *lines]


def sentence(error: CycloptsError) -> str:
    """A parser's error in one line."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        first = cause.errors()[0]
        if first["type"].startswith("missing"):
            return f"--{str(first['loc'][0]).replace('_', '-')} is needed"
        return f"--{str(first['loc'][0]).replace('_', '-')} {errors.describe_validation_error(cause)}"
    return " ".join(str(error).split())


def main(arguments: list[str] | None = None) -> None:
    """The console script: 0 when done, 1 when something failed on the way, 2 when it could not be begun."""
    typed = spelled(sys.argv[1:] if arguments is None else arguments)
    try:
        app(configured(typed), exit_on_error=False, print_error=False, result_action="return_value")
        return
    except CycloptsError as error:
        message, code = sentence(error), 2
    except errors.UsageError as error:
        message, code = str(error), 2
    except errors.ExecutionError as error:
        message, code = str(error), 1
    except KeyboardInterrupt:
        message, code = "stopped; the same command goes on from here", 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        message, code = f"{error.filename or 'a file'}: {error.strerror or error}", 1
    print(f"robustkd: {message}", file=sys.stderr)
    sys.exit(code)
