"""The queue between the process that trains and the one that sends."""

import json
from pathlib import Path

import pytest

from pipelines.tracking.outbox import Outbox, Sent


@pytest.fixture
def outbox(tmp_path: Path) -> Outbox:
    """An outbox with three entries, in a folder that did not exist."""
    box = Outbox(tmp_path / "study")
    for step in (1, 2, 3):
        box.append({"do": "log_epoch", "step": step, "name": "süß"})
    return box


def steps(box: Outbox, position: int = 0, limit: int | None = None) -> list[object]:
    return [line.entry.get("step") for line in box.read(position, limit)]


def test_entries_are_read_in_order_from_any_position(outbox: Outbox) -> None:
    assert steps(outbox) == [1, 2, 3]
    first, second, third = outbox.read(0)
    assert steps(outbox, first.end) == [2, 3]
    assert steps(outbox, first.end, limit=1) == [2]
    assert third.end == outbox.size
    assert steps(outbox, third.end) == []
    assert second.entry == {"do": "log_epoch", "step": 2, "name": "süß"}


def test_without_a_file_nothing_is_queued(tmp_path: Path) -> None:
    box = Outbox(tmp_path)
    assert (box.size, box.read(0), box.count_unsent(), box.load_sent()) == (0, [], 0, Sent())
    box.remove()


def test_what_is_acknowledged_is_not_counted(outbox: Outbox) -> None:
    assert outbox.count_unsent() == 3
    sent = Sent(
        outbox.read(0)[1].end,
        {"parent": "p"},
        {"hinton-seed0": {"id": "r", "started": 1.5, "is_finished": True}},
        {"a": "[a](#)"},
    )
    outbox.acknowledge(sent)
    assert outbox.count_unsent() == 1
    assert Outbox(outbox.folder).load_sent() == sent
    outbox.remove()
    assert list(outbox.folder.iterdir()) == []


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"position": 0, "of": "another version"}', '{"position": 99999}'])
def test_if_it_is_not_known_what_was_sent_everything_is_sent_again(outbox: Outbox, damage: str) -> None:
    outbox.acknowledge(Sent(outbox.size))
    outbox.sent_path.write_text(damage)
    assert outbox.load_sent() == Sent()
    assert outbox.count_unsent() == 3


def test_a_line_that_is_being_written_is_not_read_and_is_removed_before_more_is_appended(outbox: Outbox) -> None:
    whole = outbox.path.read_bytes()
    outbox.path.write_bytes(whole + b'{"do": "log_ep')
    assert steps(outbox) == [1, 2, 3]
    outbox.repair()
    assert outbox.path.read_bytes() == whole
    outbox.append({"step": 4})
    assert steps(outbox) == [1, 2, 3, 4]


def test_a_damaged_line_does_not_hide_those_that_follow(outbox: Outbox) -> None:
    text = outbox.path.read_bytes().splitlines(keepends=True)
    outbox.path.write_bytes(b"".join([text[0], b"\xff\x00{\n", text[2]]))
    assert steps(outbox) == [1, None, 3]


def test_no_secret_is_written(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "planted")
    outbox.append({"message": "no: planted", "tags": {"a": ["http://me:planted@host"]}, "step": 4})
    assert b"planted" not in outbox.path.read_bytes()
    assert json.loads(outbox.path.read_bytes().splitlines()[-1]) == {
        "message": "no: ***",
        "tags": {"a": ["http://host"]},
        "step": 4,
    }
