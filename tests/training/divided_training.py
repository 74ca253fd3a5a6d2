"""A few updates of a method, by one process or by several: what `test_data_parallel` compares."""

import multiprocessing
from collections.abc import Sequence
from functools import partial
from itertools import islice
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor
from torch.distributed import FileStore  # type: ignore[attr-defined]

from robustkd.data import loader as loaders
from robustkd.method_spec import MethodSpec
from robustkd.models.net import Frozen
from robustkd.study.construct import construct_method
from robustkd.study.plan import Run
from robustkd.training.data_parallel import DataParallel
from robustkd.training.engine import Meter, PhaseTraining
from robustkd.training.recipe import Recipe
from robustkd.types import Clock
from tests.helpers import TEACHER, large_view, make_network, make_settings

UPDATES, BATCH = 2, 31  # per phase; shares of 16 and 15 rows

Weights = dict[str, NDArray[np.float64]]


def to_float64_images(images: Tensor) -> Tensor:
    return images.permute(0, 3, 1, 2).double() / 255


RECIPES = {"clipped": Recipe(clip_grad=0.5, accumulate=2), "averaged": Recipe(ema=0.9), "dropped": Recipe()}


def train(text: str, parallel: DataParallel | None = None) -> Weights:
    """Train a method for some updates per phase, and return its weights.

    In float64, for which `robustkd.data.loader.to_float_images` has to be `to_float64_images`: rounding to float32 would be
    amplified by attacks, which follow the signs of gradients.

    Args:
        text: the method; or a name in RECIPES, to train `hinton` by it.
    """
    torch.manual_seed(0)
    recipe, on_nonfinite = RECIPES.get(text, Recipe()), "skip" if text == "dropped" else "stop"
    run = Run("student", MethodSpec.parse("hinton" if text in RECIPES else text), 0)
    teacher = partial(make_network, TEACHER)
    random = torch.Generator().manual_seed(0)
    method = construct_method(large_view(), run, make_settings(), random, teacher=teacher).double()
    for part in vars(method).values():
        if isinstance(part, Frozen):  # which is no module
            part.net.double()
    for number, phase in enumerate(method.phases()):
        method.train()
        loader = loaders.Loader(large_view(), BATCH, torch.device("cpu"), views=method.views)
        training = PhaseTraining(method, phase, loader, recipe, on_nonfinite=on_nonfinite, parallel=parallel)
        training.begin(None)
        list(islice(training.iter_updates(Clock(1, 4), number, Meter()), UPDATES))
    average = {} if training.average is None else training.average.state_dict()
    state = {**method.state_dict(), **{f"average.{name}": value for name, value in average.items()}}
    return {name: value.double().numpy() for name, value in state.items() if isinstance(value, Tensor)}


def train_together(texts: Sequence[str], folder: Path, size: int = 2, **options: Any) -> list[dict[str, Weights | str]]:
    """Train methods one after another in several processes; return, for each process, the weights or the error of each."""
    context = multiprocessing.get_context("spawn")
    results = context.Queue()
    arguments = (list(texts), size, str(folder / "store"), results, options)
    processes = [context.Process(target=_take_part, args=(rank, *arguments)) for rank in range(size)]
    for process in processes:
        process.start()
    answers = dict(results.get(timeout=500) for _ in processes)
    for process in processes:
        process.join()
    return [answers[rank] for rank in range(size)]


def _take_part(
    rank: int, texts: list[str], size: int, store: str, results: "Queue[Any]", options: dict[str, Any]
) -> None:
    torch.set_num_threads(1)
    loaders.to_float_images = to_float64_images
    dist.init_process_group("gloo", store=FileStore(store, size), rank=rank, world_size=size)
    answers: dict[str, Weights | str] = {}
    for text in texts:
        try:
            answers[text] = train(text, DataParallel(**options))
        except Exception as error:  # reported as the result of the method
            answers[text] = f"{type(error).__name__}: {error}"
    results.put((rank, answers))
    dist.destroy_process_group()
