"""How the terms of every method scale with the sizes of the data: the table of docs/methods-scaling.md.

    python -m tests.contracts.method_scaling        writes the table

Each size is doubled in turn, and the gradient of each term is compared with that of the cross entropy: a weight that is right
for one size is right for another if the ratio of the two does not change. Networks that teach are certain of their
predictions, the others are undecided and slightly different. Doubled images are the same images with every pixel repeated, and
so are their maps; the logits are the same.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import fmean

import torch
import torch.nn.functional as F
from torch import Tensor

from robustkd import seeds
from robustkd.criteria.ce import CE
from robustkd.data.paired_views import PAIRED_VIEWS
from robustkd.method import Method
from robustkd.method_spec import MethodSpec
from robustkd.methods import METHODS
from robustkd.models import MODELS
from robustkd.models.build import build_network
from robustkd.models.net import Frozen, Network, StagedNetwork, eval_no_grad
from robustkd.training import build
from robustkd.types import Batch, Clock, DatasetInfo, Output

PAGE = Path(__file__).parents[2] / "docs" / "methods-scaling.md"
NETWORK = "resnet8"
CLOCK = Clock(4, 8)  # in the middle of a run, where terms with a schedule are active
SIDE, POOL = 8, 64  # of the images that batches are taken from
SEEDS = 2
CERTAIN, UNDECIDED = 30.0, 0.5  # standard deviations of logits
NOISE = 0.3  # of the weights of networks that learn, relative to the weights
PARTS = ("branches", "fusion")  # names of networks that take maps instead of images
SUPERVISED = re.compile(r"ce\b|labelled|joint|head")  # terms that are, or contain, a loss of the labels
PEERS = "K: the predictions of two undecided networks differ by less, about as 1 / sqrt(K)"
BOUNDARY = "K: which samples are near a boundary depends on the classes"
SMOOTHING = "K: the gradient towards equal probabilities, for an undecided network, falls as 1 / sqrt(K)"
UNLABELLED = "K: a squared error averaged over K; 25 is for ten classes, the authors use up to 150 for a hundred"
PRIOR = "K: the mean of undecided predictions differs less from the prior"
# What scales, and how, by method and term.
NOTES: dict[tuple[str, str], str] = {
    ("bss", "boundary"): BOUNDARY,
    ("amkd", "boundary"): BOUNDARY,
    ("amkd_bss", "boundary"): BOUNDARY,
    (
        "fsp",
        "flow",
    ): "H W: max-pooling keeps the largest of the pixels that are pooled; repeated pixels have no larger one",
    (
        "at",
        "at",
    ): "H W: the default weight is proportional to the area of the last map, which cancels the mean over positions",
    ("sp", "sp"): "batch: a mean of B^2 entries in rows of length 1, so it falls as 1 / B; 3000 is for batches of 64",
    ("mean_teacher", "mse"): "K: the default weight follows K; a fixed one would lose a factor of 4",
    ("tald", "gap"): "H W: 8/255 in each pixel is a distance that grows with the side, and the teacher's loss with it",
    ("one", "kl"): f"{PEERS}. H W: the branches convolve repeated pixels",
    ("ffcl", "mutual"): PEERS,
    ("ffcl", "virtual"): PEERS,
    ("dml", "kl/1"): PEERS,
    ("dml", "kl/2"): PEERS,
    ("kdcl", "kl/1"): PEERS,
    ("kdcl", "kl/2"): PEERS,
    ("psd", "self"): PEERS,
    ("mtkd_ssr", "review"): PEERS,
    ("matched_smoothing", "labels"): "K: its weight is measured, how unsure the teacher is; this teacher is certain",
    ("smooth", "labels"): SMOOTHING,
    ("dividemix", "unlabelled/1"): UNLABELLED,
    ("dividemix", "unlabelled/2"): UNLABELLED,
    ("dividemix", "prior/1"): PRIOR,
    ("dividemix", "prior/2"): PRIOR,
}


@dataclass(frozen=True)
class Sizes:
    """Repetitions of every pixel along both axes, classes, training samples, and samples of a batch."""

    repeats: int = 1
    classes: int = 4
    samples: int = 64
    batch: int = 16

    @property
    def shape(self) -> tuple[int, int, int]:
        return 1, SIDE * self.repeats, SIDE * self.repeats


BASE = Sizes()
DOUBLED = {"H W": Sizes(repeats=2), "K": Sizes(classes=8), "N": Sizes(samples=128), "batch": Sizes(batch=32)}
Factors = Mapping[str, Mapping[str, float | None]]  # by term and size


def repeat_pixels(x: Tensor, times: int = 2) -> Tensor:
    return x.repeat_interleave(times, 2).repeat_interleave(times, 3)


class RepeatedNetwork(StagedNetwork):
    """A network for images whose pixels are repeated twice along both axes, as are those of its maps."""

    def forward(self, images: Tensor) -> Output:
        output = super().forward(F.avg_pool2d(images, 2))
        return Output(output.logits, output.embedding, tuple(repeat_pixels(x) for x in output.maps))

    def iter_features(self, images: Tensor) -> Iterator[Tensor]:
        return (repeat_pixels(x) for x in super().iter_features(F.avg_pool2d(images, 2)))


def make_pool(sizes: Sizes, seed: int) -> Tensor:
    """Return the images that batches are taken from: (64, 1, H, W)."""
    return repeat_pixels(torch.rand(POOL, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed)), sizes.repeats)


@cache
def make_untrained(sizes: Sizes, seed: int) -> Network:
    """Return an untrained network with batch statistics of the pool."""
    net = build_network(
        MODELS.parse(NETWORK),
        shape=(1, SIDE, SIDE),
        classes=sizes.classes,
        mean=[0.5],
        std=[0.3],
        seed=seed,
        bf16=False,
    )
    if sizes.repeats == 2:
        net.__class__ = RepeatedNetwork  # the weights are those of the network for images half as large
    net.train()
    with torch.no_grad():
        for _ in range(20):
            net(make_pool(sizes, seed))
    return net.eval()


@torch.no_grad()
def scale_logits(net: Network, pool: Tensor, size: float) -> None:
    """Give the logits of the pool mean 0 for each class, so that all classes are predicted, and a standard deviation."""
    features = net(pool).embedding
    centred = (features - features.mean(dim=0)) @ net.head.weight.T
    net.head.weight.mul_(size / centred.std())
    net.head.bias.copy_(-net.head.weight @ features.mean(dim=0))


@cache
def make_teacher(sizes: Sizes, seed: int) -> Network:
    """Return a network that is certain of its predictions."""
    net = copy.deepcopy(make_untrained(sizes, seed))
    scale_logits(net, make_pool(sizes, seed), CERTAIN)
    return net


@cache
def make_student(sizes: Sizes, seed: int, number: int) -> Network:
    """Return an undecided network with noisy weights of the teacher."""
    net = copy.deepcopy(make_untrained(sizes, seed))
    random = torch.Generator().manual_seed(number)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if not name.startswith("head") and parameter.dim() > 1:
                parameter.add_(NOISE * parameter.std() * torch.randn(parameter.shape, generator=random))
    scale_logits(net, make_pool(sizes, seed), UNDECIDED)
    return net.train()


def build_sized(text: str, sizes: Sizes, seed: int) -> Method:
    """Build a method for data of these sizes."""

    def student(number: int) -> Network:
        return copy.deepcopy(make_student(sizes, seed, number))

    info = DatasetInfo(sizes.samples, (sizes.samples // sizes.classes,) * sizes.classes, sizes.shape)
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seeds.derive(seed, "init", "method"))
        method = build.build_method(
            MethodSpec.parse(text),
            {
                "student": lambda: student(1),
                "students": lambda: lambda count: [student(number) for number in range(1, count + 1)],
                "teacher": lambda: Frozen(copy.deepcopy(make_teacher(sizes, seed))),
                "data": lambda: info,
                "criterion": lambda: lambda: CE(info),
                "random": lambda: random,
                "cost_ratio": lambda: 2.0,
            },
        )
    for name in ("teacher", "average"):
        net = getattr(method, name, None)
        if isinstance(net, Network):
            net.load_state_dict(make_teacher(sizes, seed).state_dict())
    if isinstance(clean := getattr(method, "clean", None), Tensor):
        clean[:, ::2] = 0  # every other label is taken for wrong
    return method.train()


def draw_batch(method: Method, sizes: Sizes, seed: int) -> Batch:
    """Return a batch, labelled by the teacher, whose first images are the same for all sizes."""
    pool, random = make_pool(BASE, seed), torch.Generator().manual_seed(seed)
    with eval_no_grad(make_teacher(sizes, seed)):
        labels = make_teacher(sizes, seed)(make_pool(sizes, seed)).logits.argmax(dim=1)
    views = []
    for text in method.views:
        spec = PAIRED_VIEWS.parse(text)
        view = spec.load()(**spec.kwargs())
        changed = view((pool * 255).byte().permute(0, 2, 3, 1), torch.rand(POOL, view.draws, generator=random))
        views.append(repeat_pixels(changed.permute(0, 3, 1, 2)[: sizes.batch].float() / 255, sizes.repeats))
    images = repeat_pixels(pool[: sizes.batch], sizes.repeats)
    return Batch(images, labels[: sizes.batch], torch.arange(sizes.batch), CLOCK, tuple(views))


def gradient_norm(loss: Tensor, net: Network) -> float:
    """Return the norm of the gradient with respect to a network's parameters, 0 where there is none."""
    if not loss.requires_grad:
        return 0.0
    parameters = [p for p in net.parameters() if p.requires_grad]
    found = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    return sum(float(g.double().square().sum()) for g in found if g is not None) ** 0.5


