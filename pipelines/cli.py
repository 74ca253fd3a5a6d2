"""Commands of the command line, and their one-line errors.

Each option of a study is defined once, in robustkd.study.options; YAML files and the -P options of `mlflow run` set the same
ones. Names are checked before torch and MLflow are imported, which is why each command imports its stage when it is called.
"""

import os
import platform
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

import robustkd
import scenarios
from pipelines.address_space import LACK_OF_MEMORY, load_torch_if_limited
from pipelines.arguments import add_config_options, describe_parse_error, join_flag_values
from pipelines.cli_maintenance import maintenance
from pipelines.cli_options import (
    AuditOptions,
    CheckOptions,
    DryRun,
    GivenSpread,
    PredictOptions,
    Selection,
    StudySelection,
    SweepOptions,
)
from pipelines.console import replace_unprintable
from pipelines.listing import print_models, print_registry
from pipelines.signals import handle_signals
from robustkd import errors, types
from robustkd.criteria import CRITERIA
from robustkd.data.sources import DATASETS
from robustkd.evaluation.attack_specs import parse_attacks
from robustkd.method_sets import read_method_list
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.plugins import load_plugins
from robustkd.study.options import DataOptions, StudyOptions
from robustkd.study.ray_cluster import ray_session

app = App(
    name="robustkd",
    help="Knowledge distillation under label noise and class imbalance, compared class by class with plain training.",
    version=lambda: f"robustkd {robustkd.__version__} (torch {version('torch')}, Python {platform.python_version()})",
    help_format="plaintext",
    suppress_keyboard_interrupt=False,
)
app.command(maintenance, name="*")
app.register_install_completion_command(
    help="Install completion of commands and options for bash, zsh, fish or PowerShell."
)

Options = Annotated[StudyOptions, Parameter(name="*")]
Config = Annotated[
    Path | None, Parameter(help="A YAML file with these options; options on the command line take precedence.")
]


@app.command(name="run")
def run_command(options: Options, *, dry_run: bool = False, spread: GivenSpread = None, config: Config = None) -> None:
    """Run all stages of a study: prepare, teacher, distil, evaluate, compare.

    Parameters
    ----------
    dry_run
        Print the runs, their estimated time, and which differences they would find, without training.
    """
    check_options(options)
    from pipelines.stages import run as stage

    stage.main(options, dry_run=dry_run, spread=spread)


@app.command(name="prepare")
def prepare_command(options: Options, *, config: Config = None) -> None:
    """Read the data, apply the scenario and write the result to manifests."""
    check_options(options)
    from pipelines.stages import prepare as stage

    stage.main(options)


@app.command(name="teacher")
def teacher_command(options: Options, *, config: Config = None) -> None:
    """Train the teachers of a study."""
    check_options(options)
    from pipelines.stages import teacher as stage

    stage.main(options)


@app.command(name="distil")
def distil_command(options: Options, *, config: Config = None) -> None:
    """Train the students of a study from its trained teachers."""
    check_options(options)
    from pipelines.stages import distil as stage

    stage.main(options)


@app.command(name="evaluate")
def evaluate_command(options: Options, *, config: Config = None) -> None:
    """Evaluate the trained networks of a study again."""
    check_options(options)
    from pipelines.stages import evaluate as stage

    stage.main(options)


