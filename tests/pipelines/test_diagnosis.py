"""What is wrong with an installation or a machine is a sentence with what to do; everything else is a fact."""

import shutil
from collections import namedtuple
from importlib import metadata
from pathlib import Path

import pytest
import torch

from pipelines import diagnosis

Usage = namedtuple("Usage", "total used free")


def test_packages_that_are_missing_or_too_old_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = ["numpy>=1", "pandas>=999", "no-such-package>=1.2", "another-one>=1; extra == 'test'"]
    monkeypatch.setattr(metadata, "requires", lambda name: needed)
    assert list(diagnosis.unmet_requirements()) == [
        f"pandas {metadata.version('pandas')} is installed, but robustkd needs pandas>=999: `pip install 'pandas>=999'`",
        "no-such-package is not installed, but robustkd needs no-such-package>=1.2: `pip install 'no-such-package>=1.2'`",
    ]


def test_the_packages_of_this_environment_are_those_that_are_needed() -> None:
    assert list(diagnosis.unmet_requirements()) == []


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (None, 4_096_000),  # no container
        ("max", 4_096_000),
        ("3000000", 2_600_000),  # a limit of 3 MB, of which 1 MB is used, 0.6 MB of that by files that can be dropped
        ("9000000000", 4_096_000),
    ],
)
def test_available_memory_is_that_of_the_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str | None, expected: int
) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  9000 kB\nMemFree:  1000 kB\nMemAvailable:     4000 kB\n")
    if limit is not None:
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        (tmp_path / "memory.current").write_text("1000000\n")
        (tmp_path / "memory.stat").write_text("anon 400000\ninactive_file 600000\n")
    monkeypatch.setattr(diagnosis, "PROC_MEMORY", tmp_path / "meminfo")
    monkeypatch.setattr(diagnosis, "CGROUP", tmp_path)
    assert diagnosis.available_memory() == expected
    (problem,) = diagnosis.check_memory().problems
    assert "end other programs" in problem


def test_a_full_disk_and_a_folder_that_cannot_be_written_are_problems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "studies" / "mine"
    assert diagnosis.check_disk(out).problems == []
    assert not out.exists()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 10**12, 10**6))
    assert "only 1 MB free" in diagnosis.check_disk(out).problems[0]
    (tmp_path / "file").touch()
    assert "cannot be written: use another folder" in diagnosis.check_disk(tmp_path / "file" / "studies").problems[0]


@pytest.mark.parametrize(
    ("hidden", "cuda", "message"),
    [
        ("-1", "13.0", "CUDA_VISIBLE_DEVICES hides the GPUs"),
        (None, None, "is built without CUDA"),
        (None, "13.0", "is built for CUDA 13.0 and can use no GPU"),
    ],
)
def test_a_gpu_that_torch_cannot_use_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hidden: str | None, cuda: str | None, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(diagnosis.shutil, "which", lambda program: None)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if hidden is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    monkeypatch.setattr(diagnosis, "NVIDIA_DRIVER", tmp_path / "version")
    assert list(diagnosis.unused_gpu()) == [], "there is no driver"
    (tmp_path / "version").touch()
    (problem,) = diagnosis.unused_gpu()
    assert message in problem


def test_the_size_of_a_cache_counts_its_files_once(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.npy").write_bytes(bytes(1500))
    (tmp_path / "b.json").write_bytes(bytes(500))
    (tmp_path / "link").symlink_to(tmp_path / "deep" / "a.npy")
    assert diagnosis.describe_folder(tmp_path) == f"{tmp_path}, 2 kB in 2 files"
    assert diagnosis.describe_folder(tmp_path / "lost").endswith("does not exist")


def test_the_home_folder_is_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "ada")
    assert diagnosis.shorten_home(tmp_path / "ada" / ".cache") == "~/.cache"
    assert diagnosis.shorten_home(tmp_path / "other") == str(tmp_path / "other")
