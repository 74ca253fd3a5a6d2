"""Benchmarks: peak memory, a row per phase of a method, comparisons with published figures, the store, simulated verdicts."""

import argparse
import csv
import gzip
import importlib
import io
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import sqlalchemy
import torch
from PIL import Image
from scipy.stats import t as t_distribution
from scipy.stats import ttest_ind_from_stats

import scenarios
from pipelines.stages.compare import load_comparison
from robustkd.data.sources import load_dataset
from robustkd.evaluation.crossed import balanced_variances
from robustkd.evaluation.power import Spread, power
from robustkd.method_sets import read_method_list
from robustkd.method_spec import spell_method
from robustkd.methods import METHODS
from robustkd.specs import split_at
from robustkd.study.comparison import compare_runs
from robustkd.study.early_stopping import stopping_score
from robustkd.study.machine import Machine
from robustkd.study.results import read_study, write_document
from robustkd.training.checkpoint import save_net
from tests.helpers import TEACHER, large_view, make_teacher
from tests.records import make_training
from tests.study.example_studies import example_study, predicted_study

HOME = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def benchmark_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the benchmarks importable by module name, as when a script is run."""
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))


@pytest.fixture
def methods() -> ModuleType:
    return importlib.import_module("methods")


@pytest.fixture
def published() -> ModuleType:
    return importlib.import_module("published")


# --- methods.py ----------------------------------------------------------------------------------------------------


def allocating() -> Iterator[None]:
    """Yield after steps that allocate and free tensors; each keeps 1 MB that the next one frees."""
    kept = None
    while True:
        first, second = (torch.empty(2_000_000, dtype=torch.uint8) for _ in range(2))
        del first
        third = torch.empty(4_000_000, dtype=torch.uint8)
        kept = torch.empty(1_000_000, dtype=torch.uint8)  # the old one is freed after the new one is allocated
        del second, third
        yield
        assert kept is not None


def test_peak_is_relative_to_what_was_allocated_before_the_step(methods: ModuleType) -> None:
    # 2 + 2 - 2 + 4 + 1 = 7, in addition to the 1 MB kept from the step before.
    assert methods.peak_bytes(allocating(), "cpu") == 7_000_000


def test_every_phase_has_a_row(
    methods: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "BATCH", 8)
    small = ["--teacher", "resnet8", "--samples", "16", "--threads", "1", "--rounds", "1", "--steps", "1"]
    costs = methods.main([*small, "--methods", "baseline,fitnet", "--out", str(tmp_path / "it.csv")])
    assert [row.name for row in costs] == ["baseline/train", "fitnet/hint", "fitnet/train"]
    assert all(row.ratio > 0 and row.megabytes > 0.1 for row in costs)
    assert (
        costs[0].memory_ratio < costs[2].memory_ratio == pytest.approx(1, rel=0.05)
    )  # the last phase of fitnet is hinton
    with (tmp_path / "it.csv").open() as file:
        assert [row["phase"] for row in csv.DictReader(file)] == ["train", "hint", "train"]
    assert "fitnet/hint" in capsys.readouterr().out


def test_criteria_are_compared_with_cross_entropy(
    methods: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(methods, "BATCH", 8)
    monkeypatch.setattr(methods, "CRITERION_TEXTS", ["baseline", "baseline+elr", "baseline+ldam(drw=true)"])
    small = ["--teacher", "resnet8", "--samples", "16", "--threads", "1", "--rounds", "1", "--steps", "1"]
    costs = methods.main([*small, "--methods", "criteria", "--reference", "baseline", "--epoch", "90"])
    assert [row.method for row in costs] == ["baseline", "baseline+elr", "baseline+ldam(drw=true)"]
    assert "time / baseline" in capsys.readouterr().out


# --- published.py --------------------------------------------------------------------------------------------------


def figures(**means: float) -> pd.DataFrame:
    """Means by (scenario, method), named scenario_method; all with a standard deviation of 1 over 5 seeds."""
    index = pd.MultiIndex.from_tuples([tuple(name.split("_")) for name in means], names=["scenario", "method"])
    return pd.DataFrame({"mean": list(means.values()), "std": 1.0, "seeds": 5}, index)


def test_gains_have_the_intervals_of_welch(published: ModuleType) -> None:
    results = figures(one_baseline=50, one_a=51.2, one_b=52, two_a=1, three_baseline=1, three_a=-9)
    gains = published.compute_gains(results)
    # 8 degrees of freedom: 2.306 sqrt(1 / 5 + 1 / 5) = 1.458.
    assert gains["half"].tolist() == pytest.approx(3 * [1.458], abs=1e-3)
    assert gains["sign"].to_dict() == {("one", "a"): 0, ("one", "b"): 1, ("three", "a"): -1}
    other = published.compute_gains(results.assign(std=[1, 3, 1, 1, 1, 1]))
    expected = ttest_ind_from_stats(51.2, 3, 5, 50, 1, 5, equal_var=False)
    share = 2 * t_distribution.sf(1.2 / np.sqrt(10 / 5), 100 / (81 / 4 + 1 / 4))
    assert share == pytest.approx(expected.pvalue), "the oracle: Welch's degrees of freedom by hand"
    assert other.loc[("one", "a"), "half"] == pytest.approx(
        t_distribution.isf(0.025, 100 / (81 / 4 + 1 / 4)) * np.sqrt(2)
    )
    exact = published.compute_gains(figures(one_baseline=50, one_a=50.1).assign(std=0.0))
    assert exact.iloc[0].tolist() == pytest.approx([0.1, 0.0, 1.0])
    assert not len(published.compute_gains(figures(one_baseline=50, one_a=51).assign(std=float("nan")))), "one seed"


@pytest.mark.parametrize("column", ["scenario", "study"])  # of a sweep, and of `robustkd compare`
def test_gains_are_compared_with_the_published_ones(
    published: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    # Published for `clean`: hinton 94.28 and dml 94.38 against 93.95; for imbalance2 one 80.88 against 83.33.
    ours = figures(
        clean_baseline=70, clean_dml=80, clean_hinton=70.5, clean_smooth=9, imbalance2_baseline=9, imbalance2_one=13
    )
    ours.reset_index().rename(columns={"scenario": column}).to_csv(tmp_path / "table.csv", index=False)
    published.main([str(tmp_path / "table.csv")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "| published / ours | `clean` | `imbalance2` |",
        "| --- | --- | --- |",
        "| hinton | +0.3 ± 0.2 / +0.5 ± 1.5 |  |",
        "| dml | **+0.4 ± 0.2 / +10.0 ± 1.5** |  |",
    ]
    assert lines[4].startswith("| one |  | -2.5 ± ")
    assert lines[5] == "| same sign | 1 of 1 | 0 of 1 |"
    observed, chance = 1 / 3, (2 / 3) * (2 / 3)  # signs + + - and 0 + +: only + is on both sides
    assert lines[-1] == (
        f"3 entries; intervals exclude 0 in 3 published and 2 of ours; kappa of the signs"
        f" {(observed - chance) / (1 - chance):.2f}, Spearman's correlation of the gains 0.50"
    )


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ([figures(clean_hinton=3)], "has no published scenario with a baseline and a published method"),
        ([figures(pair_baseline=2, pair_hinton=3)], "has no published scenario with a baseline"),
        (2 * [figures(clean_baseline=2, clean_hinton=3)], "has several data sets, expected one"),
    ],
)
def test_an_unsuitable_table_is_rejected(
    tables: list[pd.DataFrame],
    message: str,
    published: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pd.concat(tables).reset_index().to_csv(tmp_path / "table.csv", index=False)
    with pytest.raises(SystemExit):
        published.main([str(tmp_path / "table.csv")])
    assert message in capsys.readouterr().err


def test_published_results_use_known_methods_and_scenarios(published: ModuleType) -> None:
    table = published.read_results(HOME / "benchmarks" / "published.csv")
    assert len(table) == 8 * 12
    assert set(table.index.get_level_values("method")) <= set(METHODS)
    for scenario in set(table.index.get_level_values("scenario")):
        scenarios.parse(scenario)
    # Figures from the paper.
    assert table.loc[("clean", "one"), "mean"] == 92.80
    assert table.loc[("noise0.4", "dml"), "mean"] == 76.33
    assert table.loc[("imbalance0.2", "rkd_a"), "mean"] == 79.52
    assert table.loc[("imbalance2", "bss"), "mean"] == 82.15


# --- shared_work.py ------------------------------------------------------------------------------------------------


def test_only_passes_of_the_batch_through_the_teacher_can_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    shared_work, methods = importlib.import_module("shared_work"), importlib.import_module("methods")
    monkeypatch.setattr(methods, "BATCH", 8)
    small = ["--teacher", "resnet8", "--student", "resnet8", "--precision", "fp32", "--samples", "16", "--rounds", "1"]
    table = shared_work.main([*small, "--methods", "baseline,hinton,bss,fitnet,dml"])
    passes = table.set_index(["name", "phase"])["passes"].to_dict()
    assert passes.pop(("data", "")) == 0
    assert passes.pop(("teacher", "")) == 1
    assert passes == {
        **{("baseline", "train"): 0, ("hinton", "train"): 1, ("bss", "train"): 1},
        **{("fitnet", "hint"): 1, ("fitnet", "train"): 1, ("dml", "train"): 0},
    }
    assert 0 < table["bound"].iloc[0] < 1


def test_what_is_shared_is_computed_once() -> None:
    shared_work = importlib.import_module("shared_work")
    table = pd.DataFrame(
        [("data", 1, 0, 1), ("teacher", 1, 1, 10), ("a", 1, 1, 30), ("b", 1, 1, 40), ("c", 0.5, 1, 20), ("d", 1, 0, 9)],
        columns=["name", "epochs", "passes", "milliseconds"],
    )
    # Apart 30 + 40 + 20 / 2 + 9; together without 2.5 of 3.5 data paths and 1.5 of 2.5 passes.
    assert shared_work.cost_together(table) == pytest.approx((89, 89 - 2.5 - 15))


# --- scaling.py and the studies it fabricates -----------------------------------------------------------------------


def test_a_fabricated_study_is_compared_like_a_trained_one(tmp_path: Path) -> None:
    fabricated = importlib.import_module("fabricated")
    fabricated.fabricate_study(tmp_path, ["baseline", "hinton"], 3, 5, 500)
    compared = load_comparison(tmp_path)
    assert compared.summary.loc["baseline", "balanced_accuracy_mean"] == pytest.approx(0.76, abs=0.04), "0.7 + 0.3 / 5"
    assert compared.verdicts.loc["hinton", "over"] == "seeds and test images"
    assert len(compared.classes) == 5
    assert len(compared.curves) == 3 * 3 * fabricated.EPOCHS


def test_slopes_are_those_of_powers_of_the_size() -> None:
    scaling = importlib.import_module("scaling")
    sizes = np.array([10, 100, 1000])
    rows = [
        {"varied": "images", "part": part, "images": size, "seconds": seconds}
        for part, power in (("prepare", 1), ("epoch", 2))
        for size, seconds in zip(sizes, 3.0 * sizes**power, strict=True)
    ]
    assert scaling.slopes(pd.DataFrame(rows))[["slope", "last"]].to_numpy() == pytest.approx(np.array([[1, 1], [2, 2]]))


@pytest.mark.parametrize("part", ["prepare", "epoch", "evaluate"])
def test_every_part_of_a_run_is_measured(part: str, tmp_path: Path) -> None:
    scaling = importlib.import_module("scaling")
    found = scaling.measure_part(part, tmp_path, scaling.Size(images=60, classes=3))
    assert found["seconds"] > 0
    assert found["megabytes"] >= 0


# --- sweep_cost.py -------------------------------------------------------------------------------------------------


def test_a_sweep_waits_for_its_teachers_and_no_longer() -> None:
    cost = importlib.import_module("sweep_cost")
    runs = cost.sweep_runs(["baseline", "hinton", "at"], 2)
    assert len(runs) == 8 * 2 * 4
    ratios = {"teacher": 1.5, "baseline": 0.5, "hinton": 1.0, "at": 2.0}
    assert cost.makespan(runs, ratios, 1) == pytest.approx(16 * 5)
    assert cost.makespan(runs, ratios, 1000) == pytest.approx(3.5), "a teacher, then the longest student"
    assert cost.makespan(runs, ratios, 16) == pytest.approx(1.5 + 3.5), "each has a teacher and three students"


def test_a_method_costs_what_its_phases_cost() -> None:
    cost = importlib.import_module("sweep_cost")
    assert [cost.first_share(method) for method in ("fitnet", "mtkd_ssr", "self_kd")] == [0.2, 0.1, 1.0]
    steps, costs = pd.read_csv(HOME / "benchmarks" / "methods.csv"), cost.method_costs(HOME / "benchmarks")
    ratio = steps.set_index(["method", "phase"])["ratio"]
    assert costs["self_kd"].ratio == pytest.approx(ratio["self_kd", "teacher"] + ratio["self_kd", "train"])
    assert len(costs) == 29


# --- tracking_scale.py ---------------------------------------------------------------------------------------------


def test_copies_of_runs_have_ids_and_parents_of_their_own() -> None:
    scale = importlib.import_module("tracking_scale")
    engine = sqlalchemy.create_engine("sqlite://")
    parent, child = ("p" * 32, "c" * 32)
    with engine.begin() as connection:
        for table in scale.TABLES:
            connection.execute(
                sqlalchemy.text(f"CREATE TABLE {table} (run_uuid TEXT PRIMARY KEY, key TEXT, value TEXT)")
            )
            for run in (parent, child):
                row = {"run": run, "key": "mlflow.parentRunId", "value": parent}
                connection.execute(sqlalchemy.text(f"INSERT INTO {table} VALUES (:run, :key, :value)"), row)
    assert scale.remember_originals(engine) == 2
    scale.copy_runs(engine, range(1, 3))
    with engine.connect() as connection:
        tags = connection.execute(sqlalchemy.text("SELECT run_uuid, value FROM tags")).all()
        assert [scale.count_rows(connection, table) for table in scale.TABLES] == [6] * 5
    assert {(run, value) for run, value in tags if run.startswith("c")} == {
        (child, parent),
        *(("c" * 24 + number, "p" * 24 + number) for number in ("00000001", "00000002")),
    }


# --- tracking.py ---------------------------------------------------------------------------------------------------


def test_every_metric_is_stored_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    tracking = importlib.import_module("tracking")
    words = ["--metrics", "30", "--runs", "2", "--terms", "4", "--singly", "2"]
    assert tracking.main([*words, "--limit", "1000"]) == 0
    assert re.match(
        r"30 metrics of 2 runs: [\d.]+ s, queued in [\d.]+ s\none by one [\d.]+ s \(by 2\): ", capsys.readouterr().out
    )


# --- cifar10n.py ---------------------------------------------------------------------------------------------------


def test_a_slice_with_human_labels_is_a_data_set_of_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(12) % 3
    np.savez(tmp_path / "images.npz", images=images, labels=labels, class_names=["a", "b", "c"], train=8)
    worse = np.where(np.arange(8) == 2, 0, labels[:8])
    np.savez(tmp_path / "human.npz", worse_label=worse, clean_label=labels[:8])
    arguments = {"labels": tmp_path / "human.npz", "images": tmp_path / "images.npz", "out": tmp_path / "slice.npz"}
    words = ["cifar10n.py", "--train", "6", *(str(w) for k, v in arguments.items() for w in (f"--{k}", v))]
    monkeypatch.setattr("sys.argv", words)
    importlib.import_module("cifar10n").main()
    source = load_dataset(f"npz:{tmp_path / 'slice.npz'}")
    assert source.images.shape == (10, 3, 32, 32)
    assert source.labels.tolist() == [*worse[:6], *labels[8:]]
    assert source.truth is not None
    assert source.truth.tolist() == [*labels[:6], *labels[8:]]
    np.savez(tmp_path / "human.npz", worse_label=worse, clean_label=labels[7::-1])
    with pytest.raises(SystemExit, match="not in CIFAR-10's order"):
        importlib.import_module("cifar10n").main()


# --- boundary.py ---------------------------------------------------------------------------------------------------


def test_images_end_nearer_to_the_boundary_by_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    net, view = make_teacher().net, large_view()
    net.head.weight *= 5
    np.savez(tmp_path / "stripes.npz", X=view.images(), y=view.labels, classes=np.array(view.classes))
    card = {"model": TEACHER, "shape": view.sources[0].shape, "classes": list(view.classes), "head": "linear"}
    save_net(tmp_path / "model.pt", net.state_dict(), {**card, "mean": [0.3], "std": [0.25]})
    monkeypatch.setattr(
        sys, "argv", ["boundary.py", f"npz:{tmp_path}/stripes.npz", f"{tmp_path}/model.pt", "--images", "60"]
    )
    importlib.import_module("boundary").main()
    lines = capsys.readouterr().out.splitlines()
    default, authors = (dict(part.rsplit(" ", 1) for part in re.split(r" {2,}", line)[1:]) for line in lines)
    assert default["gradient"] == authors["gradient"]
    assert float(default["margin"]) < 0.02 < float(authors["margin"])
    assert 0 <= float(default["target"]) + float(default["third"]) <= 100


# --- defaults.py ---------------------------------------------------------------------------------------------------


def test_former_defaults_stand_next_to_the_present_ones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table, earlier = tmp_path / "table.csv", tmp_path / "earlier.csv"
    table.write_text(
        "dataset,scenario,method,mean\n"
        "toy,noise0.4,baseline,0.9\ntoy,noise0.4,at,0.8\ntoy,noise0.4,at(weight=1000),0.25\ntoy,noise0.4,fsp,0.7\n"
        "toy,clean,baseline,0.99\ntoy,clean,at,0.98\ntoy,clean,at(weight=1000),0.5\ntoy,clean,fsp,0.97\n"
    )
    earlier.write_text("study,method,mean\nclean,fsp,0.6\nclean,at,0.1\nclean,baseline,0.99\n")
    monkeypatch.setattr(sys, "argv", ["defaults.py", str(table), "--former", str(earlier)])
    importlib.import_module("defaults").main()
    assert capsys.readouterr().out.splitlines() == [
        "| method | `noise0.4` | `clean` |",
        "| --- | --- | --- |",
        "| `at` | 25.0 → 80.0 | 50.0 → 98.0 |",
        "| `fsp` | 70.0 | 60.0 → 97.0 |",
        "| `baseline` | 90.0 | 99.0 → 99.0 |",
    ]


def test_former_defaults_are_methods_spelt_as_in_tables() -> None:
    former = importlib.import_module("defaults").FORMER
    assert all(spell_method(text) == text for text in filter(None, former.values()))
    texts = split_at(read_method_list(str(HOME / "benchmarks" / "defaults.yaml")), ",")
    listed = {spell_method(text) for text in texts}
    assert {*former.values()} - {""} - listed == {"amkd_bss(step=0.3)", "tald(weight=0.1)"}, (
        "the slowest are not in the list"
    )


# --- clothing.py ---------------------------------------------------------------------------------------------------


def test_study_of_photographs_goes_seed_by_seed() -> None:
    clothing = importlib.import_module("clothing")
    commands = clothing.list_commands(Path("photos"), ["random", "imagenet"], 2)
    seeds, names = ([words[words.index(option) + 1] for words in commands] for option in ("--seeds", "--name"))
    assert seeds == ["1"] * 4 + ["2"] * 4
    assert names[:4] == names[4:]
    assert len(set(names)) == 4


# --- engine.py -----------------------------------------------------------------------------------------------------


def small_arguments(**changes: object) -> argparse.Namespace:
    small = {"device": "cpu", "precision": "fp32", "threads": 1, "workers": 0, "batch": 8, "rounds": 2, "steps": 1}
    small["loops"] = "engine,plain,peer-style"
    return argparse.Namespace(**{**small, **changes})


def test_every_loop_trains_and_is_timed() -> None:
    engine, harness = importlib.import_module("engine"), importlib.import_module("harness")
    speeds = engine.measure_speeds("resnet8", "resnet8", harness.random_view(16), small_arguments())
    assert list(speeds) == ["engine", "plain", "peer-style"]
    assert speeds.shape == (2, 3)
    assert (speeds > 0).all(axis=None)


def test_the_peer_style_loop_computes_in_fp32_and_nchw() -> None:
    engine = importlib.import_module("engine")
    net = engine.peer_style_network("resnet8", small_arguments(precision="bf16"))
    images = torch.rand(2, 3, 32, 32)
    assert net(images).logits.dtype == torch.float32
    assert not net.bf16
    assert torch.equal(net.normalise(images), images), "the transforms normalise"
    assert all(p.is_contiguous() for p in net.parameters())


# --- gpu.py --------------------------------------------------------------------------------------------------------


@pytest.fixture
def gpu() -> ModuleType:
    return importlib.import_module("gpu")


def test_what_was_not_measured_is_marked(gpu: ModuleType, tmp_path: Path) -> None:
    gpu.write_rows("rates", [{"rate": "copy, GB/s", "value": 2.0}], argparse.Namespace(out=tmp_path, device="cpu"))
    gpu.write_rows("rates", [{"rate": "other", "value": 0.5}], argparse.Namespace(out=tmp_path, device="cpu"))
    tables = gpu.format_tables(tmp_path)
    assert "| copy, GB/s | 2.0 | cpu | " in tables
    assert "| other | 0.5 | cpu | " in tables
    assert tables.count("not measured") == len(gpu.STEPS) - 1


def test_a_failed_step_does_not_stop_the_others_and_a_measured_one_is_skipped(
    gpu: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = argparse.Namespace(out=tmp_path, device="cpu", smoke=True, cifar10=None, left=lambda most: most)

    def fail() -> list[dict[str, object]]:
        raise RuntimeError("no memory")

    assert not gpu.execute("rates", fail, arguments)
    assert gpu.execute("speed", lambda: [{"loop": "engine"}], arguments)
    assert gpu.execute("speed", fail, arguments)
    said = capsys.readouterr().out
    assert re.search(r"rates: failed after \d+ s: RuntimeError: no memory\nspeed: \d+ s\nspeed: skipped\n", said)
    arguments.left = lambda most: 0
    assert gpu.execute("methods", fail, arguments), "there is no time left"
    assert not (tmp_path / "methods.csv").exists()


def test_packed_jpegs_are_decoded_in_order(gpu: ModuleType) -> None:
    files = []
    for colour in ((250, 0, 0), (0, 0, 250)):
        opened = io.BytesIO()
        Image.new("RGB", (32, 32), colour).save(opened, "JPEG")
        files.append(opened.getvalue())
    offsets = np.cumsum([0, *(len(file) - 2 for file in files)])  # both begin with the same two bytes
    data = np.frombuffer(b"".join(file[2:] for file in files), np.uint8)
    packed = {"header": np.frombuffer(files[0][:2], np.uint8), "data": data, "offsets": offsets}
    images = gpu.unpack_images(packed)
    assert images.shape == (2, 3, 32, 32)
    assert images.dtype == np.uint8
    assert images[:, :, 5, 5].argmax(axis=1).tolist() == [0, 2]


def test_the_study_goes_on_where_its_table_ends(gpu: ModuleType, tmp_path: Path) -> None:
    done = pd.DataFrame({"method": [*gpu.PUBLISHED.split(","), "baseline"], "seed": [0] * 12 + [1]})
    assert gpu.next_runs(done, gpu.PUBLISHED.split(",")) == (1, gpu.PUBLISHED.split(",")[1:])
    assert gpu.next_runs(done.iloc[:0], ["baseline"]) == (0, ["baseline"])


def test_the_study_has_as_many_jobs_as_fill_the_gpu(gpu: ModuleType, tmp_path: Path) -> None:
    arguments = argparse.Namespace(out=tmp_path, smoke=False)
    assert gpu.find_jobs(arguments) == 6, "nothing was measured"
    rows = [("resnet20", "resnet8", 16, 9.0), ("wrn_40_2", "wrn_16_2", 1, 100.0), ("wrn_40_2", "wrn_16_2", 2, 190.0)]
    rows += [("wrn_40_2", "wrn_16_2", 8, 310.0), ("wrn_40_2", "wrn_16_2", 4, 300.0)]
    table = pd.DataFrame(rows, columns=["teacher", "student", "processes", "images_per_second"])
    table.to_csv(tmp_path / "side-by-side.csv", index=False)
    assert gpu.find_jobs(arguments) == 4
    assert gpu.find_jobs(argparse.Namespace(out=tmp_path, smoke=True)) == 1


# --- verdicts.py ---------------------------------------------------------------------------------------------------


@pytest.fixture
def verdicts() -> ModuleType:
    return importlib.import_module("verdicts")


def test_simulated_differences_have_the_true_gain_and_lie_on_hard_images(verdicts: ModuleType) -> None:
    rng, setting = np.random.default_rng(0), verdicts.SETTINGS["ten methods"]
    for gain in (0.0, 0.01):
        d = verdicts.draw_differences(rng, setting._replace(gain=gain), 200, 5)
        assert d.shape == (200, 10, 5, 450)
        assert set(np.unique(d)) == {-1, 0, 1}
        assert not d[..., 27:].any(), "6 % of the images are hard"
        assert d.mean() == pytest.approx(gain, abs=0.002)


def test_a_table_of_errors_has_each_setting_at_5_and_10_seeds(verdicts: ModuleType, tmp_path: Path) -> None:
    verdicts.main(["error", "--studies", "3", "--to", str(tmp_path / "error.csv")])
    table = pd.read_csv(tmp_path / "error.csv")
    published = pd.read_csv(HOME / "benchmarks" / "verdicts-error.csv")
    assert list(table) == list(published)
    assert table[["setting", "seeds"]].equals(published[["setting", "seeds"]])
    assert table["setting"].tolist()[::2] == [*verdicts.SETTINGS]


def test_images_that_suit_a_method_mislead_the_test_over_seeds_alone(verdicts: ModuleType) -> None:
    found = verdicts.simulate(verdicts.SETTINGS["image effects of 0.65 points"], 5, 300)
    assert found["crossed, a comparison"] < 0.1 < 0.3 < found["seeds, a comparison"]
    gained = verdicts.simulate(verdicts.SETTINGS["no image effects"]._replace(gain=0.05), 5, 50)
    assert gained["crossed, a comparison"] == 1


def test_drawn_variances_have_the_mean_and_spread_of_mean_squares(verdicts: ModuleType) -> None:
    drawn = verdicts.draw_variances(np.random.default_rng(0), Spread(0.9, 0.3), 5, 20_000)
    seed, within = 0.81 / 5, 0.81 / 10
    assert [float(part.mean()) for part in drawn] == pytest.approx([seed, 0.09 + within, within], rel=0.02)
    assert drawn.seed.var() == pytest.approx(2 * seed**2 / 4, rel=0.06), "4 degrees of freedom"
    assert drawn.within.var() == pytest.approx(2 * within**2 / (4 * 440), rel=0.06)


def test_the_drawn_variances_are_those_of_drawn_images(verdicts: ModuleType) -> None:
    """Normal effects of seeds, images and both, analysed by the test itself."""
    rng, n, (a, b, e) = np.random.default_rng(0), 5, (0.6, 6.0, 13.0)
    d = a * rng.normal(size=(300, n, 1)) + b * rng.normal(size=(300, 1, 450)) + e * rng.normal(size=(300, n, 450))
    _, analysed = balanced_variances(d, np.arange(450) % 10)
    seeds, images = np.sqrt(a**2 + e**2 / 450), b / np.sqrt(450)
    drawn = verdicts.draw_variances(rng, Spread(seeds, images), n, 20_000)
    assert e**2 / 450 / seeds**2 == pytest.approx(verdicts.WITHIN, abs=0.02)
    for one, other in zip(analysed, drawn, strict=True):
        assert one.mean() == pytest.approx(other.mean(), rel=0.06)
        assert one.std() == pytest.approx(other.std(), rel=0.15)


def test_power_is_that_of_the_t_test_without_an_error_of_images(verdicts: ModuleType) -> None:
    found = verdicts.simulate_power(1.0, Spread(0.9), 20, 28, 4000)
    assert found == pytest.approx(power(1.0, 20, Spread(0.9), 28), abs=0.03)
    assert verdicts.find_seeds(5.0, Spread(0.9), 2, 500) == 5
    assert np.isnan(verdicts.find_seeds(1.0, Spread(0.9, 0.5), 2, 500)), "no number of seeds reduces it"


def test_a_table_of_power_is_the_published_one(verdicts: ModuleType) -> None:
    table = pd.read_csv(HOME / "benchmarks" / "verdicts-power.csv")
    assert len(table) == 2 * 6 * 3
    row = table.set_index(["comparisons", "seeds", "images", "gain"]).sort_index().loc[(28, 0.9, 0.0, 1.0)]
    assert row["seeds for 80 %, formula"] == 18
    for n in verdicts.NUMBERS_OF_SEEDS:
        np.testing.assert_allclose(table[f"{n} seeds, formula"], table[f"{n} seeds"], atol=0.02)
    assert row["20 seeds"] == pytest.approx(verdicts.simulate_power(1.0, Spread(0.9), 20, 28, 10_000), abs=1e-3)


def test_designs_cost_what_they_train_and_find_what_they_can(verdicts: ModuleType) -> None:
    designs, spread = verdicts.DESIGNS, Spread(0.9)
    assert [each.count_runs(28) for each in designs.values()] == [203, 205, 205, 225]
    everywhere, extended, fresh, _ = (verdicts.simulate_design(d, 1.0, spread, 28, 300) for d in designs.values())
    assert everywhere < 0.2 < 0.75 < extended < fresh
    # With one method there is nothing to select: fresh seeds are a study of their own.
    alone = verdicts.simulate_design(verdicts.Design(5, 1, 10, fresh=True), 1.0, spread, 1, 2000)
    assert alone == pytest.approx(power(1.0, 10, spread), abs=0.04)
    assert verdicts.simulate_design(designs["7 seeds for all"], 0.0, spread, 28, 300) < 0.05


# --- early_stopping.py ---------------------------------------------------------------------------------------------


@pytest.fixture
def early_stopping() -> ModuleType:
    return importlib.import_module("early_stopping")


def test_the_rules_of_the_benchmark_choose_as_training_does(early_stopping: ModuleType) -> None:
    rng = np.random.default_rng(0)
    curves = rng.integers(40, 60, (20, 15)) / 136
    for rule in ("best", "smoothed"):
        scores = [[stopping_score([*c[:n]], rule, 15) for n in range(1, 16)] for c in curves]
        expected = np.nan_to_num(np.round(scores, 9), nan=-1).argmax(axis=1)
        assert early_stopping.RULES[rule](curves).tolist() == expected.tolist()
    assert early_stopping.RULES["last"](curves).tolist() == 20 * [14]


@pytest.mark.parametrize("correlation", [0.0, 0.9])
def test_simulated_rows_have_the_accuracies_and_the_correlation(early_stopping: ModuleType, correlation: float) -> None:
    rng, p = np.random.default_rng(0), np.linspace(0.4, 0.6, 12)
    drawn = early_stopping.simulate_held_out(rng, p, 136, correlation, 2000)
    np.testing.assert_allclose(drawn.mean(axis=0), p, atol=0.005)
    np.testing.assert_allclose(drawn.std(axis=0), np.sqrt(p * (1 - p) / 136), rtol=0.1)
    of_answers = 2 / np.pi * np.arcsin(correlation)  # of two signs
    assert np.corrcoef(drawn[:, 5], drawn[:, 6])[0, 1] == pytest.approx(of_answers, abs=0.06)
    assert early_stopping.row_correlation(drawn, 136) == pytest.approx(correlation, abs=0.05)


def test_a_rule_without_noise_loses_what_the_curve_says(early_stopping: ModuleType) -> None:
    """Held-out accuracies that equal those on the test rows, a peak of 0.9 in the middle: the last epoch loses 0.3."""
    test = [0.5, 0.6, 0.9, 0.9, 0.9, 0.7, 0.6]
    study = example_study(["baseline"], 2)
    epochs = pd.DataFrame({"epoch": range(1, 8), "accuracy": test, "held_out_accuracy": test})
    study = study._replace(epochs={result.name: epochs for result in study.results})
    table = early_stopping.measure_study(study, 20).set_index("rule")
    assert table.loc[["best", "smoothed", "last"], "recorded regret"].tolist() == pytest.approx([0, 0, 30])
    assert table.loc["last", "simulated sd of choice"] == pytest.approx(0)
    assert table["runs"].tolist() == 5 * [2]


# --- selection.py --------------------------------------------------------------------------------------------------


def test_a_simulated_race_prefers_what_is_better() -> None:
    selection = importlib.import_module("selection")
    grid = selection.Grid(np.linspace(0.5, 0.95, 8), np.full(8, 0.01), noise=0.2)
    finalists = [selection.simulate_race(grid, selection.RUNGS, seed) for seed in range(5)]
    assert all(len(set(each)) == 3 for each in finalists)
    assert np.mean(finalists) > 5


def test_simulated_confirmations_find_large_gains_and_stop_early() -> None:
    selection = importlib.import_module("selection")
    found, seeds = selection.simulate_over_seeds(3.0, 0.9, 3, 3, 200, both=False)
    assert found.all()
    assert seeds.mean() < 11
    found, seeds = selection.simulate_over_seeds(-3.0, 0.9, 3, 3, 200, both=False)
    assert not found.any()
    assert (seeds == 5).all()
    # Of 14 that are screened, the better half goes on after each of three seeds; the only one that gains is among the last.
    gains = np.eye(14)[:, :1] * 3.0
    found, seeds = selection.simulate_over_seeds(gains, 0.9, 14, 3, 200, both=False)
    assert found[:, 0].mean() > 0.9
    assert [((seeds == n).sum(axis=1) == dropped).all() for n, dropped in ((1, 7), (2, 3), (3, 1))] == 3 * [True]
    assert ((seeds >= 5).sum(axis=1) == 3).all()


# --- packed.py -----------------------------------------------------------------------------------------------------


def test_seeds_of_two_machines_are_one_study_in_a_file_without_paths(tmp_path: Path) -> None:
    packed, robust = importlib.import_module("packed"), importlib.import_module("robust")
    whole = predicted_study({"baseline": 0.3, "hinton": 0.2}, seeds=6)
    options = replace(whole.record.options, dataset="folder:/home/me/photos", plug="/home/me/a.py,/home/me/b.py")
    curve = pd.DataFrame({"epoch": [1, 2], "phase": "train", "accuracy": [0.25, 0.5]})
    for first, place in ((0, "one"), (4, "two")):
        folder = tmp_path / place / "photos-clean-01234567"
        seeds = 4 if first == 0 else 2
        own = replace(options, first_seed=first, seeds=seeds)
        record = whole.record.model_copy(update={"dataset": options.dataset, "options": own, "seeds": seeds})
        (folder / "runs").mkdir(parents=True)
        write_document(folder / "study.json", record)
        for result in whole.results:
            if result.run.seed in record.seed_numbers:
                (folder / "runs" / result.name).mkdir()
                write_document(folder / "runs" / result.name / "result.json", result)
                curve.to_csv(folder / "runs" / result.name / "epochs.csv", index=False)
        file = packed.pack(folder, tmp_path / "results", place)
    study, commits = packed.read_packed(file)
    assert study.record.seed_numbers == range(6)
    assert (study.record.dataset, study.record.options.plug) == ("folder:photos", "a.py,b.py")
    assert commits["student-hinton-3"] == "one"
    assert commits["student-hinton-5"] == "two"
    assert b"/home" not in gzip.decompress(file.read_bytes())
    table = robust.tabulate(compare_runs(study))
    pd.testing.assert_frame_equal(table, robust.tabulate(compare_runs(whole)))
    before = file.read_bytes()
    assert packed.pack(folder, tmp_path / "results", "three").read_bytes() == before, "what is there is kept"
    unpacked = read_study(packed.unpack(file, tmp_path / "unpacked"))
    assert (unpacked.record, unpacked.results) == (study.record, study.results)
    assert unpacked.epochs.keys() == {result.name for result in study.results}
    pd.testing.assert_frame_equal(unpacked.epochs["student-hinton-5"], curve)


def test_files_are_described_by_machines_commits_and_hours_of_a_thread(tmp_path: Path) -> None:
    packed = importlib.import_module("packed")
    fields = {"torch": "2.14.1+cu130", "instructions": "AVX512", "precision": "bf16", "flags": {}}
    one, other = Machine(device="A", threads=1, **fields), Machine(device="B", threads=2, **fields)
    study = predicted_study({"baseline": 0.3, "hinton": 0.2}, seeds=2)
    trained = iter([make_training(seconds=900.0, machines=machines) for machines in ([one], [one], [other], [])])
    folder = tmp_path / "photos-clean-01234567"
    (folder / "runs").mkdir(parents=True)
    write_document(folder / "study.json", study.record)
    for result in study.results:
        (folder / "runs" / result.name).mkdir()
        made = result.model_copy(update={"training": next(trained)})
        write_document(folder / "runs" / result.name / "result.json", made)
    head, _, row = packed.describe_files([packed.pack(folder, tmp_path / "results", "abc")])
    assert [cell.strip() for cell in head.split("|")[1:4]] == ["study", "runs", "seeds"]
    where = "A, AVX512, PyTorch 2.14.1; B, AVX512, PyTorch 2.14.1"
    assert row == f"| `photos-clean-01234567` | 4 | 2 | {where} | bf16 | `abc` | 1.2 |"  # 900 s * (1 + 1 + 2 + 1)


def test_nothing_to_pack_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["packed.py"])
    with pytest.raises(SystemExit) as end:
        importlib.import_module("packed").main()
    assert end.value.code == 2
    assert "name the folders of studies to pack" in capsys.readouterr().err


# --- replay.py -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A packed grid of five seeds, ten epochs of a second each; `dml` is the best method, and `at` has two phases."""
    packed = importlib.import_module("packed")
    wrong = {"baseline": 0.3, "hinton": 0.4, "dml": 0.05, "sp": 0.45, "at": 0.5}
    study, folder = predicted_study(wrong), tmp_path / "grid-01234567"
    (folder / "runs").mkdir(parents=True)
    write_document(folder / "study.json", study.record)
    labels = np.arange(40) % 2
    for seed in study.record.seed_numbers:
        rows = pd.DataFrame({"split": ["train"] * 3 + ["held_out"] * 40, "label": [0, 0, 0, *labels]})
        rows.to_csv(folder / f"manifest-{seed}.csv", index=False)
    for result in study.results:
        place = folder / "runs" / result.name
        place.mkdir()
        write_document(place / "result.json", result)
        predicted = np.where(np.random.default_rng(0).random((10, 40)) < wrong[result.run.method], 1 - labels, labels)
        predicted[:5] = labels if result.run.method == "hinton" else 1 - labels  # the first half says something else
        np.savez(place / "held_out.npz", predicted=predicted.astype(np.int16))
        phases = ["first"] * 6 * (result.run.method == "at") + ["train"] * (4 if result.run.method == "at" else 10)
        epochs = pd.DataFrame({"epoch": range(1, 11), "phase": phases, "seconds": np.arange(1.0, 11), "accuracy": 0.5})
        epochs.to_csv(place / "epochs.csv", index=False)
    return packed.pack(folder, tmp_path / "results", "abc")


