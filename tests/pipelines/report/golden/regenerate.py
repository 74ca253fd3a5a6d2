"""Write the golden pages again: python -m tests.pipelines.report.golden.regenerate

Only after a deliberate change of the page; check the difference before it is committed.
"""

from pathlib import Path

from pipelines.report.renderers.terminal import render_text
from tests.pipelines.report.toy_studies import GOLDEN_STUDIES, summarise_toy_study


def golden_path(name: str) -> Path:
    """Return the file with the page of a golden study."""
    return Path(__file__).parent / f"compare-{name}.txt"


if __name__ == "__main__":
    for name, build_study in GOLDEN_STUDIES.items():
        golden_path(name).write_text(render_text(summarise_toy_study(build_study())), encoding="utf-8")
