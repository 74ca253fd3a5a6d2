"""Scenario builders: what is done to labels and class sizes before anything is trained. The table of contents."""

from functools import reduce

from robustkd.words import Entry, Registry, split
from scenarios.base import Scenario

SCENARIOS = Registry(
    "scenario",
    "scenarios",
    "robustkd.scenarios",
    {
        "clean": Entry("clean:Clean", "the data as they are"),
        "noise": Entry("noise:Noise", "symmetric label noise at a rate, as in noise0.4"),
        "imbalance": Entry("imbalance:Imbalance", "class sizes along a power law with gamma, as in imbalance0.2"),
        "longtail": Entry("longtail:LongTail", "class sizes that fall exponentially to 1/F, as in longtail100"),
        "step": Entry("step:Step", "half of the classes thinned to 1/F, as in step10"),
    },
)


def parse(text: str) -> Scenario:
    """The scenario that a chain of words stands for.

    >>> parse("imbalance0.2+noise0.4").steps[1]
    Noise(rate=0.4, convention='exclusive')

    Raises:
        robustkd.words.UsageError: the text breaks the grammar, names no scenario, or a value breaks its bounds.
    """
    words = [SCENARIOS.read(part) for part in split(text, "+")]
    steps: list[Scenario] = [word.load()(**word.chosen()) for word in words]
    return reduce(lambda chain, step: chain >> step, steps)
