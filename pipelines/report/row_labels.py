"""Names of rows in tables: methods as typed, the teacher by what it is."""

import re
from collections.abc import Iterable
from pathlib import PureWindowsPath

from pipelines.references import is_reference
from robustkd.study.options import StudyOptions
from robustkd.study.results import CLEAN_TEACHER, TEACHER, StudyRecord


def label_row(name: object, record: StudyRecord) -> str:
    """Return the label of a row of a comparison's tables: methods as typed, oracles marked, the teacher by what it is."""
    return describe_teacher(record.options) if name == TEACHER else mark_oracle(str(name), record.oracles)


def mark_oracle(name: str, oracles: Iterable[str]) -> str:
    """Mark the rows and columns of methods that use knowledge that a user would not have.

    >>> mark_oracle("oracle_clean, stopped early", ["oracle_clean"]), mark_oracle("hinton", ["oracle_clean"])
    ('oracle_clean, stopped early (oracle)', 'hinton')
    """
    # Not split at commas, which also separate a method's hyperparameters.
    is_oracle = any(
        name == oracle or name.startswith((f"{oracle}, ", f"{oracle} - ", f"{oracle} recall"))
        for oracle in (CLEAN_TEACHER, *oracles)
    )
    return f"{name} (oracle)" if is_oracle else name


def describe_teacher(options: StudyOptions) -> str:
    """Describe the teacher by its network, its criterion, how it was smoothed and stopped; a trained one by its file's name.

    >>> describe_teacher(StudyOptions(scenario="clean", teacher="wrn_16_2", smooth_teacher="labels"))
    'teacher (wrn_16_2, ce, smooth labels)'
    >>> describe_teacher(StudyOptions(scenario="clean", teacher="wrn_16_2", teacher_stop="early"))
    'teacher (wrn_16_2, ce, stopped early)'
    >>> describe_teacher(StudyOptions(scenario="clean", teacher="/home/me/nets/best.pt"))
    'teacher (given: best.pt)'
    """
    text = options.teacher
    if is_reference(text):
        return f"teacher (given: {text})"
    # A network's name has dots and colons, but no path separators outside its brackets.
    if text.endswith((".pt", ".pth")) or re.search(r"[/\\]", text.partition("(")[0]):
        return f"teacher (given: {PureWindowsPath(text).name})"  # which splits at both kinds of separator
    smoothed = options.smooth_teacher
    parts = [text, options.teacher_criterion, *([f"smooth {smoothed}"] if smoothed != "none" else [])]
    parts += ["stopped early"] if options.teacher_stop == "early" else []
    return f"teacher ({', '.join(parts)})"
