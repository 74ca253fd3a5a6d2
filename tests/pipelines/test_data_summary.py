"""The lines about the data that commands print before they train."""

import numpy as np
import pytest

from pipelines import data_summary
from robustkd.data.splits import split_source
from robustkd.data.view import Source


def photos(**others):
    return Source("photos", np.zeros((40, 1, 2, 2), np.uint8), np.arange(40) % 2, ("a", "b"), **others)


def test_what_a_user_should_know_is_printed_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    unread = {f"a/{number}.mp4": "a video" for number in range(3)}
    unread |= {"b/README": "not an image", "c.md": "not an image", "b/loop": "a link to a folder around it"}
    source = photos(skipped=("a/x.png",), notes=("test/ has no labels: not used",), unread=unread)
    data_summary.print_data_summary(source, split_source(source, held_out=0.1, seed=0))
    assert capsys.readouterr().out.splitlines() == [
        "photos: test/ has no labels: not used",
        "photos: 1 image files that cannot be read are left out",
        "photos: not read: a video: 3 .mp4; not an image: 1 without extension, 1 .md; a link to a folder around it: 1"
        " (`robustkd check-data` lists them)",
        "photos: 40 images -> 26 training, 4 held out, 10 test",
    ]
