"""Scenarios: controlled changes of labels, class sizes and images before training. The registry and the parser."""

from functools import reduce

from robustkd.errors import UsageError
from robustkd.registry import Entry, Registry
from robustkd.specs import split_at
from scenarios.base import Family, Scenario, find_family

SCENARIOS = Registry(
    "scenario",
    "scenarios",
    "robustkd.scenarios",
    {
        "clean": Entry("clean:Clean", "the data unchanged"),
        "noise": Entry("noise:Noise", "symmetric label noise at a rate, as in noise0.4"),
        "pair": Entry("pair:Pair", "each class mislabelled as the next one at a rate, as in pair0.45"),
        "asym": Entry(
            "asym:Asymmetric",
            "asymmetric label noise by a published or custom class map, as in asym0.4",
        ),
        "matrix": Entry("matrix:Matrix", "label noise by a transition matrix from a file, as in matrix(file=T.csv)"),
        "tail_noise": Entry(
            "frequency:FrequencyNoise", "more label noise in rare classes, as in tail_noise0.2", {"power": -0.5}
        ),
        "head_noise": Entry(
            "frequency:FrequencyNoise", "more label noise in frequent classes, as in head_noise0.2", {"power": 0.5}
        ),
        "instance": Entry("instance:Instance", "instance-dependent label noise, as in instance0.4"),
        "human": Entry(
            "human:Human", "human annotations from a file, as in human(column=worse, file=CIFAR-10_human.pt)"
        ),
        "openset": Entry("openset:OpenSet", "foreign images under unchanged labels, as in openset(0.2, source=svhn)"),
        "imbalance": Entry(
            "imbalance:Imbalance", "class sizes along a power law with exponent gamma, as in imbalance0.2"
        ),
        "longtail": Entry(
            "longtail:LongTail", "class sizes that decay exponentially to 1/F of the largest, as in longtail100"
        ),
        "step": Entry("step:Step", "half of the classes subsampled to 1/F, as in step10"),
        "counts": Entry("counts:Counts", "class sizes from a file, as in counts(file=sizes.csv)"),
        "fraction": Entry("fraction:Fraction", "a fraction of every class, as in fraction0.1"),
        "manifest": Entry("manifest:Manifest", "rows and labels from a manifest, as in manifest(file=pruned.csv)"),
    },
)


def parse(text: str) -> Scenario:
    """Parse a chain of scenarios joined by "+".

    >>> parse("imbalance0.2+noise0.4").steps[1]
    Noise(rate=0.4, convention='exclusive', targets='uniform', draws='exact')

    Raises:
        robustkd.errors.UsageError: The text is malformed, names an unknown scenario, or a value is out of bounds.
    """
    words = [SCENARIOS.parse(part) for part in split_at(text, "+")]
    steps: list[Scenario] = [word.load()(**word.kwargs()) for word in words]
    return reduce(lambda chain, step: chain >> step, steps)


def scenario_family(text: str) -> Family:
    """Return the family of a chain of scenarios as typed; `other` if it cannot be parsed here, such as one of a user's file.

    >>> [scenario_family(text) for text in ("noise0.4", "imbalance0.2+noise0.4", "fraction0.1", "mine")]
    ['label noise', 'both', 'other', 'other']
    """
    try:
        return find_family(parse(text))
    except UsageError:
        return "other"
