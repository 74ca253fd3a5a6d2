"""Labels of rows."""

from dataclasses import replace

from pipelines.report.renderers.terminal import render_text
from pipelines.report.row_labels import describe_teacher, mark_oracle
from robustkd.study.options import StudyOptions
from robustkd.study.results import CLEAN_TEACHER
from tests.pipelines.report.toy_studies import make_toy_record, study_with_known_labels, summarise_toy_study


def test_a_given_teacher_is_named_by_its_file_alone() -> None:
    names = {
        "/home/me/nets/best.pt": "best.pt",
        r"C:\nets\best.pt": "best.pt",
        "nets/best": "best",
        "best.pt": "best.pt",
        "runs:/0123/model": "runs:/0123/model",
        "0" * 32: "0" * 32,
    }
    options = StudyOptions(scenario="clean")
    for text, name in names.items():
        assert describe_teacher(replace(options, teacher=text)) == f"teacher (given: {name})"
    assert describe_teacher(replace(options, teacher="net(file=a/b)")) == "teacher (net(file=a/b), ce)"
    assert describe_teacher(replace(options, teacher="wrn_16_2")) == "teacher (wrn_16_2, ce)"
    text = render_text(
        summarise_toy_study(
            study_with_known_labels()._replace(record=make_toy_record(options={"teacher": "/home/me/nets/best.pt"}))
        )
    )
    assert "/home" not in text
    assert text.count("teacher (given: best.pt)") == text.count("teacher (") > 0


def test_oracles_with_several_hyperparameters_are_marked_in_every_row_and_column() -> None:
    oracle, plain = "co_teaching(rate=0.4, warmup=0)", "co_teaching(ramp=0.2, warmup=0)"
    for name in ("{}", "{}, logit-adjusted", "{}, stopped early", "{} - baseline", "{} recall"):
        assert mark_oracle(name.format(oracle), [oracle]).endswith(" (oracle)")
        assert mark_oracle(name.format(CLEAN_TEACHER), []).endswith(" (oracle)")
        for other in (plain, "co_teaching", f"{oracle}+gce"):
            assert mark_oracle(name.format(other), [oracle]) == name.format(other)
