"""Reports that several tests read."""

from pathlib import Path

import pytest

from pipelines.report.charts import output
from pipelines.report.study_report import write_study_report
from tests.pipelines.report.cases import CASES


@pytest.fixture(scope="module")
def plain_report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the report of a study with verdicts, written without PNG files."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "save_figure", lambda figure, path: path.touch())
        return write_study_report(CASES["plain"](), tmp_path_factory.mktemp("plain"))


@pytest.fixture
def without_png_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write no PNG files, for tests of the HTML alone."""
    monkeypatch.setattr(output, "save_figure", lambda figure, path: path.touch())
