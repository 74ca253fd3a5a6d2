"""Forward and backward passes of networks through torch.compile, while they are trained.

    off        the networks as they are
    default    kernels are fused
    max        and, on a GPU, replayed as CUDA graphs (`reduce-overhead`): a step of a small network is bound by the launches of
               its kernels

A network's `forward` is replaced during a step only, and by an attribute of the instance. Evaluation, copies, checkpoints and
exports therefore never meet a compiled network, and a run can be resumed with another setting. Random numbers inside a network,
as in dropout, are those of the uncompiled one, so that the results differ by rounding.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from robustkd.errors import UsageError, as_one_line, is_out_of_memory
from robustkd.method import Method, Phase, backward_and_step
from robustkd.models.net import Frozen, Network
from robustkd.training.backbones import find_networks
from robustkd.training.recipe import Recipe
from robustkd.types import Compile, Output

BACKEND = "inductor"
# Networks of one class share their code, and each has a version for every mode, size of batches and frozen part.
VERSIONS = 128


class CompiledForward:
    """The compiled forward pass of a network, or the network's own if that cannot be compiled.

    Args:
        name: of the network within its method.
        mode: of torch.compile.
    """

    def __init__(self, name: str, net: Network, mode: str) -> None:
        self.name, self.own, self.reason = name, net.forward, ""
        # Sizes are not variables of the code: those of the batches of an epoch differ by one sample at most.
        self.compiled: Any = torch.compile(net.forward, backend=BACKEND, dynamic=False, **_mode(mode))

    def __call__(self, images: Tensor) -> Output:
        from torch._dynamo.exc import TorchDynamoException  # takes a second to import

        if not self.reason:
            try:
                with warnings.catch_warnings():
                    # Images that are computed have no gradient of their own, at which the compiler looks all the same.
                    warnings.filterwarnings("ignore", "The .grad attribute of a Tensor that is not a leaf")
                    return self.compiled(images)  # type: ignore[no-any-return]
            except TorchDynamoException as error:
                if is_out_of_memory(error):
                    raise
                self.reason = describe_failure(error)
        return self.own(images)


class CompiledForwards:
    """The compiled forward passes of the networks of a method, its teacher included.

    Args:
        method: on its device.
        phase: of the method.
        recipe: with which the phase is trained.
        compile: off, default or max.
    """

    def __init__(self, method: Method, phase: Phase, recipe: Recipe, compile: Compile) -> None:
        on_gpu = any(parameter.is_cuda for parameter in method.parameters())
        self.has_graphs = compile == "max" and on_gpu and allows_graphs(phase, recipe)
        self.forwards: dict[Network, CompiledForward] = {}
        if compile == "off":
            return
        configure_torch()
        mode = "reduce-overhead" if self.has_graphs else "default"
        self.forwards = {net: CompiledForward(name, net, mode) for net, name in name_networks(method).items()}

    @contextmanager
    def active(self) -> Iterator[None]:
        """Use the compiled forward passes during the block, which is a step."""
        if self.has_graphs:
            # The outputs of all networks are then kept until the next step, in whatever order they are used.
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        for net, forward in self.forwards.items():
            net.forward = forward  # type: ignore[method-assign]
        try:
            yield
        finally:
            for net in self.forwards:
                del net.forward

    def take_note(self) -> str:
        """Return what could not be compiled, and why, unless an earlier call has returned it."""
        failed = [forward for forward in self.forwards.values() if forward.reason]
        self.forwards = {net: forward for net, forward in self.forwards.items() if not forward.reason}
        return "; ".join(f"the network '{each.name}' is not compiled ({each.reason})" for each in failed)


def _mode(mode: str) -> dict[str, Any]:
    return {"mode": mode} if BACKEND == "inductor" else {}


def allows_graphs(phase: Phase, recipe: Recipe) -> bool:
    """Return whether CUDA graphs can be replayed in a phase, which overwrites what the step before has computed.

    Gradients that are accumulated over steps, and those of an update of the method's own, would be overwritten.
    """
    return recipe.accumulate == 1 and phase.update is backward_and_step


def configure_torch() -> None:
    """Set torch.compile up for networks that are compiled for several modes, and for the random numbers of uncompiled ones."""
    import torch._dynamo.config
    import torch._functorch.config
    import torch._inductor.config

    torch._dynamo.config.recompile_limit = max(VERSIONS, torch._dynamo.config.recompile_limit)
    torch._functorch.config.donated_buffer = (
        False  # a backward pass may be repeated, as by several gradients of one loss
    )
    torch._inductor.config.fallback_random = True
    torch._inductor.config.compile_threads = torch.get_num_threads()  # runs side by side share the cores


def name_networks(method: Method) -> dict[Network, str]:
    """Return the networks of a method, each with its name there; teachers are frozen, and not modules of the method."""
    paths = {id(module): path for path, module in method.named_modules()}
    names = {net: paths[id(net)] for net in find_networks(method)}
    for path, module in method.named_modules():
        for name, value in vars(module).items():
            if isinstance(value, Frozen):
                names.setdefault(value.net, f"{path}.{name}".strip("."))
    return names


def check_compilation(compile: Compile, device: str) -> None:
    """Compile a small layer and run it, forward and backward.

    Raises:
        UsageError: torch cannot compile here.
    """
    if compile == "off":
        return
    import torch._inductor.config

    layer = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).to(device)
    try:
        # A cache would hide that there is no compiler.
        with warnings.catch_warnings(action="ignore"), torch._inductor.config.patch(force_disable_caches=True):
            torch.compile(layer, backend=BACKEND)(torch.ones(2, 2, device=device)).sum().backward()
    except Exception as error:  # without a compiler, Triton, or on a device that neither supports
        raise UsageError(
            f"--compile {compile}: torch cannot compile on {device} here ({describe_failure(error)}); --compile off does"
            " without"
        ) from None


def describe_failure(error: Exception) -> str:
    """Return in a line why something was not compiled."""
    cause = getattr(error, "inner_exception", error)
    return f"{type(cause).__name__}: {as_one_line(str(cause).partition(chr(10) * 2)[0], 160)}"
