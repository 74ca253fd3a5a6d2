"""Images as small PNG files."""

import base64
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from pipelines.report.thumbnails import make_thumbnail
from robustkd.data.view import Source


def test_thumbnails_of_files_are_larger_than_the_networks_input(tmp_path: Path) -> None:
    Image.fromarray(np.arange(120 * 120, dtype=np.uint8).reshape(120, 120)).save(tmp_path / "a.png")
    source = Source(
        "toy", np.zeros((2, 1, 8, 8), np.uint8), np.zeros(2, int), ("a",), files=("a.png", "b"), root=tmp_path
    )
    sizes = []
    for row in range(2):
        uri, small = make_thumbnail(source, row)
        shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        sizes.append((shown.size, small))
    assert sizes == [((96, 96), False), ((8, 8), True)]


def test_the_first_thumbnail_of_a_process_is_read_from_its_file(tmp_path: Path) -> None:
    Image.new("L", (120, 120)).save(tmp_path / "a.png")
    code = (
        "import sys, pathlib, numpy as np\nfrom pipelines.report.thumbnails import make_thumbnail\n"
        "from robustkd.data.view import Source\n"
        "images, labels = np.zeros((1, 1, 8, 8), np.uint8), np.zeros(1, int)\n"
        "root = pathlib.Path(sys.argv[1])\n"
        "print(make_thumbnail(Source('toy', images, labels, ('a',), files=('a.png',), root=root), 0)[1])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"  # Pillow has not been asked for anything before
