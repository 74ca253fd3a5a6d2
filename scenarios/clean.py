"""clean: the data unchanged."""

from dataclasses import dataclass

from robustkd.data.view import View
from scenarios.base import Scenario


@dataclass(frozen=True)
class Clean(Scenario):
    """The identity."""

    family = "clean"

    def apply(self, view: View) -> View:
        return view
