"""What an audit, a sweep and a comparison are asked for, by the command line as by their stages. No torch is imported here."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from pydantic import Field
from pydantic.dataclasses import dataclass

from robustkd.errors import UsageError
from robustkd.specs import split_at
from robustkd.study.options import DataOptions, StudyOptions
from robustkd.types import AtLeastTwo, Count, Positive


@dataclass(frozen=True, kw_only=True)
class AuditOptions(DataOptions):
    """Which labels are judged, by nets trained how, and what becomes of the suspicious ones."""

    dataset: Annotated[str, Parameter(parse=False)] = ""  # SPEC, which has no option
    scenario: str = "clean"
    """What is done to the training labels first: `noise0.2` shows how many known errors would be found in your data."""
    net: str = "wrn_10_2"
    """The net that judges, trained once per fold (see `robustkd models`)."""
    folds: AtLeastTwo = 5
    """How many parts the training rows are cut into; each is judged by a net trained on the others."""
    epochs: Count = 30
    """Epochs of each net. Many more and it learns wrong labels by heart, many fewer and it takes right ones for wrong."""
    batch: Count = 64
    """Samples per update."""
    lr: Positive = 0.1
    """Learning rate of SGD at the start."""
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of the epochs over which the rate rises from 0."""
    augment: bool = True
    """Move each image by up to an eighth of its side, and mirror it where the data set allows."""
    prune: bool = False
    """Write pruned.csv: a manifest of the training rows without the suspicious ones."""
    relabel: bool = False
    """Write relabelled.csv: a manifest of the training rows with the suspicious ones under their suggested labels."""
    keep: Count = 10
    """What pruning and relabelling leave of a class to train on, or all it has; of held-out rows a share in proportion."""
    show: Annotated[int, Field(ge=0, le=200)] = 200
    """Images on the contact sheet at most."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Decides the folds, the nets' first weights, and the scenario's draw."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """What nets compute in; auto takes bf16 where the hardware has it and it is the faster."""
    device: str = "auto"
    """cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""
    threads: Count | None = None
    """CPU threads; the machine's cores where not given."""
    out: str = "audits"
    """The folder that audits are written to."""
    fresh: bool = False
    """Train everything again, whatever is there already; what was there is kept under another name."""
    plug: str | None = None
    """Python files of your own, with commas between, that offer MODELS or SCENARIOS."""


@dataclass(frozen=True, kw_only=True)
class SweepOptions(StudyOptions):
    """Studies that differ in data set and scenario alone; every other word is one for all of them.

    >>> [(one.dataset, one.scenario) for one in SweepOptions(scenarios="clean,noise(0.2, convention=inclusive)").studies()]
    [('digits', 'clean'), ('digits', 'noise(0.2, convention=inclusive)')]
    """

    dataset: Annotated[str, Parameter(parse=False)] = ""  # these two stand in the lists
    scenario: Annotated[str, Parameter(parse=False)] = ""
    scenarios: str
    """Scenarios with commas between, as in clean,noise0.4,imbalance0.2+noise0.4; each once (see `robustkd scenarios`)."""
    datasets: str = "digits"
    """Data sets with commas between (see `robustkd datasets`); one with a comma in its path in quotes."""
    name: str | None = None
    """The sweep's name; from its studies where not given."""

    def studies(self) -> Iterator[StudyOptions]:
        """What each study is asked for, data set by data set.

        Raises:
            robustkd.errors.UsageError: a list has a hole, or a bracket or quote that is not closed.
        """
        # The name is the sweep's; a study takes its own from data set and scenario.
        own = {"scenarios", "datasets", "name"}
        shared: dict[str, Any] = {name: value for name, value in asdict(self).items() if name not in own}
        for dataset in dict.fromkeys(_unquoted(part) for part in _listed("datasets", self.datasets)):
            for scenario in dict.fromkeys(_listed("scenarios", self.scenarios)):
                yield StudyOptions(**{**shared, "dataset": dataset, "scenario": scenario})


def _listed(option: str, text: str) -> list[str]:
    """The parts of an option's value."""
    try:
        return split_at(text, ",")
    except UsageError as error:
        raise UsageError(f"--{option} {error}") from None


def _unquoted(text: str) -> str:
    """A word without the quotes around it."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


@dataclass(frozen=True, kw_only=True)
class StudySelection(StudyOptions):
    """Which study is meant, by its words; none, where no scenario is given."""

    scenario: str = ""
    """What was done to the training labels of the study that is meant."""
