"""Planning: what identifies a study, what its seeds draw, and what is refused before anything is trained."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines import cli, planning
from pipelines.stages import verify
from robustkd.errors import ExecutionError, UsageError
from robustkd.methods import METHODS
from robustkd.study.agreements import unpack_groups
from robustkd.study.results import COST_RATIO, MeasuredRatio, StudyRecord, read_document
from tests.pipelines.toys import find_study, parse_options, study_arguments


def test_each_seed_draws_its_own_noise_on_the_same_rows(data: Path) -> None:
    cli.main(study_arguments("prepare", data, seeds="2"))
    where = find_study()
    first, second = (pd.read_csv(where / f"manifest-{seed}.csv") for seed in (0, 1))
    assert (first["row"] == second["row"]).all()
    assert (first["label"] != second["label"]).any(), "each seed draws noise of its own"
    assert (first[first["split"] == "test"] == second[second["split"] == "test"]).all(axis=None), (
        "the test set is left alone"
    )
    train = first[first["split"] == "train"]
    labels = np.load(data)["y"]
    assert (labels[train["row"]] != train["label"]).mean() == pytest.approx(0.2, abs=0.03)


def test_the_groups_of_test_rows_are_recorded(data: Path) -> None:
    with np.load(data) as file:
        content = dict(file)
    groups = np.arange(len(content["y"])) // 3
    np.savez(data, **content, group=np.array([f"patient {group}" for group in groups]))
    cli.main(study_arguments("prepare", data))
    record = read_document(find_study() / "study.json", StudyRecord)
    manifest = pd.read_csv(find_study() / "manifest-0.csv")
    rows = manifest[manifest["split"] == "test"]["row"].to_numpy()
    recorded = unpack_groups(record.test_groups)
    assert recorded is not None
    assert len(recorded) == len(rows) == 3 * len(set(recorded.tolist()))
    np.testing.assert_array_equal(recorded[:, None] == recorded, groups[rows][:, None] == groups[rows])


def test_another_recipe_is_another_study(data: Path) -> None:
    cli.main(study_arguments("prepare", data))
    cli.main(study_arguments("prepare", data, lr="0.05"))
    cli.main(study_arguments("prepare", data, seeds="2"))  # more of the same study
    assert len(list(Path("studies").glob("*/study.json"))) == 2


def test_all_stands_for_the_methods_that_the_networks_allow(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(study_arguments("run", data, methods="all", teacher="resnet8x4", epochs="1"))
    out = capsys.readouterr().out
    assert "left out of all: fsp: the student's maps have" in out
    assert "left out of all: method 'oracle_clean" in out, "the true labels are not known"
    record = read_document(find_study() / "study.json", StudyRecord)
    refused_methods = {"fsp", "clean_teacher", "oracle_clean", "oracle_subset"}
    assert record.methods == [word for word in METHODS if word not in refused_methods]
    assert record.resolved.cost_ratio is not None
    assert record.options.methods == "all", "options are recorded as given"
    assert {path.name for path in (find_study() / "runs").iterdir()} == {
        f"{w}-seed0" for w in (*record.methods, "teacher")
    }
    with pytest.raises(SystemExit) as refused:
        cli.main(study_arguments("prepare", data, methods="hinton,fsp", teacher="resnet8x4", out="other"))
    assert refused.value.code
    with pytest.raises(SystemExit) as refused:  # what nobody can do is refused for all
        cli.main(study_arguments("prepare", data, methods="all", student="torchvision:vgg11", out="other"))
    assert refused.value.code
    assert not list(Path("other").glob("*/study.json"))


def test_a_control_that_is_named_itself_is_refused_where_it_cannot_work(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(study_arguments("run", data, methods="baseline,clean_teacher"))
    assert (
        "method 'clean_teacher' trains by the true labels, and those of 48 of 48 training rows"
        in capsys.readouterr().err
    )
    cli.main(study_arguments("teacher", data, methods="baseline,hinton", epochs="1"))
    (teacher,) = Path("studies").glob("*/runs/teacher-seed0/model.pt")
    for methods, message in (
        ("baseline,longer", r"name the ratio, as in longer(ratio=3)"),
        ("baseline,clean_teacher", "give the name of a network as --teacher, not a trained one"),
    ):
        with pytest.raises(SystemExit):
            cli.main(study_arguments("prepare", data, methods=methods, teacher=str(teacher), out="other"))
        assert message in capsys.readouterr().err
    cli.main(study_arguments("prepare", data, methods="controls", teacher=str(teacher), out="other"))
    record = read_document(find_study("other") / "study.json", StudyRecord)
    assert record.methods == ["baseline", "self_kd", "matched_smoothing"]
    assert record.oracles == []


def test_a_continued_study_keeps_its_cost_ratio(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "measure_cost_ratio", lambda *_: 2.25)
    cli.main(study_arguments("prepare", data, methods="baseline,longer"))
    monkeypatch.setattr(planning, "measure_cost_ratio", lambda *_: 7.0)
    arguments = study_arguments("prepare", data, methods="baseline,longer,ensemble")
    assert planning.draft_study(parse_options(arguments)).plan.settings.cost_ratio == 2.25
    afresh = parse_options(arguments)
    assert planning.draft_study(replace(afresh, fresh=True)).plan.settings.cost_ratio == 7.0
    cli.main(study_arguments("prepare", data, methods="baseline"))
    assert planning.draft_study(parse_options(arguments)).plan.settings.cost_ratio == 2.25, (
        "nothing asked for it meanwhile"
    )


def test_a_damaged_record_is_set_aside_and_loses_no_cost_ratio(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(planning, "measure_cost_ratio", lambda *_: 2.25)
    arguments = study_arguments("prepare", data, methods="baseline,longer")
    cli.main(arguments)
    monkeypatch.setattr(planning, "measure_cost_ratio", lambda *_: 7.0)
    record, copy = find_study() / "study.json", find_study() / COST_RATIO
    record.write_text(record.read_text().replace("2.25", "2.75"))
    assert planning.draft_study(parse_options(arguments)).plan.settings.cost_ratio == 2.25
    cli.main(arguments)
    assert "study.json.damaged" in capsys.readouterr().out
    assert "2.75" in record.with_name("study.json.damaged").read_text(), "it is set aside, not lost"
    record.unlink()
    cli.main(arguments)
    assert read_document(record, StudyRecord).resolved.cost_ratio == 2.25
    copy.write_text("")
    with pytest.raises(ExecutionError, match="1 files are damaged"):
        verify.main(copy.parent)
    cli.main(arguments)
    assert read_document(copy, MeasuredRatio).cost_ratio == 2.25, "it is written again"
    record.unlink()
    copy.unlink()
    assert planning.draft_study(parse_options(arguments)).plan.settings.cost_ratio == 7.0


def test_a_study_remembers_the_oracles_that_it_was_asked_for(data: Path) -> None:
    oracle = "co_teaching(rate=0.4, warmup=0)"
    cli.main(study_arguments("prepare", data, methods=f"baseline,{oracle}"))
    cli.main(study_arguments("prepare", data, methods="baseline,longer(ratio=1)"))
    record = read_document(find_study() / "study.json", StudyRecord)
    assert (record.methods, record.oracles) == (["baseline", "longer(ratio=1)"], [oracle])


def test_methods_may_be_listed_in_a_file(data: Path) -> None:
    Path("mine.yaml").write_text("- baseline\n- hinton(alpha=0.5)+gce\n", encoding="utf-8")
    cli.main(study_arguments("prepare", data, methods="mine.yaml"))
    record = read_document(find_study() / "study.json", StudyRecord)
    assert record.methods == ["baseline", "hinton(alpha=0.5)+gce"]
    assert record.options.methods == "mine.yaml", "options are recorded as given"


def test_a_changed_file_of_a_scenario_gives_another_study(data: Path) -> None:
    labels = np.load(data)["y"]
    mine = Path("mine.csv")
    words = study_arguments("prepare", data, scenario="human(column=me, file=mine.csv)", held_out="0.2")
    drawn = []
    for row in (None, "train", "held_out"):  # one label changed, of a training or of a held-out row
        given = labels.copy()
        if row is not None:
            chosen = getattr(drawn[0].drawn[0], row).rows[0]
            given[chosen] = (given[chosen] + 1) % 3
        mine.write_text("me\n" + "\n".join(map(str, given)) + "\n")
        os.utime(mine, (len(drawn), len(drawn)))  # within the second, as a test is
        drawn.append(planning.draft_study(parse_options(words)))
    assert len({draft.plan.folder for draft in drawn}) == 3


def test_a_study_whose_scenario_draws_something_else_is_refused(data: Path) -> None:
    words = study_arguments("prepare", data, seeds="2")
    cli.main(words)
    card = find_study() / "manifest-1.json"
    before = {key: value for key, value in json.loads(card.read_text()).items() if key != "checksum"}
    card.write_text(json.dumps({**before, "digest": {**before["digest"], "held_out": "0" * 16}}))
    with pytest.raises(UsageError, match=r"manifest-1.json: the scenario no longer draws .* --fresh starts again"):
        planning.draft_study(parse_options(words)).write()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data_parallel": "2", "compile": "max"}, "--compile max: it is not available with --data-parallel 2"),
        ({"data_parallel": "2", "on": "ray"}, "--data-parallel 2: with --on ray, every run has one process"),
        ({"jobs": "auto", "on": "ray"}, "--jobs auto: with --on ray, give the number for the cluster"),
        ({"data_parallel": "5"}, "--data-parallel 5: batches of"),
    ],
)
def test_processes_that_exclude_one_another_are_refused_before_any_is_started(
    data: Path,
    options: dict[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(planning, "connect", None)  # to Ray
    with pytest.raises(SystemExit):
        cli.main(study_arguments("prepare", data, **options))
    assert message in capsys.readouterr().err
    assert not list(Path().glob("studies/*"))


def test_compiling_does_not_name_a_study(data: Path) -> None:
    config = data.parent / "study.yaml"
    config.write_text("compile: off\n")  # `off` is false in YAML
    cli.main(study_arguments("prepare", data, config=str(config), jobs="auto"))
    with pytest.raises(SystemExit):
        cli.main(study_arguments("prepare", data, compile="maximal"))
    record = read_document(find_study() / "study.json", StudyRecord)
    assert (record.options.compile, record.options.jobs) == ("off", "auto")
    assert replace(record.options, compile="max", jobs=2).identity() == record.options.identity()
