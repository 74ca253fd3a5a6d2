"""Damaged files of a study are found, set aside and made again with the same content."""

import json
import zipfile
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import cli
from robustkd.errors import UsageError
from robustkd.study import integrity
from robustkd.study.results import RunResult, StudyRecord, TrainingInfo, read_document, write_document
from robustkd.study.run_folder import read_npz
from robustkd.training import checkpoint
from tests.pipelines.toys import find_study, study_arguments
from tests.records import make_record, make_training

Damage = Callable[[bytes], bytes]


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flip_a_bit(content: bytes) -> bytes:
    """Flip the lowest bit of a byte in the middle, of a digit if there is one: 3 becomes 2."""
    digits = [place for place in range(len(content) // 2, len(content)) if content[place : place + 1].isdigit()]
    place = digits[0] if digits else len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


DAMAGES: dict[str, Damage] = {"empty": lambda content: b"", "truncated": truncate, "flipped": flip_a_bit}


def results_of(study: Path) -> dict[str, object]:
    """Return what a study results in: weights, and every document but its times."""
    found: dict[str, object] = {}
    for path in sorted(study.glob("runs/*/*.pt")):
        found[str(path.relative_to(study))] = path.read_bytes()
    for path in study.glob("runs/*/result.json"):
        result = read_document(path, RunResult)
        found[result.name] = (result.last, result.early, result.fit)
    for path in study.glob("manifest-*"):
        if not path.name.endswith(integrity.DAMAGED):
            found[path.name] = path.read_bytes()
    return found


@pytest.fixture
def study(data: Path) -> tuple[list[str], Path, dict[str, object]]:
    arguments = study_arguments("run", data, methods="baseline,hinton", epochs="1")
    cli.main(arguments)
    folder = find_study()
    return arguments, folder, results_of(folder)


FILES = [
    *(f"runs/teacher-seed0/{name}" for name in ("model.pt", "trained.json", "test-last.npz", "result.json")),
    *(f"runs/hinton-seed0/{name}" for name in ("epochs.csv", "early.pt", "per_class.csv")),
    *("manifest-0.csv", "manifest-0.json", "study.json"),
]


def check_repair(
    study: tuple[list[str], Path, dict[str, object]], name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Damage a file, run the study's command again, and compare."""
    arguments, folder, before = study
    path = folder / name
    broken = DAMAGES[damage](path.read_bytes())
    path.write_bytes(broken)
    capsys.readouterr()
    cli.main(arguments)
    assert results_of(folder) == before
    if name != "study.json":  # it is written by every command
        assert path.name in capsys.readouterr().out, "nothing is printed"
        assert path.with_name(path.name + integrity.DAMAGED).read_bytes() == broken, "it is lost"
    for document in (*folder.glob("runs/*/*.json"), *folder.glob("*.json")):
        json.loads(document.read_text(encoding="utf-8"))


def test_a_damaged_file_is_set_aside_and_made_again(
    study: tuple[list[str], Path, dict[str, object]], capsys: pytest.CaptureFixture[str]
) -> None:
    for name, damage in zip(FILES, cycle(DAMAGES), strict=False):
        check_repair(study, name, damage, capsys)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_may_be_damaged_in_every_way(
    study: tuple[list[str], Path, dict[str, object]], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in FILES:
        check_repair(study, name, damage, capsys)


def test_a_missing_file_is_made_again_too(study: tuple[list[str], Path, dict[str, object]]) -> None:
    arguments, folder, before = study
    for name in FILES[:-1:2]:
        (folder / name).unlink()
        cli.main(arguments)
        assert (folder / name).exists(), name
        assert results_of(folder) == before, name


def test_damage_is_found_by_name(study: tuple[list[str], Path, dict[str, object]]) -> None:
    run = study[1] / "runs" / "hinton-seed0"
    assert integrity.find_damaged_files(run) == []
    for name in ("early.pt", "confusion.csv"):
        (run / name).write_bytes(flip_a_bit((run / name).read_bytes()))
    assert integrity.find_damaged_files(run) == ["early.pt", "confusion.csv"]
    assert not integrity.is_whole(run, read_document(run / "trained.json", TrainingInfo))
    integrity.set_aside(run / "early.pt")
    assert integrity.find_damaged_files(run) == ["confusion.csv"], "a missing file is not damaged"
    assert not integrity.is_whole(run, read_document(run / "trained.json", TrainingInfo)), "but the run is not whole"


def test_every_bit_of_a_network_counts(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    checkpoint.save_checkpoint(path, {"weights": torch.linspace(0, 1, 500), "card": "x" * 100})
    content, generator = path.read_bytes(), np.random.default_rng(0)
    stored = {info.header_offset for info in zipfile.ZipFile(path).infolist()}
    assert stored
    loaded = checkpoint.load_checkpoint(path)
    for place in generator.integers(0, len(content), 200):
        path.write_bytes(
            content[:place] + bytes([content[place] ^ 1 << int(generator.integers(8))]) + content[place + 1 :]
        )
        with suppress(UsageError):
            again = checkpoint.load_checkpoint(path)
            # What is accepted differs in padding or dates of the archive, which nothing reads.
            assert torch.equal(again["weights"], loaded["weights"])
            assert again["card"] == loaded["card"]


def test_a_changed_digit_of_a_document_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "trained.json"
    write_document(path, make_training(early_epoch=7))
    assert read_document(path, TrainingInfo).early_epoch == 7
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"early_epoch": 7', '"early_epoch": 8'), encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"trained\.json: this file is damaged: its content does not match its checksum"
    ):
        read_document(path, TrainingInfo)
    content = json.loads(text)
    del content["checksum"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert read_document(path, TrainingInfo).early_epoch == 7, "files without a checksum are of an earlier version"


def test_names_and_infinite_values_survive_the_checksum(tmp_path: Path) -> None:
    record = make_record(["baseline"], 1, classes=["süß", "猫"], dataset='a "b"\\n')
    write_document(tmp_path / "study.json", record)
    assert read_document(tmp_path / "study.json", StudyRecord) == record


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_arrays_are_none(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "test-last.npz"
    np.savez_compressed(path, logits=np.random.default_rng(0).normal(size=(50, 10)))
    assert list(read_npz(path)) == ["logits"]
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert read_npz(path) == {}
    assert read_npz(tmp_path / "none.npz") == {}


def test_a_network_that_predicts_nothing_is_refused(tmp_path: Path, data: Path) -> None:
    cli.main(study_arguments("run", data, methods="baseline", epochs="1"))
    path = find_study() / "runs" / "baseline-seed0" / "model.pt"
    content = checkpoint.load_checkpoint(path)
    for change, message in (
        (
            {
                "weights": {
                    **content["weights"],
                    "head.bias": torch.full_like(content["weights"]["head.bias"], torch.nan),
                }
            },
            "not finite",
        ),
        (
            {"weights": {"other": torch.zeros(1)}},
            "its weights are not those of a resnet8: missing: .*unexpected: other",
        ),
        ({"weights": [1]}, "the network in this file cannot be built"),
        ({"card": "{}"}, "its model card has no 'model'"),
        ({"card": content["card"].replace('"model": "', '"model": "x')}, "holds a .*, which is no known network"),
        ({"card": content["card"].replace('"mean": [', '"mean": ["x", ')}, "its model card is wrong: mean.0 is 'x'"),
    ):
        broken = tmp_path / "broken.pt"
        checkpoint.save_checkpoint(broken, {**content, **change})
        with pytest.raises(UsageError, match=message):
            checkpoint.load_usable_net(broken)
    checkpoint.write_atomically(tmp_path / "list.pt", lambda file: torch.save([1, 2], file))
    with pytest.raises(UsageError, match="it contains a list"):
        checkpoint.load_net(tmp_path / "list.pt")
