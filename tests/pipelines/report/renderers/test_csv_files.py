"""Data frames as CSV files, and the check that nothing is overwritten."""

from pathlib import Path

import pandas as pd
import pytest

from pipelines.report.renderers.csv_files import refuse_existing, write_csv_files
from robustkd.errors import UsageError


def test_a_named_index_is_the_first_column(tmp_path: Path) -> None:
    named = pd.DataFrame({"x": [1 / 3, None]}, index=pd.Index(["a, b", "c"], name="method"))
    unnamed = pd.DataFrame({"x": [1]})
    paths = write_csv_files({"named": named, "unnamed": unnamed}, tmp_path / "new" / "folder")
    assert paths == [tmp_path / "new" / "folder" / f"{name}.csv" for name in ("named", "unnamed")]
    assert paths[0].read_text() == 'method,x\n"a, b",0.3333333333333333\nc,\n'
    assert paths[1].read_text() == "x\n1\n"


def test_existing_paths_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file.md").touch()
    with pytest.raises(UsageError, match=r"--markdown .*file\.md: this file exists already and is not overwritten"):
        refuse_existing("--markdown", tmp_path / "new.md", tmp_path / "file.md")
    with pytest.raises(UsageError, match=r"--latex .*: there is no folder .*nowhere"):
        refuse_existing("--latex", tmp_path / "nowhere" / "a.tex")


def test_the_folder_of_csv_files_may_be_new(tmp_path: Path) -> None:
    refuse_existing("--csv", tmp_path / "nowhere" / "a.csv")
    refuse_existing("--markdown", tmp_path / "a.md")
