"""Any command succeeds, or says in one sentence why not, and changes no file that was there before."""

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines import cli
from pipelines.cli_options import AuditOptions, CheckOptions, PredictOptions
from robustkd.study.options import DataOptions, StudyOptions
from robustkd.training.checkpoint import load_checkpoint
from tests.pipelines.exports import save_untrained
from tests.pipelines.toys import OPTIONS, stripes

HOME = Path(__file__).parents[2]
LONGEST = len("robustkd: ") + 300


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The working directory: a data set, photographs, networks, and files that look like them."""
    folder = tmp_path_factory.mktemp("workplace")
    stripes(folder / "toy.npz")
    (folder / "[bold]photos" / "=cat").mkdir(parents=True)
    Image.new("L", (8, 8), 50).save(folder / "[bold]photos" / "=cat" / "-1.png")
    (folder / "table.csv").write_text("image,label\n../../etc/passwd,a\n../x.png,b\n")
    (folder / "options.yaml").write_text("epochs: 1:30:00\nsince: 2020-01-01\n")
    (folder / "aliases.yaml").write_text("a: &a [x]\n" + "".join(f"b{n}: [*a, *a]\n" for n in range(9)))
    (folder / "deep.yaml").write_text("[" * 10_000)
    (folder / "empty").touch()
    content = load_checkpoint(save_untrained(folder / "model.pt"))
    card = json.loads(content["card"])
    torch.save([1, 2], folder / "list.pt")
    torch.save({**content, "card": "{}"}, folder / "no-keys.pt")
    torch.save({**content, "card": json.dumps({**card, "shape": ["a", 8, 8]})}, folder / "text.pt")
    torch.save({**content, "card": json.dumps({**card, "model": "wrn_10_1"})}, folder / "other.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


def read_files() -> dict[Path, bytes]:
    """Return the content of every file in the working directory."""
    return {path: path.read_bytes() for path in Path().rglob("*") if path.is_file()}


def run_command(arguments: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it wrote to standard error."""
    code, errors = 0, io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        try:
            cli.main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
    return code, errors.getvalue()


def check_outcome(code: int, errors: str) -> None:
    """Check that a command succeeded, or failed with one sentence."""
    assert "Traceback" not in errors
    assert code in (0, 1, 2)
    if code == 2:
        assert errors.startswith("robustkd: ")
        assert errors.count("\n") == 1
    for line in errors.splitlines():
        assert len(line) <= LONGEST
        assert line.isprintable()


def refused(*arguments: str) -> str:
    """Return the sentence with which a command is refused."""
    before = read_files()
    code, errors = run_command(list(arguments))
    check_outcome(code, errors)
    assert code == 2, "it is not refused"
    assert read_files() == before
    return errors


NEW = ("run", "--scenario", "clean", "--tracker", "files", "--methods", "hinton", "--student", "resnet8")


