"""clean: the data as they are, noisy or not."""

from dataclasses import dataclass

from robustkd.data.view import View
from scenarios.base import Scenario


@dataclass(frozen=True)
class Clean(Scenario):
    """Nothing is changed."""

    def apply(self, view: View) -> View:
        return view