@app.command(name="compare")
def compare_command(
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
    """Show the results of studies: all tables of one study, or one table across several.

    Parameters
    ----------
    studies
        Folders of studies, folders that contain studies, or MLflow run ids. By default, the study with the given options
        (at least --scenario), or the newest one in --out; from MLflow all studies of --experiment, or the newest.
    origin
        Where studies are read from; with mlflow, STUDIES may also be names.
    each
        Also show all tables of each study if there are several.
    figure
        Metric of the table across studies: accuracy, balanced_accuracy, worst_recall, macro_f1, ...
    csv
        A folder to write all tables to; none of the files may exist.
    markdown
        A Markdown file to write the output to; it must not exist.
    latex
        A LaTeX file to write the output to; it must not exist.
    """
    if options is not None and options.scenario:
        check_options(options)
    from pipelines.stages import compare as stage

    stage.main(studies, origin, options, each=each, metric=figure, csv=csv, markdown=markdown, latex=latex)


@app.command(name="sweep")
def sweep_command(
    options: Annotated[SweepOptions, Parameter(name="*")], *, dry_run: bool = False, config: Config = None
) -> None:
    """Run a study for each scenario and data set, and tabulate them: methods in rows, scenarios in columns.

    Parameters
    ----------
    dry_run
        Print the runs and their estimated time, without training.
    """
    register_plugins(options.plug)
    studies = list(options.studies())
    for study in studies:
        scenarios.parse(study.scenario)
    check_options(studies[0])
    from pipelines.stages import sweep as stage

    stage.main(options, dry_run=dry_run)


@app.command(name="select")
def select_command(
    options: Selection, *, dry_run: DryRun = False, spread: GivenSpread = None, config: Config = None
) -> None:
    """Select a method at a fraction of the cost of comparing all: a race on held-out rows, then a test on fresh seeds."""
    check_options(options)
    from pipelines.stages import select as stage

    stage.main(options, dry_run=dry_run, spread=spread)


@app.command(name="describe")
def describe_command(
    scenario: str,
    /,
    *,
    data: Annotated[DataOptions | None, Parameter(name="*")] = None,
    seed: types.Seed = 0,
    save: Path | None = None,
    figure: Path | None = None,
    plug: str | None = None,
) -> None:
    """Describe what a scenario does to a data set: rates, transition matrix, class sizes, digest.

    Parameters
    ----------
    scenario
        Scenarios chained with +, as in imbalance0.2+noise0.4.
    seed
        Data seed of the draw.
    save
        A manifest to write, NAME.csv or NAME.parquet, for the scenario `manifest(file=...)`; it must not exist.
    figure
        A figure to draw, .png, .svg or .pdf: class sizes, matrix, corrupted samples; it must not exist.
    plug
        Your own Python files that define SCENARIOS or DATASETS.
    """
    register_plugins(plug)
    steps = scenarios.parse(scenario)
    from pipelines.stages import describe as stage

    stage.main(scenario, steps, data or DataOptions(), seed, save, figure)


@app.command(name="audit")
def audit_command(spec: str, /, *, options: Annotated[AuditOptions | None, Parameter(name="*")] = None) -> None:
    """Estimate the label noise of a data set, and list, prune or relabel suspicious labels.

    Parameters
    ----------
    spec
        A data set: a name such as digits, or your own as folder:PATH etc. (see `robustkd datasets`).
    """
    options = replace(options or AuditOptions(), dataset=spec)
    register_plugins(options.plug)
    scenarios.parse(options.scenario)
    MODELS.parse(options.net)
    from pipelines.stages import audit as stage

    stage.main(options)


@app.command(name="check-data")
def check_data_command(spec: str, /, *, options: Annotated[CheckOptions | None, Parameter(name="*")] = None) -> None:
    """Check a data set for unreadable files, duplicates, leaks, names and sizes. Exit 0: clean, 1: warnings, 2: errors.

    Parameters
    ----------
    spec
        A data set: a name such as digits, or your own as folder:PATH etc. (see `robustkd datasets`).
    """
    options = replace(options or CheckOptions(), dataset=spec)
    register_plugins(options.plug)
    from pipelines.stages import check_data as stage

    stage.main(options)


@app.command(name="predict")
def predict_command(
    model: str, images: str, /, *, options: Annotated[PredictOptions | None, Parameter(name="*")] = None
) -> None:
    """Classify images: a CSV with one line per image, and the accuracy where labels are given.

    Parameters
    ----------
    model
        A model.pt, an MLflow run id or a model URI.
    images
        folder:PATH with images at any depth, an image file, or a data set, whose labels may be missing: csv:PATH etc.
    """
    options = replace(options or PredictOptions(), dataset=images)
    register_plugins(options.plug)
    from pipelines.stages import predict as stage

    stage.main(model, options)


@app.command(name="export")
def export_command(
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
    """Export a trained network to files that run without robustkd, with a model card; register it in MLflow; or both.

    The exported models map uint8 images (batch, height, width, channels) to probabilities; they include normalisation.

    Parameters
    ----------
    model
        A model.pt, a study's folder with --method, an MLflow run id or a model URI.
    method
        Method of the student in a study's folder; the student is always the first seed's, independent of the results.
    to
        The folder to write model.onnx, model.pt2, card.json and README.md to; it must be empty or not exist.
    formats
        onnx (for ONNX Runtime; needs the extra `export`), torch (for torch only), or both separated by a comma.
    register
        Name under which to register the model that a study logged, in MLflow's model registry.
    alias
        Alias of the registered version, such as candidate; it is moved from the version that had it.
    plug
        Your own Python files that define the network.
    """
    register_plugins(plug)
    from pipelines.stages import export as stage

    stage.main(model, method, to, formats, register, alias)


@app.command(name="methods")
def list_methods(word: str | None = None, /) -> None:
    """List the methods, or show the documentation and hyperparameters of one."""
    print_registry(METHODS, word)


@app.command(name="scenarios")
def list_scenarios(word: str | None = None, /) -> None:
    """List the scenarios, or show the documentation and parameters of one."""
    print_registry(scenarios.SCENARIOS, word)


@app.command(name="models")
def list_models(word: str | None = None, /) -> None:
    """List the networks, or show the documentation and parameters of one."""
    print_models(word)


@app.command(name="criteria")
def list_criteria(word: str | None = None, /) -> None:
    """List the criteria, or show the documentation and parameters of one."""
    print_registry(CRITERIA, word)


@app.command(name="datasets")
def list_datasets() -> None:
    """List the data sets."""
    for name, summary in DATASETS.items():
        print(f"{name:15} {summary}")


def register_plugins(files: str | None) -> None:
    """Register what the user's files define, including scenarios."""
    load_plugins(files, {"SCENARIOS": scenarios.SCENARIOS})


def check_options(options: StudyOptions) -> None:
    """Reject unknown names before anything heavy is imported, then values that do not match their signatures.

    Raises:
        robustkd.errors.UsageError: a name or value is invalid; the first one is reported.
    """
    register_plugins(options.plug)
    scenarios.parse(options.scenario)
    methods = replace(options, methods=read_method_list(options.methods)).method_specs()
    CRITERIA.parse(options.teacher_criterion)
    MODELS.parse(options.student)
    attacks = parse_attacks(options.attack) if options.attack is not None else ()
    for method in methods:  # imports torch, which is why names are checked first
        method.check()
    for attack in attacks:
        attack.load()


def main(arguments: list[str] | None = None) -> None:
    """Run the console script; exit with 0 on success, 1 on failure, 2 if the command cannot start."""
    replace_unprintable()
    try:
        load_torch_if_limited()
        words = join_flag_values(sys.argv[1:] if arguments is None else arguments)
        with handle_signals(), ray_session():
            app(add_config_options(words), exit_on_error=False, print_error=False, result_action="return_value")
        return
    except CycloptsError as error:
        message, code = describe_parse_error(error), 2
    except errors.UsageError as error:
        message, code = str(error), 2
    except errors.StudyPaused as error:
        message, code = str(error), 0
    except errors.ExecutionError as error:
        message, code = str(error), 1
    except KeyboardInterrupt as error:
        message, code = "stopped; the same command continues from here", getattr(error, "exit_code", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        message, code = f"{error.filename or 'a file'}: {error.strerror or error}", 1
    except Exception as error:
        if not errors.is_out_of_memory(error):
            raise
        message, code = f"{LACK_OF_MEMORY} ({type(error).__name__}{f': {error}' if str(error) else ''})", 1
    print(f"robustkd: {errors.as_one_line(message)}", file=sys.stderr)
    sys.exit(code)