def test_a_replayed_race_costs_what_it_trains_and_sees_held_out_rows_only(recorded: Path) -> None:
    replay = importlib.import_module("replay")
    grid, order = replay.Grid(recorded), (3, 1, 0, 2, 4)
    found = replay.replay_race(grid, (replay.Rung(1.0, 1, 2), replay.Rung(1.0, 2, 1)), order)
    assert found.finalists == ["dml"]
    assert (found.seconds, found.seeds) == (10 * (4 + 2), (3, 1))
    half = replay.replay_race(grid, (replay.Rung(0.5, 1, 1), replay.Rung(1.0, 1, 1)), order)
    assert half.finalists == ["hinton"], "it leads at half; at, in its first phase, is judged at the end"
    assert half.seconds == 5 * 4 + 5 * 2


def test_regret_is_what_the_winner_of_fresh_seeds_lacks_over_all_seeds(recorded: Path) -> None:
    replay = importlib.import_module("replay")
    grid, order = replay.Grid(recorded), (3, 1, 0, 2, 4)
    best = replay.judge_search(grid, replay.Found(["dml", "sp"], 40.0, (3, 1)), 3, order)
    assert best["regret of the winner"] == 0
    assert (best["cost of the search"], best["cost with confirmation"]) == (40 / 250, (40 + 90) / 250)
    assert best["within 0.5 points"] == 1
    others = replay.judge_search(grid, replay.Found(["sp"], 0.0, (3,)), 3, order)
    means = grid.test.mean(axis=1)
    assert others["regret of the winner"] == pytest.approx(100 * (means["dml"] - means["baseline"])), (
        "plain training wins"
    )


