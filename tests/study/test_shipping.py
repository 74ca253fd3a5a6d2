"""What travels to another machine and back: data without files, and files by content."""

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robustkd.errors import UsageError
from robustkd.method_spec import MethodSpec
from robustkd.study import shipping
from robustkd.study.plan import Plan, Run, StudyData
from robustkd.study.run_folder import execute, is_finished, load_source, load_views, source_of
from tests.study.toy_study import PLAIN, TEACHER, write_study


def deliver(plan: Plan, runs: list[Run], folder: Path) -> Plan:
    """Return the plan of another machine, which has received the study's data and files as bytes."""
    content = pickle.dumps((plan, shipping.collect_data(plan, runs), shipping.collect_given_files(plan, runs)))
    received: tuple[Plan, StudyData, shipping.Files] = pickle.loads(content)
    return shipping.unpack_plan(*received, folder)


def test_the_data_are_sent_without_their_files(data: Path, tmp_path: Path) -> None:
    plan = write_study(data, data_seeds=1)
    there = deliver(plan, [PLAIN, Run("student", PLAIN.method, 1)], tmp_path / "there")
    views, source = load_views(plan, 1), load_source(plan.options)
    data.unlink()
    assert list(there.data.views if there.data else ()) == [0], "both seeds share a draw"
    for sent, own in zip(load_views(there, 1), views, strict=True):
        assert sent.digest == own.digest
        assert sent.sources[0] is source_of(there), "the images are sent once"
    assert source_of(there).fingerprint == source.fingerprint


def test_images_in_a_file_are_sent_as_images_and_labels_of_shared_memory_can_be_written(data: Path) -> None:
    plan = write_study(data)
    source = source_of(plan)
    np.save("images.npy", source.images)
    mapped = replace(source, images=np.load("images.npy", mmap_mode="r"))
    views = load_views(plan, 0)
    held = StudyData(mapped, {0: type(views)(*(replace(view, sources=(mapped,)) for view in views))})
    sent = shipping.collect_data(replace(plan, data=held), [PLAIN])
    assert type(sent.source.images) is np.ndarray
    np.testing.assert_array_equal(sent.source.images, source.images)
    for view in sent.views[0]:
        view.labels.flags.writeable = view.rows.flags.writeable = False
    for view in shipping.with_writable_labels(sent).views[0]:
        assert view.labels.flags.writeable
        assert view.rows.flags.writeable


def test_a_run_elsewhere_is_finished_here_from_its_files(data: Path, tmp_path: Path) -> None:
    plan = write_study(data, methods="baseline", seeds=1)
    there = deliver(plan, [PLAIN], tmp_path / "there")
    execute(there, PLAIN, lambda progress: None)
    here = plan.run_folder(PLAIN)
    here.mkdir(parents=True)
    (here / "unfinished.pt").write_text("of an earlier attempt")
    shipping.write_folder(here, {"epochs.csv": b"of a run that failed"})
    assert (here / "unfinished.pt").exists()
    shipping.write_folder(here, shipping.read_folder(there.run_folder(PLAIN)))
    assert is_finished(plan, PLAIN)
    assert not (here / "unfinished.pt").exists(), "training is over"


def test_documents_are_written_last_and_what_belongs_to_a_machine_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ["epochs.csv", "model.pt", "per_class.csv", "result.json", "trained.json", "unfinished.pt"]
    for name in (*names, ".lock", f".model.pt.{32 * 'a'}.tmp", "model.pt.damaged"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    files = shipping.read_folder(tmp_path)
    assert files == {name: name.encode() for name in names}
    written: list[str] = []
    monkeypatch.setattr(shipping, "write_atomically", lambda path, write: written.append(path.name))
    shipping.write_folder(tmp_path / "other", files)
    assert written[-2:] == ["trained.json", "result.json"]
    assert sorted(written) == sorted(names)
    assert shipping.read_folder(tmp_path / "missing") == {}


def test_plugins_teacher_and_first_weights_have_other_paths_there(data: Path, tmp_path: Path) -> None:
    for name in ("a/mine.py", "b/mine.py", "teacher.pt", "init.pt"):
        path = tmp_path / "mine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"METHODS = {{}}  # {name}")
    plan = write_study(data)
    options = replace(plan.options, plug="mine/a/mine.py,mine/b/mine.py")
    plan = replace(plan, options=options, teacher=tmp_path / "mine/teacher.pt", init=Path("mine/init.pt"))
    there = deliver(plan, [PLAIN], tmp_path / "there")
    paths = [*map(Path, str(there.options.plug).split(",")), there.teacher, there.init]
    assert len(set(paths)) == 4
    assert all(path is not None and path.is_relative_to(tmp_path / "there") for path in paths)
    assert [path.read_text()[16:] for path in paths if path] == ["a/mine.py", "b/mine.py", "teacher.pt", "init.pt"]


def test_a_file_of_a_criterion_keeps_its_relative_path_and_no_other_is_sent(data: Path, tmp_path: Path) -> None:
    Path("matrices").mkdir()
    Path("matrices/T.csv").write_text("1,0,0\n0,1,0\n0,0,1\n")
    plan = write_study(data)
    relative = Run("student", MethodSpec.parse("baseline+forward(matrix=matrices/T.csv)"), 0)
    deliver(plan, [relative, TEACHER], tmp_path / "there")
    assert (tmp_path / "there/matrices/T.csv").read_text() == Path("matrices/T.csv").read_text()
    for path in (tmp_path / "matrices/T.csv", Path("../T.csv")):
        absolute = Run("student", MethodSpec.parse(f"baseline+forward(matrix={path})"), 0)
        with pytest.raises(UsageError, match="relative and below the working directory"):
            shipping.collect_given_files(plan, [absolute])
