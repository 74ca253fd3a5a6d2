"""Pages of the documentation: code runs as written, block by block, and tables are those of the files that they name."""

import ast
import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from cyclopts import CycloptsError, UnknownOptionError
from PIL import Image
from scipy.stats import ttest_rel

from pipelines.cli import app
from pipelines.stages import compare
from robustkd.method_sets import read_method_list

HOME = Path(__file__).parents[1]
FILE = re.compile(r"# file: (\S+)\n")


LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
PAGES = sorted((HOME / "docs").glob("*.md"))


def code_blocks(page: Path) -> list[str]:
    """Return a page's Python code, block by block."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def run_page(name: str, folder: Path) -> None:
    """Write the blocks that are files, and run the others as one script."""
    script = []
    for block in code_blocks(HOME / "docs" / name):
        if named := FILE.match(block):
            (folder / named[1]).write_text(block, encoding="utf-8")
        else:
            script.append(block)
    (folder / "page.py").write_text("\n\n".join(script), encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(HOME),
        "OMP_NUM_THREADS": "1",
        "MLFLOW_TRACKING_URI": "file:///nowhere",
    }
    done = subprocess.run([sys.executable, "page.py"], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", [HOME / "README.md", HOME / "CONTRIBUTING.md", *PAGES], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    base = HOME if page.parent == HOME else HOME / "docs"
    linked = LINK.findall(page.read_text(encoding="utf-8"))
    made = {"cards.md"}  # by docs/conf.py
    assert [link for link in linked if link not in made and not (base / link).exists()] == []


def test_every_word_is_on_its_page() -> None:
    import scenarios
    from robustkd.criteria import CRITERIA
    from robustkd.methods import METHODS

    pages = {"criteria.md": CRITERIA, "scenarios.md": scenarios.SCENARIOS}
    for page, words in pages.items():
        text = (HOME / "docs" / page).read_text(encoding="utf-8")
        assert [word for word in words if f"`{word}" not in text] == [], page
    text = "".join((HOME / "docs" / page).read_text(encoding="utf-8") for page in ("methods.md", "controls.md"))
    assert [word for word in METHODS if f"`{word}" not in text] == []


@pytest.fixture
def docs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let programs in docs be imported."""
    monkeypatch.syspath_prepend(str(HOME / "docs"))


@pytest.mark.usefixtures("docs")
def test_every_method_has_a_card_with_its_defaults() -> None:
    from robustkd.methods import METHODS

    cards = importlib.import_module("method_cards")
    sections = {section.partition("\n")[0]: section for section in cards.write_page().split("\n## ")[1:]}
    assert sorted(word for title in sections for word in title.split(", ")) == sorted(METHODS)
    hinton = sections["hinton, clean_teacher"]
    assert "| `temperature` | number above 0 | 4 |" in hinton
    assert re.search(r"Cost of a step: `hinton` 1\.\d\d of the time", hinton)
    amkd = sections["amkd, amkd_annealed, amkd_bss"]
    assert "| hyperparameter | value | amkd | amkd_annealed | amkd_bss |" in amkd
    assert re.search(r"\| `boundary` \|[^|]*\| 1 \| 0 \| 1 \|", amkd)


def test_the_readme_is_short_and_its_python_compiles() -> None:
    lines = (HOME / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 200
    import robustkd

    for block in code_blocks(HOME / "README.md"):
        names = [node.names for node in ast.walk(ast.parse(block)) if isinstance(node, ast.ImportFrom)]
        assert {alias.name for group in names for alias in group} <= set(robustkd.__all__)


def test_the_page_on_python_runs_as_written(tmp_path: Path) -> None:
    run_page("python.md", tmp_path)


def names_of_tests(path: Path) -> set[str]:
    """Return the names of the tests in a file."""
    functions = (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.FunctionDef)
    )
    return {function.name for function in functions if function.name.startswith("test_")}


def test_every_line_on_faults_names_a_test_that_exists() -> None:
    page = (HOME / "docs" / "faults.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| cause ")]
    assert len(rows) > 20
    for row in rows:
        cause, effect, remedy, test = (cell.strip() for cell in row.strip("|").split(" | "))
        assert all((cause, effect, remedy)), row
        path, _, name = test.strip("`").partition("::")
        assert name in names_of_tests(HOME / path), f"{test}: there is no such test"