def test_a_replayed_screening_halves_by_the_first_seeds_that_the_race_did_not_have(recorded: Path) -> None:
    replay = importlib.import_module("replay")
    grid, order = replay.Grid(recorded), (3, 1, 0, 2, 4)
    found = replay.Found(["sp", "hinton", "dml"], 12.0, (3,))
    screened = replay.screen(grid, found, 2, order, grid.test)
    assert screened.finalists == list(grid.test.loc[found.finalists, 1].nlargest(2).index)
    assert screened.finalists[0] == "dml"
    assert (screened.seconds, screened.seeds) == (12 + 10, (3,)), "the whole run of the one that is dropped"
    every = replay.Found(["sp", "hinton", "dml", "at"], 0.0, (3,))
    first = [*grid.test.loc[every.finalists, 1].nlargest(2).index]
    alone = replay.screen(grid, every, 1, order, grid.test)
    assert alone.finalists == [grid.test.loc[first, [1, 0]].mean(axis=1).idxmax()]
    assert alone.seconds == 2 * 10 + 2 * 10, "two runs of one seed, and one of two"
    judged = replay.judge_search(grid, found, 2, order)
    assert judged["cost with confirmation"] == pytest.approx((22 + 3 * 4 * 10) / 250)
    assert judged["regret of the winner"] == 0


