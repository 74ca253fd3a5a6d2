"""The files around the code say what the code does."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines import cli
from pipelines.cli_options import AuditOptions
from pipelines.stages import audit, check_data

HOME = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((HOME / "pyproject.toml").read_text())


def test_mlflow_builds_its_environment_from_our_requirements_and_nothing_of_ours() -> None:
    environment = yaml.safe_load((HOME / "python_env.yaml").read_text())
    assert environment["dependencies"] == PYPROJECT["project"]["dependencies"]
    assert "python" not in environment, "MLflow takes the version it runs with, and compiles none"


def test_mlproject_is_a_file_that_declares_what_must_be_said_and_nothing_else() -> None:
    entries = yaml.safe_load((HOME / "MLproject").read_text())["entry_points"]
    stages = {name: f"{name} --scenario {{scenario}}" for name in ("prepare", "teacher", "distil", "evaluate")}
    words = {"main": "run --scenario {scenario}", **stages}
    words |= {"audit": "audit {dataset}", "compare": "compare", "sweep": "sweep --scenarios {scenarios}"}
    words |= {"select": "select --scenario {scenario}"}
    assert {name: entry["command"] for name, entry in entries.items()} == {
        name: f"python -m pipelines {typed}" for name, typed in words.items()
    }
    for name, entry in entries.items():
        assert list(entry.get("parameters", {})) == re.findall(r"{(\w+)}", words[name])


def test_flags_may_be_given_as_mlflow_spells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    entry = yaml.safe_load((HOME / "MLproject").read_text())["entry_points"]["audit"]
    given: list[Any] = []
    monkeypatch.setattr(audit, "main", given.append)
    flags = {name: not field.default for name, field in AuditOptions.__dataclass_fields__.items() if field.type is bool}
    assert {"prune", "relabel", "download"} <= set(flags)
    # What MLflow makes of -P dataset=digits -P prune=true and so on.
    typed = entry["command"].format(dataset="digits").removeprefix("python -m pipelines ").split()
    cli.main([*typed, *(word for name, value in flags.items() for word in (f"--{name}", str(value).lower()))])
    assert {name: getattr(given[0], name) for name in flags} == flags
    monkeypatch.setattr(check_data, "main", given.append)
    cli.main(["check-data", "digits", "--json", "true", "--download", "False"])
    assert (given[1].json, given[1].download) == (True, False)


def test_ci_runs_the_command_of_the_readme() -> None:
    readme, ci = (HOME / "README.md").read_text(), (HOME / ".ci" / "run").read_text()
    first, second = re.findall(r"^```sh\n(.+)\n```", readme, re.MULTILINE)[:2]
    assert "mlflow run . --env-manager local -P scenario=noise0.4" in first
    assert "pytest" in second
    assert second.split("&&", 1)[1].strip() in ci


def test_the_readme_names_every_word() -> None:
    import scenarios
    from robustkd.criteria import CRITERIA
    from robustkd.methods import METHODS

    readme = (HOME / "README.md").read_text()
    missing = [word for table in (METHODS, CRITERIA, scenarios.SCENARIOS) for word in table if f"`{word}" not in readme]
    assert missing == []


def test_one_version() -> None:
    """That of the package, of its newest changes and of the citation."""
    import robustkd

    text = (HOME / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (\S+), \d{4}-\d\d-\d\d$", text, re.MULTILINE)
    assert versions[0] == PYPROJECT["project"]["version"] == robustkd.__version__
    assert versions == sorted(versions, key=lambda name: [*map(int, name.split("."))], reverse=True)
    citation = yaml.safe_load((HOME / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == robustkd.__version__
    assert f"## {citation['version']}, {citation['date-released']}" in text
