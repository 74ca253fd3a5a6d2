"""Exported networks: their predictions and cards, and arguments that are refused."""

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from pipelines import cli, exporters
from pipelines.report import model_card
from robustkd.study.results import RunResult, StudyRecord, read_document, write_document
from robustkd.training import checkpoint
from tests.pipelines.conftest import use_store
from tests.pipelines.documents import make_record
from tests.pipelines.exports import NAMES, refused, save_untrained, study

HOME = Path(__file__).parents[3]


def reference_probabilities(path, images):
    """Compute the network's probabilities in float64."""
    net, _ = checkpoint.load_net(path)
    with torch.no_grad():
        logits = net(torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)).logits.double().numpy()
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def random_batch(n, shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


def with_seed(result, seed):
    return result.model_copy(update={"run": result.run.model_copy(update={"seed": seed})})


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A student exported from its study's folder in both formats."""
    folder = tmp_path_factory.mktemp("studies")
    run = study(folder / "toy")
    cli.main(
        ["export", str(folder / "toy"), "--method", "hinton + balanced".replace(" ", ""), "--to", str(folder / "out")]
    )
    return SimpleNamespace(
        net=run / "model.pt", to=folder / "out", about=json.loads((folder / "out/card.json").read_text())
    )


# Files


def test_both_files_predict_as_the_network_does_for_any_batch_size(exported):
    session = onnxruntime.InferenceSession(exported.to / "model.onnx")
    module = torch.export.load(exported.to / "model.pt2").module()
    for n in (1, 2, 7):
        images = random_batch(n, (8, 8, 1))
        expected = reference_probabilities(exported.net, images)
        (given,) = session.run(None, {"images": images})
        assert given.dtype == np.float32
        np.testing.assert_allclose(given, expected, atol=1e-5)
        np.testing.assert_allclose(module(torch.from_numpy(images)).detach().numpy(), expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 0.1, "constant predictions would prove nothing"


def test_the_onnx_file_is_complete_and_names_its_input_and_output(exported):
    model = onnx.load(exported.to / "model.onnx", load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not [tensor.name for tensor in model.graph.initializer if tensor.external_data]
    session = onnxruntime.InferenceSession(exported.to / "model.onnx")
    (taken,), (given,) = session.get_inputs(), session.get_outputs()
    assert (taken.name, taken.type, taken.shape) == ("images", "tensor(uint8)", ["batch", 8, 8, 1])
    assert (given.name, given.type, given.shape) == ("probabilities", "tensor(float)", ["batch", 3])
    assert exported.about["made_with"]["opset"] == next(o.version for o in model.opset_import if o.domain == "")


def test_no_file_contains_a_path_of_this_machine(exported):
    texts = [path.read_bytes() for path in exported.to.iterdir()]
    with zipfile.ZipFile(exported.to / "model.pt2") as inside:
        texts += [inside.read(name) for name in inside.namelist()]
    assert not [text[:40] for text in texts if str(HOME).encode() in text or str(exported.to.parent).encode() in text]


def test_the_card_describes_the_network(exported):
    assert exported.about["classes"] == NAMES
    assert exported.about["input"] | {"normalisation": ""} == {
        **{"name": "images", "dtype": "uint8", "shape": ["batch", 8, 8, 1], "range": [0, 255]},
        **{"colours": "grey", "normalisation": ""},
    }
    said = {
        name: exported.about[name] for name in ("name", "net", "method", "criterion", "seed", "scenario", "parameters")
    }
    assert said == {
        **{"name": "hinton+balanced-seed0", "net": "resnet8", "method": "hinton", "criterion": "balanced"},
        **{"seed": 0, "scenario": "noise0.4", "parameters": 78000},
    }
    assert exported.about["dataset"] == {"name": "toy", "fingerprint": "f" * 16}
    assert exported.about["figures"]["accuracy"] == pytest.approx(2 / 3)
    assert exported.about["figures"]["recall"] == {NAMES[0]: 0.5, NAMES[1]: 1.0, NAMES[2]: None}
    assert exported.about["checked"]["images"] == {"random": 8, "real": 8}
    assert max(exported.about["checked"]["largest_difference"].values()) < 1e-4
    assert set(exported.about["files"]) == {"model.onnx", "model.pt2"}
    for name, file in exported.about["files"].items():
        content = (exported.to / name).read_bytes()
        assert file == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    assert exported.about["exported_from"]["sha256"] == hashlib.sha256(exported.net.read_bytes()).hexdigest()


def test_the_examples_of_the_readme_run_without_robustkd(exported):
    blocks = re.findall(r"```python\n(.*?)```", (exported.to / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert [len(block.splitlines()) for block in blocks] == [5, 5]
    check = "import sys\nassert not [name for name in sys.modules if name.startswith(('robustkd', 'pipelines'))]\n"
    command = [sys.executable, "-I", "-X", "utf8", "-c", "\n".join([*blocks, check])]
    ran = subprocess.run(command, cwd=exported.to, capture_output=True, text=True, encoding="utf-8", check=False)
    assert ran.returncode == 0, ran.stderr
    black = NAMES[reference_probabilities(exported.net, np.zeros((1, 8, 8, 1), np.uint8)).argmax()]
    assert ran.stdout.splitlines() == [black, black]


def test_the_readme_states_caveats_and_accepts_any_class_name(exported, tmp_path):
    text = (exported.to / "README.md").read_text(encoding="utf-8")
    assert "Measured on the test set at the last epoch; the test labels count as clean." in text
    assert "the study's first seed, which was chosen before any results were known" in text
    assert "trained and measured in bf16 and computes in fp32" in text
    assert "| accuracy | 66.7 % |" in text
    assert r"| 1 | a\|b \<script\> | 100.0 % | 1 |" in text
    assert "| 2 | 100 % | - | 0 |" in text, "a class without test rows has no recall"
    card, result = checkpoint.load_net(exported.net)[1], read_document(exported.net.parent / "result.json", RunResult)
    noisy, clean = make_record(truth_known=False, known_test=(2, 3)), make_record()
    about = {**exported.about, **model_card.describe_model(card, result, noisy)}
    assert "last epoch; test labels as given; the clean part is 2 of 3 rows" in model_card.render_model_card(about)
    other = with_seed(result, 1)
    unmeasured = model_card.describe_model(card, other, clean)
    assert (unmeasured["figures"], unmeasured["test_labels"], unmeasured["dataset"]["fingerprint"]) == (
        None,
        None,
        None,
    )
    assert "No measurements of this net were found next to it." in model_card.render_model_card(
        {**exported.about, **unmeasured}
    )
    assert (exported.about["oracle"], "| oracle |" in text) == (False, False)
    oracle = {**exported.about, **model_card.describe_model({**card, "oracle": True}, None, None)}
    assert "| oracle | uses knowledge that a user would not have" in model_card.render_model_card(oracle)
    deep = {**exported.about, **model_card.describe_model({**card, "value_range": (0, 4096)}, None, None)}
    assert "scaled from 0 to 4096: `floor((value - low) * 256 / (high - low))`" in model_card.render_model_card(deep)
    about = {**exported.about, **model_card.describe_model({**card, "seed": 3}, with_seed(result, 3), None)}
    assert "Its seed, 3, was chosen by hand" in model_card.render_model_card(about)
    part = result.last.model_copy(update={"rows": 2, "metrics": {"accuracy": 0.5, "balanced_accuracy": 0.5}})
    part_known = result.model_copy(update={"clean": part})
    message = model_card.render_model_card({**exported.about, **model_card.describe_model(card, part_known, None)})
    assert "|  | all test rows | 2 test rows with a clean label |" in message
    assert "| accuracy | 66.7 % | 50.0 % |" in message
    assert "it is not known whether the test labels are clean" in message


@pytest.mark.parametrize(
    ("word", "shape", "head"),
    [
        ("wrn_10_1", (3, 16, 12), "linear"),
        ("resnet8(shortcut=pad)", (1, 8, 8), "cosine"),
        ("torchvision:resnet18", (1, 32, 32), "linear"),
    ],
)
def test_every_kind_of_network_is_exported_without_messages_of_the_exporters(word, shape, head, tmp_path, capfd):
    path = save_untrained(tmp_path / "net.pt", word, shape, head)
    cli.main(["export", str(path), "--to", str(tmp_path / "out"), "--formats", "onnx"])
    said = capfd.readouterr()
    assert said.err == ""
    assert re.fullmatch(r"model.onnx: .* on 8 random images\nexported .* to .*\n", said.out)
    assert {file.name for file in (tmp_path / "out").iterdir()} == {"model.onnx", "card.json", "README.md"}
    images = random_batch(3, (*shape[1:], shape[0]))
    (given,) = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx").run(None, {"images": images})
    np.testing.assert_allclose(given, reference_probabilities(path, images), atol=1e-4)


def test_a_network_stopped_early_has_its_own_metrics(tmp_path):
    run = study(tmp_path / "toy")
    save_untrained(run / "early.pt", stopped_at=4)
    cli.main(["export", str(run / "early.pt"), "--to", str(tmp_path / "out"), "--formats", "torch"])
    text = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "| accuracy | 25.0 % |" in text
    assert "4, chosen on held-out rows" in text
    assert "Measured on the test set after epoch 4" in text
    assert "onnx" not in text.lower()


def test_an_empty_folder_is_filled_and_not_replaced(tmp_path):
    to = tmp_path / "out"
    to.mkdir()
    before = to.stat().st_ino
    cli.main(["export", str(save_untrained(tmp_path / "model.pt").parent), "--to", str(to), "--formats", "torch"])
    assert to.stat().st_ino == before
    assert {file.name for file in to.iterdir()} == {"model.pt2", "card.json", "README.md"}


# Refusals


@pytest.mark.parametrize("there", [True, False])
def test_a_file_with_other_probabilities_is_not_written(there, tmp_path, capsys, monkeypatch):
    path = save_untrained(tmp_path / "model.pt")
    real = exporters.export_onnx

    def wrong(program, place):
        trace = real(program, place)
        return trace._replace(predict=lambda images: trace.predict(images) + (2e-4 if len(images) == 5 else 0))

    monkeypatch.setattr(exporters, "export_onnx", wrong)
    if there:
        (tmp_path / "out").mkdir()
    message = refused([path, "--to", tmp_path / "out"], capsys, code=1)
    assert "model.onnx differs from the network: a probability differs by 0.0002 in a batch of 5" in message
    left = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")}
    assert left == {"model.pt", *(["out"] if there else [])}


def test_a_network_that_cannot_be_traced_is_reported_in_one_sentence(tmp_path, capsys, monkeypatch):
    def stumble(*_, **__):
        raise RuntimeError("\nfirst line\nsecond line")

    monkeypatch.setattr(torch.export, "export", stumble)
    message = refused([save_untrained(tmp_path / "model.pt"), "--to", tmp_path / "out"], capsys, code=1)
    assert "torch.export cannot trace the network resnet8 (first line)" in message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_extra_is_reported_first(name, capsys, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, name, None)
    message = refused(["nowhere.pt", "--to", tmp_path / "out"], capsys)
    assert f"ONNX needs {name}: pip install {name}, or use --formats torch" in message
    assert "nowhere.pt: there is no such file" in refused(
        ["nowhere.pt", "--to", tmp_path / "out", "--formats", "torch"], capsys
    )


BAD = {
    "nothing to do": ("{net}", ["with --to DIR", "--register NAME"]),
    "alias alone": ("{net} --to {new} --alias candidate", ["--alias candidate", "--register"]),
    "format": ("{net} --to {new} --formats onx", ["no format 'onx' (did you mean 'onnx'?); there are: onnx, torch"]),
    "no file": ("{here}/gone.pt --to {new}", ["gone.pt: there is no such file or folder", "MLflow run id"]),
    "no net": ("{here}/text.pt --to {new}", ["text.pt: this file was not saved by robustkd"]),
    "empty folder": ("{here}/empty --to {new}", ["empty: this folder contains neither a study", "nor a network"]),
    "method of a file": (
        "{net} --to {new} --method hinton",
        ["--method needs a study's folder, and this has no study.json"],
    ),
    "no method": ("{study} --to {new}", ["choose one of its students with --method: baseline, hinton+balanced"]),
    "wrong method": ("{study} --method hintn+balanced --to {new}", ["did you mean 'hinton+balanced'?"]),
    "unfinished": ("{study} --method baseline --to {new}", ["baseline-seed0 is not finished; `robustkd run`"]),
    "not empty": ("{net} --to {study}", ["toy: this folder is not empty"]),
    "a file": ("{net} --to {net}", ["model.pt: this is a file"]),
    "no parent": ("{net} --to {new}/deeper", ["deeper: there is no folder"]),
    "not tracked": ("{net} --register parts", ["no tracked.json next to it", "--tracker mlflow"]),
    "not the last": ("{run}/early.pt --register parts --to {new}", ["models of the last epoch only"]),
    "bad name": (
        "{net} --register a/b",
        ["--register 'a/b': a name must not be empty, and must not contain '/' or ':'"],
    ),
    "bad alias": ("{net} --register parts --alias latest", ["--alias latest", "not 'latest'"]),
    "no such model": ("models:/nobody/1 --register parts", ["models:/nobody/1: sqlite:", "has no model.pt"]),
}


@pytest.mark.parametrize("case", BAD)
def test_invalid_arguments_are_refused_in_one_sentence(case, store, tmp_path, capsys, monkeypatch):
    use_store(monkeypatch, store)
    run = study(tmp_path / "toy")
    save_untrained(run / "early.pt", stopped_at=4)
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty").mkdir()
    typed, parts = BAD[case]
    before = sorted(tmp_path.rglob("*"))
    places = {"net": run / "model.pt", "run": run, "study": tmp_path / "toy", "new": tmp_path / "new", "here": tmp_path}
    message = refused(typed.format(**places).split(), capsys)
    assert [words for words in parts if words not in message] == [], message
    assert sorted(tmp_path.rglob("*")) == before


def test_the_students_first_seed_need_not_be_0(tmp_path):
    run = study(tmp_path / "toy")
    document = tmp_path / "toy" / "study.json"
    record = read_document(document, StudyRecord)
    write_document(document, record.model_copy(update={"options": replace(record.options, first_seed=3)}))
    result = read_document(run / "result.json", RunResult)
    later = run.with_name(run.name.replace("seed0", "seed3"))
    run.rename(later)
    write_document(later / "result.json", with_seed(result, 3))
    cli.main(
        [
            "export",
            str(tmp_path / "toy"),
            "--method",
            "hinton+balanced",
            "--to",
            str(tmp_path / "out"),
            "--formats",
            "torch",
        ]
    )
    assert (tmp_path / "out" / "model.pt2").is_file()