def learners(method: Method) -> list[Network]:
    """Return the networks of a method that are trained on images."""
    return [
        net
        for name, net in method.named_modules()
        if isinstance(net, Network) and not name.startswith(PARTS) and any(p.requires_grad for p in net.parameters())
    ]


@torch.no_grad()
def disturb(nets: list[Network]) -> None:
    """Change the parameters a little, as an epoch does."""
    for net in nets:
        random = torch.Generator().manual_seed(0)
        for parameter in net.parameters():
            parameter.mul_(1 + 0.1 * torch.randn(parameter.shape, generator=random))


def measure_ratios(text: str, sizes: Sizes, seed: int) -> dict[str, float]:
    """Return the ratio of each term's gradient to that of the cross entropy, over the networks that the term reaches."""
    method = build_sized(text, sizes, seed)
    batch, nets = draw_batch(method, sizes, seed), learners(method)
    for phase in method.phases():  # methods that remember the previous epoch have nothing to remember in the first
        list(phase.step(batch))
    disturb(nets)
    plain = [gradient_norm(F.cross_entropy(net(batch.images).logits, batch.labels), net) for net in nets]
    ratios = {}
    for phase in method.phases():
        for objective in phase.step(batch):
            for name, term in objective.terms.items():
                if SUPERVISED.match(name):
                    continue
                norms = [gradient_norm(term, net) for net in nets]
                reached = sum(ce**2 for ce, norm in zip(plain, norms, strict=True) if norm) ** 0.5
                ratios[name] = sum(norm**2 for norm in norms) ** 0.5 / reached if reached else 0.0
    return ratios