def test_other_images_are_those_by_which_the_winner_was_not_chosen(recorded: Path) -> None:
    """With halves of which one prefers `sp` and the other `dml`, the winner by one is behind on the other by the difference."""
    replay = importlib.import_module("replay")
    grid = replay.Grid(recorded)
    for seen, unseen in grid.halves:
        np.testing.assert_allclose((seen + unseen).loc[grid.test.index] / 2, grid.test, atol=0.03)
    one, other = grid.test.copy(), grid.test.copy()
    one.loc["sp"], other.loc["sp"] = 1.0, 0.0
    grid.halves = [(one, other)]
    judged = replay.judge_search(grid, replay.Found(["sp", "dml"], 0.0, (3,)), 2, (3, 1, 0, 2, 4))
    assert judged["regret of the winner"] == 0
    assert judged["regret on other images"] == pytest.approx(100 * grid.test.loc["dml"].mean())


def test_random_search_stays_within_its_budget(recorded: Path) -> None:
    replay = importlib.import_module("replay")
    grid = replay.Grid(recorded)
    tried = [replay.search_at_random(grid, 35.0, 3, order) for order in replay.orders(grid.seeds, grid.seeds)]
    assert len(tried) == 20
    assert {found.seconds for found in tried} == {30.0}
    assert {name for found in tried for name in found.finalists} == {"hinton", "dml", "sp", "at"}


