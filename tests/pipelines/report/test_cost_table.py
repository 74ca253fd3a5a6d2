"""The table of costs."""

from typing import Any

from pipelines.report.cost_table import cost_table
from robustkd.study import comparison
from robustkd.study.comparison import Comparison
from robustkd.study.results import LoadedStudy
from tests.records import make_cost, make_net, make_record, make_result


def compare_costs(**cost: Any) -> Comparison:
    """Compare a teacher and a baseline of two seeds, the second of which took twice as long."""
    nets = make_net({"cat": 0.5, "dog": 0.5})
    runs = [
        make_result(role, "baseline", seed, nets, cost=make_cost(**{"seconds": 2.0 * (seed + 1), **cost}))
        for role in ("teacher", "student")
        for seed in range(2)
    ]
    return comparison.compare_runs(LoadedStudy(make_record(["baseline"], 2), runs, {}))


def test_costs_are_means_over_the_seeds() -> None:
    table = cost_table(compare_costs(parameters=83466, macs=12_345_678))
    assert table is not None
    columns = [column.key for column in table.columns]
    assert "peak_memory" not in columns, "measured of no run"
    rows = {row.cells[0].text: dict(zip(columns, row.cells, strict=True)) for row in table.rows}
    assert (rows["baseline"]["seconds"].text, rows["baseline"]["seconds"].sort_value) == ("3.00", "3")
    assert (rows["baseline"]["parameters"].text, rows["baseline"]["macs"].text) == ("83.5 k", "12.3 M")
    assert {row.cells[0].text: row.muted for row in table.rows} == {"teacher (wrn_16_2, ce)": True, "baseline": False}


def test_latencies_that_were_measured_are_columns() -> None:
    table = cost_table(compare_costs(cpu_image_ms=1.234, cpu_batch_ms=25.0))
    assert table is not None
    columns = [column.key for column in table.columns]
    assert "device_image_ms" not in columns
    rows = {row.cells[0].text: dict(zip(columns, row.cells, strict=True)) for row in table.rows}
    assert (rows["baseline"]["cpu_image_ms"].text, rows["baseline"]["cpu_batch_ms"].text) == ("1.23", "25.0")


def test_without_any_measurement_there_is_no_table() -> None:
    nothing = dict.fromkeys(
        ("parameters", "macs", "images", "seconds", "teacher_seconds", "images_per_second", "peak_memory")
    )
    costs = compare_costs().costs
    unmeasured = compare_costs()._replace(costs=costs.assign(**nothing))
    assert cost_table(unmeasured) is None
    assert cost_table(unmeasured._replace(costs=costs[:0])) is None


def test_phases_in_addition_to_the_run_show_in_epochs_and_cost() -> None:
    nets = make_net({"cat": 0.5, "dog": 0.5})
    costs = {
        "baseline": make_cost(images=3000, seconds=2.0, teacher_seconds=0.0),
        "fitnet": make_cost(images=3600, seconds=3.0, teacher_seconds=5.0),
        "dml": make_cost(images=3000, seconds=4.0, teacher_seconds=0.0),
    }
    runs = [make_result("student", method, 0, nets, cost=cost) for method, cost in costs.items()]
    table = cost_table(comparison.compare_runs(LoadedStudy(make_record([*costs], 1), runs, {})))
    assert table is not None
    columns = [column.key for column in table.columns]
    rows = {row.cells[0].text: dict(zip(columns, row.cells, strict=True)) for row in table.rows}
    shown = {method: (cells["epochs"].text, cells["cost"].text) for method, cells in rows.items()}
    assert shown == {"baseline": ("1.00", "1.00"), "fitnet": ("1.20", "4.00"), "dml": ("1.00", "2.00")}
    assert "fitnet 1.2." in table.note
    assert "dml" not in table.note
    assert not cost_table(comparison.compare_runs(LoadedStudy(make_record(["dml"], 1), runs[2:], {}))).note