@pytest.mark.usefixtures("workplace")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--config", "/dev/zero"), "--config /dev/zero: it is larger than 1 MB"),
        (("run", "--config", "options.yaml"), "there is no option 'since'"),
        (("run", "--config", "aliases.yaml"), "aliases"),
        (("run", "--config", "deep.yaml"), "nested too deeply"),
        (("describe", "noise0.4", "--seed", "-1"), "--seed is -1 but should be greater than or equal to 0"),
        (("describe", "noise0.4", "--seed", "9" * 30), "--seed is 9"),
        (("audit", "npz:toy.npz", "--seed", "9" * 30), "--seed is '9"),
        (("run", "--scenario", "clean", "--seeds", "9" * 9), "less than or equal to 1000"),
        (("run", "--scenario", "clean", "--threads", "9" * 9), "less than or equal to 4096"),
        (("run", "--scenario", "clean", "--image-size", "9" * 9), "should be 'auto' or less than or equal to 4096"),
        (
            ("audit", "folder:[bold]photos", "--crop-share", "1e-300"),
            "should be 'auto' or greater than or equal to 0.1",
        ),
        ((*NEW, "--teacher", "list.pt"), "this file holds a list, not a dictionary of weights"),
        ((*NEW, "--init", "list.pt"), "this file holds a list, not a dictionary of weights"),
        (("predict", "list.pt", "npz:toy.npz"), "it contains a list"),
        ((*NEW, "--teacher", "no-keys.pt"), "its model card has no 'model'"),
        ((*NEW, "--init", "no-keys.pt"), "its model card has no 'model'"),
        (("predict", "no-keys.pt", "npz:toy.npz"), "its model card has no 'model'"),
        (("export", "no-keys.pt", "--to", "new", "--formats", "torch"), "its model card has no 'model'"),
        ((*NEW, "--teacher", "text.pt"), "its model card is wrong: shape.0 is 'a' but should be a valid integer"),
        (("predict", "text.pt", "npz:toy.npz"), "its model card is wrong: shape.0 is 'a'"),
        (("predict", "other.pt", "npz:toy.npz"), "its weights are not those of a wrn_10_1: missing: "),
        ((*NEW, "--teacher", "other.pt", "--dataset", "npz:toy.npz"), "--teacher-classes"),
        (("predict", "/dev/zero", "npz:toy.npz"), "this is not a regular file"),
        (("predict", "model.pt", "npz:toy.npz", "--to", "nowhere/a.csv"), "there is no nowhere"),
        (("predict", "model.pt", "npz:toy.npz", "--to", "table.csv"), "exists already"),
        (("check-data", "csv:table.csv"), "is outside"),
        (("describe", "x" * 1001, "--dataset", "npz:toy.npz"), "has 1001 characters"),
        (("methods", "hinton(" + "(" * 900), "hinton"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments: tuple[str, ...], message: str) -> None:
    assert message in refused(*arguments)


@pytest.mark.usefixtures("workplace")
def test_a_name_leads_out_of_no_folder() -> None:
    arguments = [word for name, value in OPTIONS.items() for word in (f"--{name}", value)]
    around = set(Path("..").iterdir())
    for name in ("../../x", "..", "a/b", "\0", "."):
        code, _ = run_command(["prepare", *arguments, "--dataset", "npz:toy.npz", "--name", name, "--out", "named"])
        assert code == 0
    folders = {path.name.rpartition("-")[0] for path in Path("named").iterdir()}
    assert folders == {"x", "study", "a-b"}
    assert set(Path("..").iterdir()) == around


# Fuzzing. These options are not drawn, since they could start long work or touch what lies outside of the workplace.
NOT_DRAWN = {"download", "tracker", "experiment", "system_metrics", "epochs", "batch", "folds", "methods", "jobs"}
NOT_DRAWN |= {"out", "plug"}
FILES = ["toy.npz", "[bold]photos", "table.csv", "options.yaml", "aliases.yaml", "deep.yaml", "empty"]
FILES += ["model.pt", "list.pt"]
FILES += ["no-keys.pt", "text.pt", "other.pt", "nowhere", "/dev/null", "/dev/zero", ".", "..", "/", "~", ""]
WORDS = ["noise0.4", "clean", "noise", "resnet8", "wrn_10_1", "hinton", "baseline+gce", "digits", "fgsm"]
WORDS += ["auto", "none", "nan", "inf", "-1", "0", "1", "8", "1e9", "9" * 40, "0.5", "True", "[red]x", "=x"]
WORDS += ["a\nb", "\x1b[31m", "猫💥", "\ud7ff", "(" * 1200, "x" * 5000, "%s%n", "{0}", "--help", "-", "'", '"']
WORDS += ["a,b", "1,2", "../../x", "\u0663", "$HOME", "`id`"]
KINDS = ["npz:", "folder:", "csv:", "parquet:", "hf:", ""]
value = st.sampled_from(WORDS) | st.sampled_from(FILES) | st.text(st.characters(exclude_characters="\0"), max_size=20)
hostile_source = st.builds(str.__add__, st.sampled_from(KINDS), st.sampled_from(FILES) | value)
# Half of what is typed is right, so that commands come as far as to their data and networks.
source = st.sampled_from(["npz:toy.npz", "folder:[bold]photos"]) | hostile_source
scenario = st.sampled_from(["noise0.4", "clean", "imbalance0.5"]) | value
network = st.sampled_from(["model.pt", "other.pt", "no-keys.pt"]) | value
setting = st.sampled_from(["1", "2", "8", "0.5", "10s", "auto", "none", "resnet8", "clean", "cpu", "true"]) | value


