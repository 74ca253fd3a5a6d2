"""The methods of a study that its pictures show."""

from dataclasses import dataclass, field

from robustkd.study.comparison import Comparison
from robustkd.study.pairing import HEADLINE
from robustkd.study.results import BASELINE
from robustkd.study.verdicts import ORACLE_VERDICT

MAX_LINES = 5  # methods with lines of their own, in addition to the baseline


@dataclass(frozen=True)
class Examples:
    """The methods that a study's pictures show.

    Attributes:
        reference: the baseline that the best method is compared with, if there is one.
        best: the best method, if there is any.
        methods: the best first, the worst last.
    """

    reference: str | None
    best: str | None
    methods: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """Those with lines of their own, the baseline first."""
        return [*([self.reference] if self.reference else []), *self.methods]

    @property
    def pair(self) -> list[str]:
        """The baseline and the best method, as far as there are any."""
        return [name for name in (self.reference, self.best) if name]

    @property
    def roles(self) -> dict[str, str]:
        """The role of the methods of the pair: "baseline" or "best"."""
        named = {self.reference: "baseline", self.best: "best"}
        return {name: role for name, role in named.items() if name is not None}


def select_examples(comparison: Comparison) -> Examples:
    """Select the best and the worst method, and of the others those with a verdict, the largest differences first."""
    table = comparison.verdicts[comparison.verdicts["difference"].notna()].sort_values("difference", ascending=False)
    table = table[table["verdict"] != ORACLE_VERDICT]
    if len(table):
        decided = table[table["verdict"].isin(["better", "worse"])]["difference"].astype(float).abs()
        by_size = decided.sort_values(ascending=False, kind="stable").index
        selected = list(dict.fromkeys([table.index[0], table.index[-1], *by_size]))
        if len(table) <= MAX_LINES:
            selected += [name for name in table.index if name not in selected]
        methods = [name for name in table.index if name in selected[:MAX_LINES]]
        return Examples(str(table["reference"].iloc[0]), methods[0], methods)
    column = f"{HEADLINE}_mean"
    shipped = [name for name in comparison.summary.index if name in comparison.record.ranked_methods]
    if column not in comparison.summary or not shipped:
        return Examples(None, None)
    ranked = comparison.summary.loc[shipped, column].sort_values(ascending=False, kind="stable").index
    others = [name for name in ranked if name != BASELINE][:MAX_LINES]
    return Examples(BASELINE if BASELINE in ranked else None, others[0] if others else None, others)
