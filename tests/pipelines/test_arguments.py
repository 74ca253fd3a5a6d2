"""Arguments from flags with values and YAML files, before they are parsed."""

from pathlib import Path

import pytest

from pipelines.arguments import add_config_options, config_options
from robustkd.errors import UsageError


def test_arguments_take_precedence_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("seeds: 4\naugment: false\nmethods: [baseline, hinton]\nname: null\ndata-dir: here\n")
    arguments = ["run", f"--config={path}", "--seeds", "5", "--no-augment"]
    assert add_config_options(arguments) == [*arguments, "--methods=baseline,hinton", "--data_dir=here"]
    assert add_config_options(["run", "--seeds", "5"]) == ["run", "--seeds", "5"]


def test_a_sweep_has_lists_instead_of_one_scenario_and_data_set(tmp_path: Path) -> None:
    assert {"scenarios", "datasets", "dry_run"} <= set(config_options("sweep"))
    assert not {"scenario", "dataset"} & set(config_options("sweep"))
    path = tmp_path / "sweep.yaml"
    path.write_text("scenario: clean")
    with pytest.raises(UsageError, match=r"no option 'scenario' \(did you mean 'scenarios'\?\)"):
        add_config_options(["sweep", "--config", str(path)])
