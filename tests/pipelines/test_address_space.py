"""Too little address space is reported before a library waits for it without end."""

import subprocess
import sys

import pytest

from pipelines.address_space import require_address_space

LIMITED = """
import resource
from pipelines.address_space import ROOM, require_address_space
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + int({share} * ROOM), resource.RLIM_INFINITY))
require_address_space()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("share", "code"), [(0.9, 1), (1.1, 0)])
def test_what_a_limit_leaves_must_suffice(share: float, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED.format(share=share)], capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ("MemoryError: less than 1.0 GiB of address space are left" in ended.stderr) == bool(code)


def test_without_a_limit_there_is_room() -> None:
    require_address_space()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("command", ["predict model.pt folder:photos", "audit digits", "run --scenario clean"])
def test_every_command_ends_in_a_sentence_under_a_limit_that_leaves_too_little(command: str) -> None:
    program = "import sys, torch" + LIMITED.format(share=0.5).replace(
        "require_address_space()", "from pipelines.cli import main\nmain(sys.argv[1:])"
    )
    words = [sys.executable, "-c", program, *command.split()]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode == 1, ended.stderr
    assert "robustkd: there is too little memory, which `ulimit -v` may limit" in ended.stderr
    assert "Traceback" not in ended.stderr