@pytest.mark.slow
def test_the_page_on_notebooks_runs_as_written(tmp_path: Path) -> None:
    run_page("notebook.md", tmp_path)


@pytest.mark.parametrize("name", ["python.md", "notebook.md", "networks.md"])
def test_the_code_of_a_page_compiles(name: str) -> None:
    blocks = code_blocks(HOME / "docs" / name)
    assert blocks
    for block in blocks:
        ast.parse(block)


def tables_below(heading: str, page: str) -> list[list[list[str]]]:
    """Return the cells of the tables below a heading of a page, without their own headings."""
    text = (HOME / "docs" / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    return [
        [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]] for table in tables
    ]


def table_below(heading: str) -> list[list[str]]:
    """Return the cells of the first table below a heading of docs/verdicts.md."""
    return tables_below(heading, "verdicts.md")[0]


def test_the_documented_power_is_that_of_the_tables() -> None:
    table = pd.read_csv(HOME / "benchmarks" / "verdicts-power.csv")
    table = table[table["seeds"] == 0.9].set_index(["images", "gain", "comparisons"])
    rows = table_below("Power")
    assert len(rows) == 9
    for images, gain, two, seeds_two, many, seeds_many in rows:
        for comparisons, shares, seeds in ((2, two, seeds_two), (28, many, seeds_many)):
            line = table.loc[(float(images), float(gain), comparisons)]
            found = [100 * line[f"{n} seeds"] for n in (5, 10, 20)]
            assert [float(x) for x in shares.split(",")] == pytest.approx(found, abs=0.51)
            number = seeds.split()[0].replace("none", "nan")
            assert float(number) == pytest.approx(line["seeds for 80 %"], nan_ok=True)
    designs = pd.read_csv(HOME / "benchmarks" / "verdicts-extend.csv").set_index(["design", "images"])
    for name, runs, *shares in table_below("More seeds for the best methods"):
        assert int(runs) == designs.loc[(name, 0.0), "runs"]
        found = [100 * designs.loc[(name, images), what] for images in (0.0, 0.25) for what in ("power", "error")]
        assert [float(x) for x in shares] == pytest.approx(found, abs=0.51)


def test_the_documented_losses_of_early_stopping_are_those_of_the_table() -> None:
    table = pd.read_csv(HOME / "benchmarks" / "early-stopping.csv")
    table = table[table["rule"] != "mean of 10"].reset_index(drop=True)
    rows = table_below("Early stopping")
    assert [row[1] for row in rows] == table["rule"].tolist()
    columns = ["recorded regret", "recorded sd", "simulated regret", "simulated sd of choice"]
    for (_, _, *values), (_, line) in zip(rows, table.iterrows(), strict=True):
        assert [float(x) for x in values] == pytest.approx([line[name] for name in columns], abs=0.051)


def test_the_documented_errors_are_those_of_the_table() -> None:
    table = pd.read_csv(HOME / "benchmarks" / "verdicts-error.csv").set_index(["setting", "seeds"])
    rows = table_below("Error")
    assert [row[0] for row in rows] == list(table.index.unique("setting"))
    for name, se_seeds, se_images, *shares in rows:
        assert float(se_seeds) == pytest.approx(table.loc[(name, 5), "se seeds"], abs=0.0051)
        assert float(se_images) == pytest.approx(table.loc[(name, 5), "se images"], abs=0.0051)
        for column, cell in zip(
            ("crossed, a comparison", "crossed, a study", "seeds, a comparison"), shares, strict=True
        ):
            measured = [100 * table.loc[(name, n), column] for n in (5, 10)]
            assert [float(x) for x in cell.split(", ")] == pytest.approx(measured, abs=0.051)


def numbers_in(text: str) -> list[float]:
    """Return the numbers in a text."""
    return [float(number) for number in re.findall(r"\d+(?:\.\d+)?", text)]


def read_selection_table(name: str, *index: str) -> pd.DataFrame:
    """Return a table of benchmarks/selection.py, by the columns of an index."""
    table = pd.read_csv(HOME / "benchmarks" / f"selection-{name}.csv")
    return table.set_index(list(index)) if index else table


