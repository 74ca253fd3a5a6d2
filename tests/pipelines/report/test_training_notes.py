"""Sentences about how runs were trained."""

from pipelines.report.training_notes import describe_training, format_machine, list_machines
from robustkd.study.comparison import compare_runs
from robustkd.study.machine import Machine
from robustkd.study.results import LoadedStudy
from tests.records import change_results, make_training
from tests.study.example_studies import example_study, run_result
from tests.study.test_machine import make_machine


def with_training(**by_method: dict[str, object]) -> LoadedStudy:
    """Return a study with a record of the training of some methods' runs."""
    study = example_study(["baseline", "hinton"], seeds=2)
    return change_results(
        study, lambda r: {"training": make_training(**by_method[r.run.method])} if r.run.method in by_method else {}
    )


def test_a_machine_is_described_in_short() -> None:
    assert format_machine(make_machine()) == "a processor, AVX2, 1 thread, fp32, torch 2.9"


def test_machines_are_listed_once() -> None:
    one, two = make_machine(), make_machine(threads=2)
    study = with_training(baseline={"machines": [one]}, hinton={"machines": [one, two]})
    assert list_machines(study.results) == [one, two]
    assert list_machines(with_training().results) == []


def test_nothing_is_said_about_runs_of_one_machine_without_skipped_updates() -> None:
    trainings = {"machines": [make_machine()]}
    assert describe_training(compare_runs(with_training(baseline=trainings, hinton=trainings))) == []


def test_differences_and_skipped_updates_are_named() -> None:
    study = with_training(
        baseline={"machines": [make_machine()]}, hinton={"machines": [make_machine(threads=2)], "skipped_updates": 3}
    )
    machines, skipped = describe_training(compare_runs(study))
    assert "(threads 1 and 2)" in machines
    assert skipped == (
        "Updates that were not finite were skipped: 3 of 10 of student-hinton-0; 3 of 10 of student-hinton-1."
    )


def test_the_precision_of_teachers_is_no_difference_between_machines() -> None:
    half, whole = make_machine(precision="bf16"), make_machine()
    study = example_study(["baseline", "hinton"], seeds=2)
    study = study._replace(
        results=[*study.results, *(run_result("teacher", "baseline", seed, 0.8, 0.6) for seed in (0, 1))]
    )

    def notes(first: Machine, second: Machine, teacher: Machine) -> list[str]:
        """Describe a study whose students were trained on one machine with seed 0 and on another with seed 1."""
        return describe_training(
            compare_runs(
                change_results(
                    study,
                    lambda r: {
                        "training": make_training(
                            machines=[teacher if r.run.role == "teacher" else (first, second)[r.run.seed]]
                        )
                    },
                )
            )
        )

    assert notes(half, half, whole) == []
    assert "(precision bf16 and fp32)" in notes(half, whole, whole)[0]
    assert "(threads 2 and 1)" in notes(half, half, make_machine(threads=2))[0]