def options_of(*groups: type) -> st.SearchStrategy[list[str]]:
    """Return up to two options, most of them of the command, with values of any kind."""
    names = sorted({field.name.replace("_", "-") for group in groups for field in fields(group)} - NOT_DRAWN)  # type: ignore[arg-type]
    name = st.one_of(*[st.sampled_from(names).map(lambda name: f"--{name}")] * 9, value)
    options = st.lists(st.tuples(name, setting), max_size=2)
    return options.map(lambda pairs: [word for pair in pairs for word in pair])


def with_base(command: str, base: Mapping[str, str], others: list[str]) -> list[str]:
    """Return a command with the base's options, except those that are given."""
    kept = {name: text for name, text in base.items() if f"--{name}" not in others}
    return [command, *(word for name, text in kept.items() for word in (f"--{name}", text)), *others]


STUDY = {**OPTIONS, "methods": "baseline", "epochs": "1", "dataset": "npz:toy.npz", "dry-run": "true"}
AUDIT = {"net": "resnet8", "epochs": "1", "folds": "2", "threads": "1", "batch": "8"}
COMMANDS = st.one_of(
    st.builds(lambda others: with_base("run", STUDY, others), options_of(StudyOptions)),
    st.builds(
        lambda text, others: with_base("run", {**STUDY, "scenario": text}, others), scenario, options_of(StudyOptions)
    ),
    st.builds(
        lambda data, others: with_base("run", {**STUDY, "dataset": data}, others), source, options_of(StudyOptions)
    ),
    st.builds(
        lambda text, others: ["sweep", "--scenarios", text, "--dry-run", "--tracker", "files", *others],
        scenario,
        options_of(StudyOptions),
    ),
    st.builds(
        lambda text, others: ["describe", text, "--dataset", "npz:toy.npz", *others], scenario, options_of(DataOptions)
    ),
    st.builds(
        lambda data, others: ["audit", data, *with_base("", AUDIT, others)[1:]], source, options_of(AuditOptions)
    ),
    st.builds(lambda data, others: ["check-data", data, *others], source, options_of(CheckOptions)),
    st.builds(lambda net, data, others: ["predict", net, data, *others], network, source, options_of(PredictOptions)),
    st.builds(lambda net, to: ["export", net, "--to", to, "--formats", "torch"], network, value),
    st.builds(lambda study, to: ["compare", study, "--csv", to], value, value),
    st.builds(
        lambda command, text: [command, text],
        st.sampled_from(["verify", "methods", "models", "scenarios", "criteria"]),
        value,
    ),
    st.lists(value, max_size=3),
)


@pytest.mark.slow
@pytest.mark.usefixtures("workplace")
@given(arguments=COMMANDS)
@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
def test_two_hundred_commands_end_in_success_or_a_sentence(arguments: list[str]) -> None:
    before = read_files()
    code, errors = run_command(arguments)
    found_errors_in_data = arguments[:1] == ["check-data"] and not errors  # which is its exit code 2, too
    check_outcome(1 if found_errors_in_data else code, errors)
    after = read_files()
    assert {path: after.get(path) for path in before} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--config", "/dev/zero"],
        ["predict", "no-keys.pt", "folder:[bold]photos"],
        ["describe", "noise0.4", "--seed", "-1"],
        ["check-data", "csv:table.csv"],
        ["\x1b[31m", "猫"],
    ],
)
def test_processes_end_in_a_sentence(workplace: Path, arguments: list[str]) -> None:
    environment = {**os.environ, "PYTHONPATH": str(HOME)}
    process = subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments], cwd=workplace, capture_output=True, text=True, env=environment
    )
    assert process.returncode == 2
    check_outcome(process.returncode, process.stderr)
