"""Preparation of the command line's arguments for the parser, and the parser's errors in one line."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from cyclopts import CycloptsError
from pydantic import ValidationError

from pipelines.cli_options import AuditOptions, SelectOptions, SweepOptions
from robustkd.errors import UsageError, describe_validation_error, did_you_mean
from robustkd.study.options import StudyOptions
from robustkd.yaml_file import read_yaml

UNSET = ("", "~", "null", "Null", "NULL")  # values of YAML that leave an option at its default


def join_flag_values(arguments: list[str]) -> list[str]:
    """Write `--flag true`, which is how MLflow passes flags, as `--flag=true`.

    >>> join_flag_values(["run", "--fresh", "true", "--seeds", "2"])
    ['run', '--fresh=true', '--seeds', '2']
    >>> join_flag_values(["audit", "digits", "--prune", "true"])
    ['audit', 'digits', '--prune=true']
    """
    options = {**SweepOptions.__dataclass_fields__, **AuditOptions.__dataclass_fields__}
    flags = {name for name, field in options.items() if field.type is bool} | {"dry_run", "json", "each", "yes"}
    joined: list[str] = []
    for word in arguments:
        previous = joined[-1].removeprefix("--").replace("-", "_") if joined and joined[-1].startswith("--") else ""
        if previous in flags and word.lower() in ("true", "false"):
            joined[-1] += f"={word.lower()}"
        else:
            joined.append(word)
    return joined


def add_config_options(arguments: list[str]) -> list[str]:
    """Append the options of the YAML file named by --config, except those that are given as arguments.

    The file's options are appended as arguments, so that both are parsed and rejected in the same way.

    Raises:
        robustkd.errors.UsageError: the file cannot be read, or contains an unknown option.
    """
    paths = [word.removeprefix("--config=") for word in arguments if word.startswith("--config=")]
    paths += [value for option, value in pairwise(arguments) if option == "--config"]
    if not paths:
        return arguments
    given = {word.split("=")[0].removeprefix("--").removeprefix("no-").replace("-", "_") for word in arguments}
    allowed = config_options(arguments[0])
    additions = []
    for key, value in read_config(paths[0]).items():
        option = str(key).replace("-", "_")
        if option not in allowed:
            raise UsageError(f"--config {paths[0]}: there is no option '{key}'{did_you_mean(option, allowed)}")
        if isinstance(value, dict) or (isinstance(value, list) and not all(isinstance(part, str) for part in value)):
            raise UsageError(f"--config {paths[0]}: '{key}' should be one value, or a list of values")
        text = ",".join(value) if isinstance(value, list) else value
        if option not in given and text not in UNSET:
            additions.append(f"--{option}={text.lower() if text.lower() in ('true', 'false') else text}")
    return [*arguments, *additions]


def config_options(command: str) -> list[str]:
    """Return the options that a YAML file may set for a command."""
    if command == "sweep":  # which has lists of data sets and scenarios instead of one
        names = [name for name in SweepOptions.__dataclass_fields__ if name not in ("dataset", "scenario")]
    elif command == "select":
        names = list(SelectOptions.__dataclass_fields__)
    else:
        names = list(StudyOptions.__dataclass_fields__)
    return [*names, "dry_run", *(["spread"] if command in ("run", "select") else [])]


def read_config(path: str) -> Mapping[object, Any]:
    """Read a YAML file of options.

    Raises:
        robustkd.errors.UsageError: the file cannot be read, is not YAML, or is not a mapping.
    """
    content = read_yaml(path, "--config") or {}
    if not isinstance(content, dict):
        raise UsageError(f"--config {path}: it should contain lines such as 'seeds: 5'")
    return content


def describe_parse_error(error: CycloptsError) -> str:
    """Describe a parser's error in one line."""
    cause = error.__cause__
    if isinstance(cause, ValidationError):
        first = cause.errors()[0]
        # A single parameter of a command has a name; those of a group are fields, which pydantic locates.
        named = error.argument.name if error.argument is not None and not first["loc"] else f"--{first['loc'][0]}"
        option = named.replace("_", "-")
        return (
            f"{option} is needed"
            if first["type"].startswith("missing")
            else f"{option} {describe_validation_error(cause)}"
        )
    return " ".join(str(error).split())
