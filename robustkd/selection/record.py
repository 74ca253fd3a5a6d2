"""What a selection records: selection.json, as a validated model."""

from typing import Any

import pandas as pd
from pydantic import Field

from robustkd.evaluation.results import Result
from robustkd.selection.budget import Costs
from robustkd.selection.confirm import LookFinding, State
from robustkd.selection.race import Reason, Rung, Standing
from robustkd.study.results import Document


class CostsRecord(Result):
    """What training costs; see `robustkd.selection.budget.Costs`."""

    contenders: dict[str, float]
    teacher: float
    baseline: float

    def unpack(self) -> Costs:
        """Return the costs."""
        return Costs(self.contenders, self.teacher, self.baseline)


class StandingRecord(Result):
    """A contender after a rung; see `robustkd.selection.race.Standing`."""

    contender: str
    score: float | None
    behind: float
    noise: float
    kept: bool
    reason: Reason


class RungRecord(Result):
    """A finished rung.

    Attributes:
        share, seeds, places: see `robustkd.selection.race.Rung`.
        seconds: of training that it took, of one job, teachers included; of the screening, that its study took so far.
        standings: of its contenders, the best first.
    """

    share: float
    seeds: int
    places: int
    seconds: float
    standings: list[StandingRecord]

    @property
    def kept(self) -> list[str]:
        """Who continues."""
        return [standing.contender for standing in self.standings if standing.kept]


class EvidenceRecord(Result):
    """A finalist's difference from a reference; see `robustkd.selection.confirm.Evidence`."""

    difference: float
    p: float
    low: float
    high: float
    sd_seeds: float
    se_images: float


class FindingRecord(Result):
    """What a look shows of a finalist; see `robustkd.selection.confirm.LookFinding`."""

    finalist: str
    seeds: int
    level: float
    state: State
    evidence: dict[str, EvidenceRecord]
    stopped_alike: float | None

    @property
    def gain(self) -> float:
        """The difference from the reference that is harder to surpass."""
        return min(each.difference for each in self.evidence.values())


class LookRecord(Result):
    """A look of the confirmation.

    Attributes:
        seeds: so far.
        seconds: of training so far in the confirmation, of one job, the screening included.
    """

    seeds: int
    seconds: float
    findings: list[FindingRecord]


class SelectionRecord(Document):
    """A selection: selection.json.

    Attributes:
        options: as given.
        dataset, scenario: what it is about.
        contenders: of the race, as typed.
        left_out: methods that cannot be selected, and why.
        costs: as they were timed before the race, so that a continued selection is planned as it was.
        budget: seconds of training, of one job.
        grid: likewise, of every contender and plain training with all seeds.
        rungs, looks: as far as they are finished.
        screening: rungs on the test set, of those that the race left, as far as they are finished.
        planned_looks: numbers of seeds.
        race_study, final_study: their folders.
        winner: None if there is none, or none yet.
        largest_gain: that no finalist is shown to exceed; None before the end.
        student: path of the network to ship.
        command: that reproduces the confirmation.
        answer: in sentences; empty before the end.
    """

    options: dict[str, Any]
    dataset: str
    scenario: str
    contenders: list[str]
    left_out: dict[str, str]
    costs: CostsRecord
    budget: float
    grid: float
    rungs: list[RungRecord] = Field(default_factory=list)
    screening: list[RungRecord] = Field(default_factory=list)
    planned_looks: list[int] = Field(default_factory=list)
    looks: list[LookRecord] = Field(default_factory=list)
    race_study: str
    final_study: str | None = None
    winner: str | None = None
    largest_gain: float | None = None
    student: str | None = None
    command: str | None = None
    answer: str = ""

    @property
    def entrants(self) -> list[str]:
        """Those that the last finished rung kept, or all contenders where there is no race: they enter the confirmation."""
        return self.rungs[-1].kept if self.rungs else self.contenders

    @property
    def finalists(self) -> list[str]:
        """Those that the last finished rung of the screening kept, or all entrants where there is none."""
        return self.screening[-1].kept if self.screening else self.entrants

    @property
    def seconds(self) -> float:
        """Of training so far. The last step of the confirmation's study has the seconds of all before it."""
        confirmation = [0.0, *(rung.seconds for rung in self.screening), *(look.seconds for look in self.looks)]
        return sum(rung.seconds for rung in self.rungs) + confirmation[-1]

    @property
    def last_findings(self) -> list[FindingRecord]:
        """The last of each finalist."""
        last = {finding.finalist: finding for look in self.looks for finding in look.findings}
        return list(last.values())

    def race_table(self) -> pd.DataFrame:
        """Return a row per rung and contender, the best of each rung first; the rungs of the screening are the last."""
        rungs = [(rung, "held-out") for rung in self.rungs] + [(rung, "test") for rung in self.screening]
        rows = [
            {
                "rung": number,
                "share": rung.share,
                "seeds": rung.seeds,
                "rows": judged_on,
                "method": standing.contender,
                **standing.model_dump(exclude={"contender"}),
            }
            for number, (rung, judged_on) in enumerate(rungs, 1)
            for standing in rung.standings
        ]
        columns = ["rung", "share", "seeds", "rows", "method", "score", "behind", "noise", "kept", "reason"]
        return pd.DataFrame(rows, columns=columns)

    def finalist_table(self) -> pd.DataFrame:
        """Return a row per finalist and reference, as of the finalist's last look."""
        rows = [
            {
                "method": finding.finalist,
                "reference": name,
                "seeds": finding.seeds,
                **evidence.model_dump(include={"difference", "low", "high", "p"}),
                "level": finding.level,
                "verdict": finding.state,
            }
            for finding in self.last_findings
            for name, evidence in finding.evidence.items()
        ]
        columns = ["method", "reference", "seeds", "difference", "low", "high", "p", "level", "verdict"]
        return pd.DataFrame(rows, columns=columns)


def record_rung(rung: Rung, standings: list[Standing], seconds: float) -> RungRecord:
    """Return the record of a finished rung."""
    records = [StandingRecord(**standing._asdict()) for standing in standings]
    return RungRecord(share=rung.share, seeds=rung.seeds, places=rung.places, seconds=seconds, standings=records)


def record_finding(finding: LookFinding, stopped_alike: float | None) -> FindingRecord:
    """Return the record of a finding.

    Args:
        stopped_alike: the difference from plain training where both are stopped early.
    """
    evidence = {
        name: EvidenceRecord(
            difference=each.difference,
            p=each.p,
            low=each.low,
            high=each.high,
            sd_seeds=each.spread.seeds,
            se_images=each.spread.images,
        )
        for name, each in finding.evidence.items()
    }
    return FindingRecord(
        finalist=finding.finalist,
        seeds=finding.seeds,
        level=finding.level,
        state=finding.state,
        evidence=evidence,
        stopped_alike=stopped_alike,
    )
