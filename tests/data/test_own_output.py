"""Folders that programs wrote are recognised by their content, and others are not."""

import json

import pytest

from robustkd.data.own_output import describe_program_output, is_tracking_store


def describe(folder):
    inside = list(folder.iterdir())
    return describe_program_output(
        folder, [path.name for path in inside if path.is_dir()], [path.name for path in inside if path.is_file()]
    )


@pytest.mark.parametrize("name", ["study.json", "audit.json", "sweep.json", "card.json"])
def test_results_name_robustkd(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"patient": 7}))
    assert describe(tmp_path) == ""
    (tmp_path / name).write_text(json.dumps({"resolved": {"robustkd": "0.1.0"}}))
    assert describe(tmp_path) == "robustkd"


def test_an_interrupted_audit_and_a_cache(tmp_path):
    for folder, names in (("audit", ["fold-0.npz"]), ("cache", ["0123456789abcdef.npy", "0123456789abcdef.json"])):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
        assert describe(tmp_path / folder) == "robustkd"
        (tmp_path / folder / "1.png").touch()
        assert describe(tmp_path / folder) == ""


def test_experiments_of_mlflow(tmp_path):
    run = tmp_path / "1" / ("0a" * 16)
    run.mkdir(parents=True)
    assert describe(tmp_path / "1") == "", "the images of a patient may be in such a folder, too"
    (run / "artifacts").mkdir()
    assert describe(tmp_path / "1") == "MLflow"
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "meta.yaml").write_text("camera: 3\n")
    assert describe(tmp_path / "2") == ""
    (tmp_path / "2" / "meta.yaml").write_text("artifact_location: mlruns/2\n")
    assert describe(tmp_path / "2") == "MLflow"
    assert [is_tracking_store(name) for name in ("mlflow.db", "mlflow.db-wal", "cat.db")] == [True, True, False]


def test_a_virtual_environment(tmp_path):
    (tmp_path / "pyvenv.cfg").touch()
    assert describe(tmp_path) == "Python"
