"""Runs that run out of memory: next to others, or alone with the largest batch that fits, which is found by trial."""

from dataclasses import replace

from robustkd.data.view import View
from robustkd.errors import ExecutionError, is_out_of_memory
from robustkd.models.net import Network
from robustkd.study.plan import Run, Settings
from robustkd.study.run import estimate_training
from robustkd.training import hardware


class OutOfSharedMemory(ExecutionError):
    """A run ran out of memory next to others, so that it may fit where fewer are executed at once."""


def find_fitting_batch(view: View, spec: Run, settings: Settings, teacher: Network | None = None) -> int | None:
    """Return the largest half, quarter, ... of a batch with which an update of each phase fits into memory.

    Returns:
        The samples of the batch; None if not even one sample fits.
    """
    batch = settings.batch // 2
    while batch and not _fits(view, spec, settings, batch, teacher):
        batch //= 2
    return batch or None


def _fits(view: View, spec: Run, settings: Settings, batch: int, teacher: Network | None) -> bool:
    hardware.free_memory()
    steps = settings.recipe_of(spec).accumulate  # until the optimiser has its state
    try:
        estimate_training(view, spec, replace(settings, batch=batch), teacher=teacher, steps=steps)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return False
    return True


def describe_lack_of_memory(settings: Settings, batch: int | None) -> str:
    """Return the sentence for a training that did not fit into memory, without others next to it.

    Args:
        batch: that `find_fitting_batch` found.
    """
    start = f"out of memory on {settings.device} with batches of {settings.batch} images"
    if batch is None:
        return f"{start}, and no smaller batch was found to fit: use a smaller network or smaller images"
    return (
        f"{start}; batches of {batch} fit, as one update showed: use --batch {batch}, with --accumulate"
        f" {-(-settings.batch // batch)} for updates of as many images"
    )