def test_tables_of_replayed_selections(recorded: Path, tmp_path: Path) -> None:
    replay = importlib.import_module("replay")
    replay.main(["races", str(recorded), "--to", str(tmp_path / "races.csv")])
    races = pd.read_csv(tmp_path / "races.csv").set_index(["budget", "search"])
    assert races.loc[(0.3, "all methods"), "regret of the winner"] == 0
    assert races.loc[(0.3, "all methods"), "cost with confirmation"] == pytest.approx(0.8)
    cost = races["cost of the search"]
    assert cost[0.15, "plain halving"] == (4 * 5 + 4 * 5) / 250, (
        "at, in its first phase at half, continues without a place"
    )
    assert cost[0.15, "random search"] == 30 / 250
    assert cost[0.15, "random finalists"] == 0
    alone = tmp_path / "fewer.csv"
    replay.main(["races", str(recorded), "--race-grids", str(recorded), "--finalists", "1", "--to", str(alone)])
    fewer = pd.read_csv(alone).set_index(["budget", "search"])
    assert fewer.loc[(0.15, "random finalists"), "cost with confirmation"] == pytest.approx(2 * 4 * 10 / 250)
    replay.main(["ranking", str(recorded), "--to", str(tmp_path / "ranking.csv")])
    ranking = pd.read_csv(tmp_path / "ranking.csv").set_index(["share", "score"])["regret of the first"]
    assert ranking[1.0, "balanced accuracy"] == 0
    assert ranking[0.5, "balanced accuracy"] > 20, "hinton leads at half"
    replay.main(["averages", str(recorded), "--to", str(tmp_path / "averages.csv")])
    averages = pd.read_csv(tmp_path / "averages.csv").set_index("network")
    paired = replay.Grid(recorded).test
    expected = 100 * np.sqrt((paired.drop("baseline") - paired.loc["baseline"]).var(axis=1).mean())
    assert averages.loc["last", "sd of the difference"] == pytest.approx(expected, rel=1e-3)
    assert "average" not in averages.index, "no run has one"