def measure_factors(text: str) -> Factors:
    """Return the factor by which doubling each size changes the ratio of each term; None where it reaches no student."""
    base = [measure_ratios(text, BASE, seed) for seed in range(SEEDS)]
    factors: dict[str, dict[str, float | None]] = {term: {} for term in base[0]}
    for size, sizes in DOUBLED.items() if factors else ():
        doubled = [measure_ratios(text, sizes, seed) for seed in range(SEEDS)]
        for term, own in factors.items():
            before, after = (fmean(ratios[term] for ratios in each) for each in (base, doubled))
            own[size] = after / before if before else None
    return factors


def read_table() -> dict[str, Factors]:
    """Return the factors of the page, by method."""
    methods: dict[str, dict[str, dict[str, float | None]]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 7 and cells[0].startswith("`"):
            values = [None if cell == "" else float(cell) for cell in cells[2:6]]
            methods.setdefault(cells[0].strip("`"), {})[cells[1]] = dict(zip(DOUBLED, values, strict=True))
    return methods


def format_table() -> str:
    """Return the table of all methods with a term besides the supervised loss."""
    lines = ["| method | term | H W | K | N | batch | what scales, and how |", "|---|---|--:|--:|--:|--:|---|"]
    for method in METHODS:
        for term, factors in measure_factors(method).items():
            values = " | ".join("" if value is None else f"{value:.2f}" for value in factors.values())
            lines.append(f"| `{method}` | {term} | {values} | {NOTES.get((method, term), '')} |")
    return "\n".join(lines)


def main() -> None:
    torch.set_num_threads(1)
    content = PAGE.read_text(encoding="utf-8")
    before, after = re.split(r"(?<=<!-- measured -->\n).*(?=<!-- end -->)", content, flags=re.S)
    PAGE.write_text(f"{before}{format_table()}\n{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
