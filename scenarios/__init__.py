"""Scenario builders: what is done to labels and class sizes before anything is trained. The table of contents."""

from functools import reduce

from robustkd.registry import Entry, Registry
from robustkd.specs import split_at
from scenarios.base import Scenario

SCENARIOS = Registry(
    "scenario",
    "scenarios",
    "robustkd.scenarios",
    {
        "clean": Entry("clean:Clean", "the data as they are"),
        "noise": Entry("noise:Noise", "symmetric label noise at a rate, as in noise0.4"),
        "pair": Entry("pair:Pair", "each class shown as the next one at a rate, as in pair0.45"),
        "asym": Entry("asym:Asymmetric", "labels confused by a published map, yours or a net's, as in asym0.4"),
        "matrix": Entry("matrix:Matrix", "label noise by any transition matrix, as in matrix(file=T.csv)"),
        "tail_noise": Entry(
            "frequency:FrequencyNoise", "more noise where samples are few, as in tail_noise0.2", {"power": -0.5}
        ),
        "head_noise": Entry(
            "frequency:FrequencyNoise", "more noise where samples are many, as in head_noise0.2", {"power": 0.5}
        ),
        "instance": Entry("instance:Instance", "label noise that the image decides, as in instance0.4"),
        "human": Entry("human:Human", "labels that people gave, as in human(column=worse, file=CIFAR-10_human.pt)"),
        "openset": Entry("openset:OpenSet", "foreign images under kept labels, as in openset(0.2, source=svhn)"),
        "imbalance": Entry("imbalance:Imbalance", "class sizes along a power law with gamma, as in imbalance0.2"),
        "longtail": Entry("longtail:LongTail", "class sizes that fall exponentially to 1/F, as in longtail100"),
        "step": Entry("step:Step", "half of the classes thinned to 1/F, as in step10"),
        "counts": Entry("counts:Counts", "class sizes that a file names, as in counts(file=sizes.csv)"),
        "fraction": Entry("fraction:Fraction", "a share of every class, as in fraction0.1"),
        "manifest": Entry(
            "manifest:Manifest", "rows and labels that a manifest names, as in manifest(file=pruned.csv)"
        ),
    },
)


def parse(text: str) -> Scenario:
    """The scenario that a chain of words stands for.

    >>> parse("imbalance0.2+noise0.4").steps[1]
    Noise(rate=0.4, convention='exclusive', targets='uniform', draws='exact')

    Raises:
        robustkd.errors.UsageError: the text breaks the grammar, names no scenario, or a value breaks its bounds.
    """
    words = [SCENARIOS.parse(part) for part in split_at(text, "+")]
    steps: list[Scenario] = [word.load()(**word.kwargs()) for word in words]
    return reduce(lambda chain, step: chain >> step, steps)