def test_the_documented_error_of_selections_is_that_of_the_tables() -> None:
    table = read_selection_table("sequential", "setting", "screened", "gain")
    over_images = ["normal", "image effects of 0.65 points", "heavy tails", "strong skew of methods"]
    for row, settings in zip(
        tables_below("Measured", "selecting.md")[0], (["over seeds, sd 0.9"], over_images), strict=True
    ):
        for cell, screened in zip(row[1:4], (1, 3, 14), strict=True):
            measured = [100 * table.loc[(setting, screened, 0.0), "any finalist"] for setting in settings]
            assert numbers_in(cell.partition(" of ")[2] or cell) == pytest.approx(measured, abs=0.051)
        for setting in settings:
            assert float(row[4]) == pytest.approx(table.loc[(setting, 1, 0.0), "mean seeds"], abs=0.051)
    null = read_selection_table("null")
    text = (HOME / "docs" / "selecting.md").read_text(encoding="utf-8").partition('a false "better" in ')[2]
    shares = [float(share) for share in re.findall(r"([\d.]+) %", text.partition(", after")[0])]
    assert shares == pytest.approx([100 * share for share in null["any finalist"]], abs=0.051)
    of_three = null[null["screened"] == 3]
    assert float(text.partition(", after ")[2].split()[0]) == pytest.approx(of_three["mean seeds"].mean(), abs=0.51)


def test_the_documented_power_of_selections_is_that_of_the_table() -> None:
    table = read_selection_table("sequential", "setting", "screened", "gain")
    rows = tables_below("Measured", "selecting.md")[1]
    assert len(rows) == 5
    for gain, *cells in rows:
        setting = "2,000 images" if "test images" in gain else "over seeds, sd 0.9"
        for screened, (power, seeds) in zip((1, 3, 14), (cells[:2], cells[2:4], cells[4:]), strict=True):
            line = table.loc[(setting, screened, float(gain.partition(",")[0]))]
            assert numbers_in(power) == pytest.approx([100 * line["a finalist"]], abs=0.51)
            assert float(seeds) == pytest.approx(line["mean seeds"], abs=0.051)


def test_the_documented_ranking_by_noisy_labels_is_that_of_the_table() -> None:
    table = read_selection_table("score", "noise", "smallest class", "rows", "score")
    rows = tables_below("Measured", "selecting.md")[2]
    assert len(rows) == 6
    for setting, *cells in rows:
        noise, _, classes = setting.replace("none", "symmetric 0").partition(", ")
        for cell, score in zip(cells, table.index.unique("score"), strict=True):
            lines = [table.loc[(noise, 0.1 if "uneven" in classes else 1.0, n, score)] for n in (135, 1000)]
            ranks, regrets = numbers_in(cell)[::2], numbers_in(cell)[1::2]
            assert ranks == pytest.approx([line["rank correlation"] for line in lines], abs=0.0051)
            assert regrets == pytest.approx([line["regret"] for line in lines], abs=0.051)


def test_the_documented_searches_are_those_of_the_table() -> None:
    table = read_selection_table("grid").groupby(["search", "budget"]).mean(numeric_only=True)
    rows = tables_below("Measured", "selecting.md")[3]
    assert len(rows) == 9
    names = {"plain halving": "halving", "three methods at random": "random choice"}
    for name, cost, regret, share in rows:
        search, budget = names.get(name, name), numbers_in(cost)[0] / 100 or 0.15  # a choice at random costs nothing
        line = table.loc[(search, budget)]
        assert float(regret) == pytest.approx(line["regret of the winner"], abs=0.0051)
        assert numbers_in(share) == pytest.approx([100 * line["winners within 0.5 points"]], abs=0.51)


# --- commands ---------------------------------------------------------------------------------------------------------


