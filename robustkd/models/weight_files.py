"""Files of weights as training programs save them: what is in them, and how it becomes the weights of a classifier.

    a state_dict      torch.save(model.state_dict(), FILE), or .safetensors
    a checkpoint      of timm, Lightning or a script of one's own: a dictionary with the state_dict under a usual name
    a model.pt        of this package

Nothing is unpickled that could run code. Prefixes such as `module.` and `model.` are found by comparison with the classifier.
"""

import warnings
import zipfile
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from robustkd.errors import UsageError, as_one_line
from robustkd.models.model_card import parse_model_card

StateDict = dict[str, Tensor]
# Names of the weights in a checkpoint, the averaged ones first, as they are what such a program evaluates.
ENTRIES = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model_state_dict", "model", "net", "weights")
# Packages whose objects in a checkpoint are settings. Empty containers replace them, and nothing of theirs is called.
RECORDS = ("argparse", "lightning", "lightning_fabric", "omegaconf", "pytorch_lightning")
VALUES = ("datetime", "enum", "numpy", "pathlib", "torchmetrics", "typing", "uuid")
LISTED = 3  # keys in an error message


class _Value:
    """Replaces an object that is no weight."""

    def __init__(self, *arguments: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


def read_state_dict(file: Path) -> StateDict:
    """Read the weights in a file, by their names there: tensors on the CPU.

    Raises:
        UsageError: the file does not exist, is damaged, holds no weights or weights that are not finite, or would run code.
    """
    state = _find_weights(file, read_weight_file(file))
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UsageError(f"{file}: the weights '{name}' in this file are not finite")
    return state


def read_weight_file(file: Path) -> dict[str, Any]:
    """Read the dictionary that a file of weights holds, without running code.

    Raises:
        UsageError: the file does not exist, is damaged, is not such a file, or would run code.
    """
    if not file.is_file():
        raise UsageError(
            f"{file}: there is no such file" if not file.is_dir() else f"{file}: this is a folder, not a file"
        )
    with file.open("rb") as opened:
        start = opened.read(9)
    try:
        content = _load_safetensors(file) if start[8:] == b"{" else _load_pickled(file)
    except UsageError:
        raise
    except Exception as error:  # the type depends on what else the file holds, or where it ends
        raise UsageError(
            f"{file}: this file is damaged, or holds no weights ({type(error).__name__}); files that torch.save writes, and"
            " .safetensors, are read"
        ) from None
    if not isinstance(content, dict):
        raise UsageError(f"{file}: this file holds a {type(content).__name__}, not a dictionary of weights")
    return content


def read_model_card(file: Path) -> dict[str, Any] | None:
    """Return the model card in a model.pt, without reading its weights; None for other files.

    Raises:
        UsageError: the card is wrong.
    """
    try:
        content = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
        holds_network = {"card", "weights"} <= content.keys()
    except Exception:  # what other files raise depends on what they hold
        return None
    if not holds_network:
        return None
    try:
        return parse_model_card(content["card"])
    except UsageError as error:
        raise UsageError(f"{file}: {error}") from None


def _load_safetensors(file: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file  # so that machines without it can train from random weights

    return load_file(file)


def _load_pickled(file: Path) -> Any:
    """Load a file of torch.save as data, with stand-ins for objects that are no weights."""
    stand_ins: list[tuple[type, str]] = []
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:  # torch.load does not compare the checksums
            if (damaged := archive.testzip()) is not None:
                raise UsageError(f"{file}: this file is damaged: the checksum of '{damaged}' in it does not match")
        for name in get_unsafe_globals_in_checkpoint(file):
            root = name.split(".")[0]
            if root not in (*RECORDS, *VALUES):
                raise UsageError(
                    f"{file}: this file holds Python objects ({name}) that could run code, so it is not loaded: save the"
                    " weights alone, torch.save(model.state_dict(), FILE)"
                )
            stand_ins.append((OrderedDict if root in RECORDS else _Value, name))
    with warnings.catch_warnings(), safe_globals(stand_ins):  # type: ignore[arg-type]
        warnings.simplefilter("ignore")  # about how the file was pickled
        return torch.load(file, map_location="cpu", weights_only=True)


def _find_weights(file: Path, content: Mapping[str, Any], depth: int = 2) -> StateDict:
    """Return the tensors of a checkpoint, by name."""
    is_model = {"card", "weights"} <= content.keys() and isinstance(content["weights"], Mapping)
    for entry in ENTRIES:
        if depth and not is_model and isinstance(content.get(entry), Mapping):
            return _find_weights(file, content[entry], depth - 1)
    entries = content["weights"] if is_model else content
    state = {name: value for name, value in entries.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if is_model:  # its network normalises
        state = {name: value for name, value in state.items() if name not in ("mean", "std")}
    if not state:
        raise UsageError(
            f"{file}: this file holds no weights, but: {_list(content) or 'nothing'}; they are looked for under"
            f" {', '.join(ENTRIES)}"
        )
    return state


def load_weights(
    model: nn.Module,
    file: Path,
    *,
    convert: Callable[[StateDict, nn.Module], StateDict] | None = None,
    other: Collection[str] = (),
) -> int | None:
    """Load the weights in a file into a classifier; the head is kept as it is where the file's is for other classes.

    Args:
        convert: translates weights of a related format, where they do not fit as they are.
        other: names in the classifier's state_dict that are no weights.

    Returns:
        None if the head was loaded too; otherwise the number of classes of the file's head, 0 if it has none.

    Raises:
        UsageError: the file holds no weights, or those of another architecture.
    """
    wanted = {name: value for name, value in model.state_dict().items() if name not in other}
    state = strip_prefix(read_state_dict(file), wanted)
    if convert is not None and describe_differences(state, wanted):
        state = strip_prefix(_try_convert(convert, state, model), wanted)
    outputs = _find_other_head(state, wanted)
    state = {name: tensor for name, tensor in state.items() if name not in outputs}
    head = set(outputs) or _find_missing_head(state, wanted, model)
    if differences := describe_differences(state, {name: wanted[name] for name in wanted if name not in head}):
        raise UsageError(f"{file}: these weights are not those of a {type(model).__name__}: {differences}")
    model.load_state_dict(state, strict=False)
    return max(outputs.values()) if outputs else 0 if head else None


def strip_prefix(state: StateDict, wanted: Collection[str]) -> StateDict:
    """Remove the prefix of names, such as `module.` or `model.`, with which most names are those of a classifier.

    Names without that prefix belong to something else that was saved with it, such as a criterion or a teacher.

    >>> one = torch.zeros(1)
    >>> sorted(strip_prefix({"model.fc.weight": one, "model.fc.bias": one, "loss.weight": one}, {"fc.weight", "fc.bias"}))
    ['fc.bias', 'fc.weight']
    """
    found: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for depth in range(len(parts)):
            if ".".join(parts[depth:]) in wanted:
                found[".".join([*parts[:depth], ""]) if depth else ""] += 1
    # Of a student and its teacher, saved together, the student.
    prefix = max(found, key=lambda name: (found[name], name == "", "student" in name), default="")
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _try_convert(convert: Callable[[StateDict, nn.Module], StateDict], state: StateDict, model: nn.Module) -> StateDict:
    """Convert weights; weights of another architecture, which a converter does not expect, are returned as they are."""
    try:
        converted = convert(dict(state), model)
    except Exception:
        return state
    return {name: value for name, value in converted.items() if isinstance(value, Tensor)}


def _find_other_head(state: StateDict, wanted: StateDict) -> dict[str, int]:
    """Return the weights that differ in the number of outputs only, with that number, if they all have the same one.

    In any other architecture, the inputs of some layer differ too.
    """
    other = {
        name: (tensor, wanted[name])
        for name, tensor in state.items()
        if _shape(tensor) != _shape(wanted.get(name, tensor))
    }
    outputs = {(_shape(theirs)[:1], _shape(ours)[:1]) for theirs, ours in other.values()}
    same_inputs = all(_shape(theirs)[1:] == _shape(ours)[1:] for theirs, ours in other.values())
    return {name: len(theirs) for name, (theirs, _) in other.items()} if len(outputs) == 1 and same_inputs else {}


def _find_missing_head(state: StateDict, wanted: StateDict, model: nn.Module) -> set[str]:
    """Return the names of the last nn.Linear if the file has all weights but these."""
    linear = [path for path, module in model.named_modules() if isinstance(module, nn.Linear)]
    missing = {name for name in wanted if name not in state and not name.endswith("num_batches_tracked")}
    own = {name for name in wanted if linear and name.rpartition(".")[0] == linear[-1]}
    return own if missing == own else set()


def describe_differences(state: StateDict, wanted: StateDict) -> str:
    """Describe how weights differ from those of a classifier: names that are missing or unexpected, and other shapes.

    >>> describe_differences({"a": torch.zeros(2), "c": torch.zeros(1)}, {"a": torch.zeros(3), "b": torch.zeros(1)})
    'missing: b; unexpected: c; of another shape: a is (2,) instead of (3,)'
    """
    missing = [name for name in wanted if name not in state and not name.endswith("num_batches_tracked")]
    unexpected = [name for name in state if name not in wanted]
    other = [
        f"{name} is {_shape(state[name])} instead of {_shape(wanted[name])}"
        for name in state
        if name in wanted and _shape(state[name]) != _shape(wanted[name])
    ]
    named = {"missing": missing, "unexpected": unexpected, "of another shape": other}
    return "; ".join(f"{what}: {_list(names)}" for what, names in named.items() if names)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def _list(names: Collection[Any]) -> str:
    """List the first few names, and the number of the others."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(as_one_line(str(name), 60) for name in list(names)[:LISTED]) + more
