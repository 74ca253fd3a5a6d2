"""Exceptions that users see, and helpers that phrase their messages."""

import difflib
import errno
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from pydantic import ValidationError

OUT_OF_MEMORY = re.compile(  # in messages of torch and its libraries
    "out of memory|not enough memory|(can't|[Cc]annot) allocate memory|bad_alloc|bad allocation|ALLOC_FAILED"
    "|failed to map segment"
)

# Characters on which terminals act, as in "\x1b[31m" for red: the category Cc of Unicode.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class UsageError(ValueError):
    """Invalid input from the user. The message is one sentence: what is wrong, where, and what is allowed."""


class ExecutionError(RuntimeError):
    """Work that started and did not succeed. The message says which results exist nevertheless."""


class StudyPaused(ExecutionError):
    """A study was stopped after the time that the user gave; what was going on is saved."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error reports a lack of memory, on a GPU, in the process or while a library is loaded.

    >>> is_out_of_memory(MemoryError()), is_out_of_memory(ValueError("out of memory"))
    (True, False)
    """
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return isinstance(error, (RuntimeError, ImportError)) and OUT_OF_MEMORY.search(str(error)) is not None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a hint with the closest candidate, or an empty string if none is close.

    >>> did_you_mean("nois", ["noise", "step"])
    " (did you mean 'noise'?)"
    """
    close = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.5)
    return f" (did you mean '{close[0]}'?)" if close else ""


def unknown_name(kind: str, name: str, known: Sequence[str], limit: int = 10) -> str:
    """Return the message for a name that does not exist, listing at most `limit` of those that do.

    >>> unknown_name("class", "dgo", ["cat", "dog", "eel"], limit=2)
    "there is no class 'dgo' (did you mean 'dog'?); there are: cat, dog and 1 more"
    """
    more = f" and {len(known) - limit} more" if len(known) > limit else ""
    return f"there is no {kind} '{name}'{did_you_mean(name, known)}; there are: {', '.join(known[:limit])}{more}"


def as_one_line(message: str, limit: int = 300) -> str:
    """Return a message in one line of at most `limit` characters; the middle of a longer one is left out.

    >>> as_one_line("a word\\n\\x1b[1m of " + 40 * "x", limit=30)
    'a word [1m of xxxxx ... xxxxxx'
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in message)
    text = " ".join(printable.split())
    if len(text) <= limit:
        return text
    end = limit // 5
    return f"{text[: limit - end - 5]} ... {text[-end:]}"


def escape_controls(text: str, keep: str = "") -> str:
    r"""Return a text with control characters, except those to keep, as Python writes them.

    >>> escape_controls("\x1b[31mred\tü\n", keep="\n")
    '\\x1b[31mred\\tü\n'
    """
    return _CONTROLS.sub(lambda found: found[0] if found[0] in keep else ascii(found[0])[1:-1], text)


def needs_packages(what: str, *packages: str) -> str:
    """Return the message for packages that are not installed, with the command that installs them.

    >>> needs_packages("ONNX", "onnx", "onnxscript")
    'ONNX needs onnx, onnxscript: pip install onnx onnxscript'
    """
    return f"{what} needs {', '.join(packages)}: pip install {' '.join(packages)}"


def describe_validation_error(error: ValidationError) -> str:
    """Return the first problem of a pydantic error as "is VALUE but should be RULE", or one rule or another for a union."""
    first, *others = error.errors()
    rules = [first["msg"], *(other["msg"] for other in others if first["loc"] and other["loc"][:1] == first["loc"][:1])]
    rule = " or ".join(dict.fromkeys(rules)).replace("or Input should be", "or").replace("Input should be", "should be")
    return f"is {as_one_line(repr(first['input']), 80)} but {rule[:1].lower()}{rule[1:]}"


@contextmanager
def python_messages() -> Iterator[None]:
    """Name options in the errors of the block as Python's parameters: `--held-out` as `held_out`.

    >>> with python_messages():
    ...     raise UsageError("--held-out 2: it is too large")
    Traceback (most recent call last):
        ...
    robustkd.errors.UsageError: held_out 2: it is too large
    """
    try:
        yield
    except UsageError as error:
        raise UsageError(_with_parameter_names(str(error))) from None
    except RuntimeError as error:  # such as a loss that is not finite
        error.args = tuple(_with_parameter_names(part) if isinstance(part, str) else part for part in error.args)
        raise


def _with_parameter_names(text: str) -> str:
    """Replace options, except those of commands in backticks."""
    return re.sub(r"`[^`]*`|--([a-z][a-z-]*)", lambda found: found[1].replace("-", "_") if found[1] else found[0], text)