def documented_commands(page: Path) -> list[str]:
    """Return the command lines of a page, without those that leave out a part."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = re.findall(
        r"^(?:\$ )?(robustkd .+)$|`(robustkd [^`]+)`|^<!-- output of: (robustkd [^>]+) -->", text, re.MULTILINE
    )
    commands = [" ".join("".join(line).partition("  #")[0].split()) for line in lines]
    return [command for command in commands if "..." not in command]


@pytest.mark.parametrize("page", [HOME / "README.md", *PAGES], ids=lambda page: page.name)
def test_every_command_in_the_pages_has_the_options_that_it_is_given(page: Path) -> None:
    for command in documented_commands(page):
        try:
            app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
        except UnknownOptionError as error:
            pytest.fail(f"{command}: {error}")
        except CycloptsError:
            pass  # a placeholder, a part of a command, or a sentence that begins with the name of the program


# --- outputs.py -------------------------------------------------------------------------------------------------------


def test_the_outputs_in_the_pages_are_those_of_today() -> None:
    done = subprocess.run([sys.executable, "docs/outputs.py", "--check"], cwd=HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "README.md:" in done.stdout, "the README's output is among those that were checked"


@pytest.mark.usefixtures("docs")
@pytest.mark.parametrize(
    ("expected", "missing"),
    [
        ("$ robustkd compare\na table\n──────\n1.0  2.0\nand a sentence", None),
        ("a table\n...\nand a\nsentence", None),
        ("a table\n1.0\n2.0\nand a sentence", None),
        ("a table\nand a sentence", "a table and a sentence"),
        ("and a sentence\n...\na table", "a table"),
        ("a table\n────\n1.0  2.1", "a table 1.0 2.1"),
    ],
)
def test_outputs_may_be_shortened_and_wrapped_but_not_changed(expected: str, missing: str | None) -> None:
    output = "a table\n━━━━━━━━━\n1.0    2.0\nand a sentence\n"
    assert importlib.import_module("outputs").find_missing(expected, output) == missing


@pytest.mark.usefixtures("docs")
def test_a_stale_output_is_reported_with_its_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, page = importlib.import_module("outputs"), tmp_path / "page.md"
    monkeypatch.setattr(outputs, "HOME", tmp_path)
    monkeypatch.setattr(outputs, "execute", lambda command, folder: f"printed by {command}\n")
    monkeypatch.setattr(outputs, "prepare_folder", lambda folder, photos: None)
    block = "<!-- output of: robustkd {} -->\n```\nprinted by robustkd {}\n```\n"
    page.write_text(
        "# Page\n\n" + block.format("one", "one") + block.format("two", "2") + block.format("x:photos", "3")
    )
    assert outputs.check_pages([page], None) == ["page.md:7: `robustkd two` does not print this: printed by robustkd 2"]


# --- equations.py -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("docs")
@pytest.mark.parametrize(
    ("text", "tex"),
    [
        ("G_l = A_l A_{l+1}^T / (h w)", r"G_{l} = A_{l} A_{l + 1}^{T} / ( h w )"),
        ("d_ij != p_t,k <- x~", r"d_{i j} \neq p_{t , k} \leftarrow \tilde{x}"),
        ("mean_i -log p'_i", r"\operatorname{mean}_{i}\, - \log\, p'_{i}"),
        ("sum_{l != k} ||a . v||_F^2", r"\sum_{l \neq k} \Vert a \cdot v \Vert_{F}^{2}"),
        ("rate min(e, 1)", r"\,\mathrm{rate}\, \min ( e , 1 )"),
        ("p_l a constant of the rate kept", r"p_{l} \text{ a constant of the rate kept }"),
        ("t^(1 / T) or L_tri", r"t^{1 / T} \text{ or } L_{\operatorname{tri}}"),
    ],
)
def test_the_notation_of_cards_is_written_as_tex(text: str, tex: str) -> None:
    assert importlib.import_module("equations").write_tex(text, {"rate"}) == tex


@pytest.mark.usefixtures("docs")
def test_the_equations_of_all_cards_are_mathematics() -> None:  # which building the site draws, or fails
    page = importlib.import_module("method_cards").write_page()
    formulas = re.findall(r"\$\$?([^$]+)\$\$?", page)
    assert len(formulas) > 80
    left = [line for line in page.splitlines() if line.startswith("    ") and " = " in line]
    assert left == [], "an equation is still text"


@pytest.mark.usefixtures("docs")
def test_a_block_with_phases_is_a_table_and_one_without_equations_is_kept() -> None:
    translate = importlib.import_module("equations").translate_blocks
    card = "Title\n\n    first     L = x,   x = y    no labels;\n              y = 1\n    second    plain training\n\nEnd\n"
    rows = [
        "|  |  |  |  |",
        "| --- | --- | --- | --- |",
        r"| first | $L = x ,$ | $x = y$ | $\text{ no labels } , y = 1$ |",
        "| second | plain training |  |  |",
    ]
    assert [line for line in translate(card, ()).splitlines() if line.startswith("|")] == rows
    plain = "Title\n\n    word    what it is\n"
    assert translate(plain, ()) == plain


@pytest.mark.usefixtures("docs")
def test_pictures_are_of_the_studies_as_they_are_recorded() -> None:
    for name, picture in importlib.import_module("pictures").PICTURES.items():
        with Image.open(HOME / "docs" / name) as image:
            assert image.info["Source"] == picture.source(), "python docs/pictures.py"


def test_the_documented_replays_are_those_of_the_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    replay = importlib.import_module("replay")
    races, ranking, averages = tables_below("In recorded studies", "selecting.md")
    table = pd.read_csv(HOME / "benchmarks" / "replay-races.csv").groupby(["search", "budget"]).mean(numeric_only=True)
    assert len(races) == 10
    for name, *cells in races:
        search, budget = name.partition(", ")[0], (numbers_in(name) or [15.0])[0] / 100  # two searches have no budget
        line = table.loc[(search, budget)]
        *shares, within = [
            100 * line[name] for name in ("cost of the search", "cost with confirmation", "within 0.5 points")
        ]
        assert numbers_in(" ".join([*cells[:2], cells[3]])) == pytest.approx([*shares, within], abs=0.51)
        regrets = [line[name] for name in ("regret of the winner", "regret on other images")]
        assert [float(cells[2]), float(cells[4])] == pytest.approx(regrets, abs=0.0051)
    table = pd.read_csv(HOME / "benchmarks" / "replay-ranking.csv")
    family = table["scenario"].str.rstrip("0123456789.").replace({"noise": "label noise"})
    table = table.groupby([family, "share", "score"]).mean(numeric_only=True)
    assert len(ranking) == 9
    for name, share, *cells in ranking:
        for cell, score in zip(cells, replay.SCORES, strict=True):
            line = table.loc[(name, float(share), score)]
            rank, regret = cell.rstrip(")").split(" (")
            assert float(rank) == pytest.approx(line["rank correlation"], abs=0.0051)
            assert float(regret) == pytest.approx(line["regret of the first"], abs=0.051)
    table = pd.read_csv(HOME / "benchmarks" / "replay-averages.csv").pivot(index="scenario", columns="network")
    assert len(averages) == 8
    for name, *cells in averages:
        measured = table["sd of the difference"].loc[name.strip("`"), ["last", "average", "stopped early"]]
        assert [float(cell) for cell in cells] == pytest.approx([*measured], abs=0.0051)


def test_the_documented_ranking_on_fashion_mnist_is_that_of_the_table() -> None:
    table = pd.read_csv(HOME / "benchmarks" / "replay-fashion.csv").set_index(["score", "scenario"])["rank correlation"]
    text = (
        (HOME / "docs" / "selecting.md")
        .read_text(encoding="utf-8")
        .partition("the rank correlation of balanced accuracy")[2]
    )
    numbers = [float(number) for number in re.findall(r"0\.\d\d", text)[:6]]
    noise, imbalance = (table["balanced accuracy", f"fraction0.1111+{name}"] for name in ("noise0.4", "imbalance0.2"))
    assert numbers == pytest.approx([*noise, *imbalance], abs=0.0051)


@pytest.mark.usefixtures("docs")
def test_the_tables_of_digits_are_those_of_the_recorded_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    packed, defaults, published = (importlib.import_module(name) for name in ("packed", "defaults", "published"))
    methods = read_method_list(str(HOME / "benchmarks" / "digits.yaml"))
    for file in (packed.FOLDER / "digits").iterdir():
        packed.unpack(file, tmp_path / "digits")
        assert ",".join(packed.read_packed(file)[0].record.methods) == methods
    compare.main([str(tmp_path / "digits")], csv=tmp_path / "tables", markdown=tmp_path / "table.md")
    rows = [line for line in (tmp_path / "table.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    page = (HOME / "docs" / "digits.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in rows if not re.search(", (ema|logit-adjusted) ", line) and line not in page] == []
    capsys.readouterr()
    for script, words, place in (
        (published, [str(tmp_path / "tables" / "across.csv")], "digits.md"),
        (
            defaults,
            [str(tmp_path / "tables" / "across.csv"), "--former", str(HOME / "benchmarks" / "sweep.csv")],
            "methods-scaling.md",
        ),
    ):
        script.main(words)
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
        text = (HOME / "docs" / place).read_text(encoding="utf-8").splitlines()
        assert lines
        assert [line for line in lines if line not in text] == []


PUBLISHED = (
    "baseline,hinton,bss,fitnet,fsp,at,sp,rkd_d,rkd_a,rkd_da,one,dml,amkd,amkd_annealed"  # on a slice of CIFAR-10
)


@pytest.mark.usefixtures("docs")
@pytest.mark.parametrize(
    ("folder", "methods", "listed"),
    [
        ("fashion-defaults", f"{HOME / 'benchmarks' / 'defaults.yaml'}", 8),
        ("cifar10", PUBLISHED, 2),
    ],
    ids=["fashion", "cifar10"],
)
def test_the_defaults_on_other_data_are_those_of_the_recorded_studies(
    folder: str,
    methods: str,
    listed: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    packed, defaults = (importlib.import_module(name) for name in ("packed", "defaults"))
    for file in (packed.FOLDER / folder).iterdir():
        packed.unpack(file, tmp_path / "studies")
        assert ",".join(packed.read_packed(file)[0].record.methods) == read_method_list(methods)
    compare.main([str(tmp_path / "studies")], csv=tmp_path / "tables")
    capsys.readouterr()
    defaults.main([str(tmp_path / "tables" / "across.csv")])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| `")]
    assert len(lines) == listed
    page = (HOME / "docs" / "methods-scaling.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line not in page] == []


@pytest.mark.parametrize(
    ("study", "differences"),
    [
        ("cifar10n", {"rkd_da": -1.2, "sp": -1.1, "amkd": -1.5, "hinton": -1.9}),
        ("fashion-controls", {"hinton": -0.1}),
    ],
)
def test_where_both_are_stopped_early_differences_from_longer_training_are_as_the_pages_say(
    study: str, differences: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    packed = importlib.import_module("packed")
    (file,) = packed.FOLDER.glob(f"{study}-*")
    runs = {(r.run.method, r.run.seed): r.early for r in packed.read_packed(file)[0].results if r.run.role != "teacher"}
    accuracy = {run: 100 * early.metrics["balanced_accuracy"] for run, early in runs.items()}
    seeds = sorted(seed for method, seed in accuracy if method == "baseline")
    longer = [accuracy["longer(ratio=5)", seed] for seed in seeds]
    for method, difference in differences.items():
        test = ttest_rel([accuracy[method, seed] for seed in seeds], longer).confidence_interval()
        assert (test.low + test.high) / 2 == pytest.approx(difference, abs=0.05)
        assert test.low < 0 < test.high


def test_every_recorded_study_is_listed_with_its_machine_commit_and_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    packed = importlib.import_module("packed")
    table = packed.describe_files(sorted(packed.FOLDER.rglob(f"*{packed.SUFFIX}")))
    assert len(table) > 10
    page = (HOME / "docs" / "results.md").read_text(encoding="utf-8").splitlines()
    assert [line for line in table if line not in page] == []


@pytest.mark.usefixtures("docs")
def test_the_signs_on_a_slice_of_cifar_10_are_those_of_the_recorded_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(HOME / "benchmarks"))
    packed, published = (importlib.import_module(name) for name in ("packed", "published"))
    for file in (packed.FOLDER / "cifar10").iterdir():
        packed.unpack(file, tmp_path / "studies")
    compare.main([str(tmp_path / "studies")], csv=tmp_path / "tables")
    capsys.readouterr()
    published.main([str(tmp_path / "tables" / "across.csv")])
    *table, summary = [line for line in capsys.readouterr().out.splitlines() if line]
    page = (HOME / "docs" / "cifar10.md").read_text(encoding="utf-8")
    assert [line for line in table if line not in page.splitlines()] == []
    numbers = re.findall(r"-?\d+(?:\.\d+)?", summary)
    assert [number for number in numbers if number not in page.partition("## The published table")[2]] == []
