"""Checks of a data set before training. Each finding is an error, a warning or a note, with a sentence and examples.

    error     results would be wrong: a test image among the training images, an image under two labels, a class without images
    warning   results may be worse or too optimistic: inspect the examples
    note      a description of the data

Groups are not checked here: loading refuses a published split that divides a group.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data.copies import find_constant_images
from robustkd.data.duplicates import DuplicatePairs
from robustkd.data.file_sizes import read_sizes
from robustkd.data.leaks import find_near_copies, near_copies_in_test
from robustkd.data.splits import SplitRows, has_published_test
from robustkd.data.view import PARTS, Labels, Source

Severity = Literal["error", "warning", "note"]
SEVERITY_ORDER: tuple[Severity, ...] = ("error", "warning", "note")

EXTREME_IMBALANCE = 100  # ratio of the largest to the smallest class from which imbalance is a warning
MAX_ASPECT_RATIO = 3  # beyond this ratio of its sides, the square crop of an image misses most of it
MIN_LEVELS = 64  # of 256, that scaled values should have
MIN_NAME_LENGTH = 4  # in shorter class names, a difference of one letter is not a probable typing error


@dataclass(frozen=True)
class Finding:
    """A result of a check.

    Attributes:
        severity: error, warning or note.
        name: what was found, in a few words.
        count: how often.
        sentence: the result in a sentence.
        examples: where it was found.
    """

    severity: Severity
    name: str
    count: int
    sentence: str
    examples: tuple[str, ...] = ()


class ClassCounts(NamedTuple):
    """Number of images per class and part: (K, 3)."""

    classes: tuple[str, ...]
    counts: Labels


def count_classes(source: Source) -> ClassCounts:
    """Count the images per class and part; without a published split all images are train."""
    counts = np.zeros((len(source.classes), len(PARTS)), np.int64)
    np.add.at(counts, (source.labels, _part_indices(source)), 1)
    return ClassCounts(source.classes, counts)


def check_source(source: Source, *, least: int = 20) -> list[Finding]:
    """Run all checks on a data set's images and labels; return the findings, most severe first.

    Args:
        source: the data set.
        least: the number of training images that a class should have.
    """
    sizes, constant = count_classes(source), find_constant_images(source.images)
    findings = [
        *check_duplicates(source),
        *check_constant_images(source, constant),
        *check_class_sizes(sizes, least),
        *check_class_names(source.classes),
        *check_balance(sizes),
        *check_value_range(source),
    ]
    return sort_by_severity([*findings, *check_clean_labels(source), describe_shape(source)])


def sort_by_severity(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings, most severe first; findings of equal severity keep their order."""
    return sorted(findings, key=lambda finding: SEVERITY_ORDER.index(finding.severity))


def check_unreadable_files(unreadable: Mapping[str, str], total: int) -> list[Finding]:
    """Report unreadable image files, given the reason for each."""
    if not unreadable:
        return []
    sentence = f"{len(unreadable)} of {total:,} image files cannot be read"
    examples = tuple(f"{file}: {reason}" for file, reason in unreadable.items())
    return [Finding("error", "unreadable", len(unreadable), sentence, examples)]


def check_duplicates(source: Source) -> list[Finding]:
    """Report exact and near duplicates: across parts they leak, within a part they repeat, under two labels one is wrong."""
    first, near = source.first_copies, find_near_copies(source)
    return [*_check_copies(source, first, near), *_check_labels_of_copies(source, first, near)]


def _check_copies(source: Source, first: Labels, near: DuplicatePairs) -> list[Finding]:
    """Report copies across and within parts, given each image's first exact copy (N,) and the pairs of near duplicates."""
    part = _part_indices(source)
    first_in_part = np.full((len(first), len(PARTS)), -1)  # the first row of each part with the same image
    for p in range(len(PARTS)):
        rows = np.flatnonzero(part == p)
        images, where = np.unique(first[rows], return_index=True)
        first_in_part[images, p] = rows[where]
    exact = [np.stack([np.arange(len(first)), first_in_part[first, p]]) for p in range(len(PARTS))]
    exact = [pairs[:, (pairs[1] >= 0) & (pairs[0] != pairs[1])] for pairs in exact]
    close = [
        np.stack([first_in_part[near.left, p], first_in_part[near.right, q]])
        for p, q in product(range(len(PARTS)), repeat=2)
    ]
    close = [pairs[:, (pairs >= 0).all(axis=0)] for pairs in close]
    return [
        *_leaks_and_repetitions(source, part, np.concatenate(exact, axis=1), "exact"),
        *_leaks_and_repetitions(source, part, np.concatenate(close, axis=1), "near"),
    ]


def check_drawn_split(source: Source, rows: SplitRows) -> list[Finding]:
    """Report test images with near copies in the other splits, if the test rows were drawn."""
    pairs = find_near_copies(source)
    if has_published_test(source) or not len(pairs.left):
        return []
    leaked = rows.test[near_copies_in_test(source, rows, pairs)]
    if not len(leaked):
        return []
    sentence = (
        f"{len(leaked):,} of {len(rows.test):,} test images that a study draws by default have near copies in its other splits:"
        " --group-near-copies keeps near copies in one split"
    )
    examples = tuple(_image_name(source, row) for row in leaked.tolist())
    return [Finding("warning", "near leak in the drawn split", len(leaked), sentence, examples)]


def _check_labels_of_copies(source: Source, first: Labels, near: DuplicatePairs) -> Iterator[Finding]:
    """Report copies under different labels, given each image's first exact copy (N,) and the pairs of near duplicates."""
    relabelled = np.flatnonzero(source.labels != source.labels[first])
    if len(relabelled):
        count = len(np.unique(first[relabelled]))
        sentence = (
            f"{_count_noun(count, 'image occurs', 'images occur')} under two or more labels, with identical pixels"
        )
        examples = _pair_examples(source, relabelled, first[relabelled], labels=True)
        yield Finding("error", "two labels", count, sentence, examples)
    differ = source.labels[near.left] != source.labels[near.right]
    if differ.any():
        examples = _pair_examples(source, near.left[differ], near.right[differ], "~", labels=True)
        sentence = f"{_count_noun(len(examples), 'pair', 'pairs')} of near duplicates under two labels"
        yield Finding("warning", "two labels, nearly", len(examples), sentence, examples)


def _leaks_and_repetitions(
    source: Source, part: Labels, pairs: NDArray[np.int64], kind: Literal["exact", "near"]
) -> Iterator[Finding]:
    """Report pairs of copies across parts as leaks, and those within a part as repetitions: (2, m)."""
    sign = "=" if kind == "exact" else "~"
    one, other = np.where(part[pairs[0]] < part[pairs[1]], pairs, pairs[::-1])  # other is in the later part
    for early, late in ((0, 2), (0, 1), (1, 2)):
        across = (part[one] == early) & (part[other] == late)
        leaked, where = np.unique(other[across], return_index=True)
        if len(leaked):
            share = f"{len(leaked):,} of {np.count_nonzero(part == late):,} {PARTS[late]} images"
            sentence = f"{share} {_copy_phrase(len(leaked), kind)} of {PARTS[early]} images"
            examples = _pair_examples(source, leaked, one[across][where], sign)
            severity: Severity = "error" if kind == "exact" else "warning"
            yield Finding(severity, f"{kind} leak", len(leaked), sentence, examples)
    low, high = np.sort(pairs[:, part[one] == part[other]], axis=0)
    repeated, where = np.unique(high, return_index=True)
    if len(repeated):
        images = _count_noun(len(repeated), "image", "images")
        within = "" if source.parts is None else " of the same part"
        sentence = f"{images} {_copy_phrase(len(repeated), kind)} of an earlier one{within}"
        examples = _pair_examples(source, repeated, low[where], sign)
        yield Finding("warning", f"{kind} duplicates", len(repeated), sentence, examples)


def check_constant_images(source: Source, constant: NDArray[np.bool_]) -> list[Finding]:
    """Report images of a single colour, given as a mask: (N,)."""
    if not constant.any():
        return []
    rows = np.flatnonzero(constant).tolist()
    sentence = f"{_count_noun(len(rows), 'image has', 'images have')} a single colour; these are not compared as copies"
    return [Finding("warning", "constant", len(rows), sentence, tuple(_image_name(source, row) for row in rows))]


def check_class_sizes(sizes: ClassCounts, least: int) -> list[Finding]:
    """Report classes with no training images (an error) or fewer than `least` (a warning)."""
    train = sizes.counts[:, 0]
    empty, small = np.flatnonzero(train == 0), np.flatnonzero((train > 0) & (train < least))
    findings = []
    if len(empty):
        sentence = f"{_count_noun(len(empty), 'class has', 'classes have')} no training image"
        findings.append(Finding("error", "no images", len(empty), sentence, tuple(sizes.classes[k] for k in empty)))
    if len(small):
        sentence = f"classes with fewer than {least} training images: {len(small)} of {len(train)}"
        examples = tuple(f"{sizes.classes[k]}: {train[k]}" for k in small[np.argsort(train[small], kind="stable")])
        findings.append(Finding("warning", "few images", len(small), sentence, examples))
    return findings


def check_class_names(classes: Sequence[str]) -> list[Finding]:
    """Report class names that may mean the same: equal but for case and blanks (a warning), or for a letter (a note)."""
    normalised = ["".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in classes]
    groups: dict[str, list[str]] = {}
    for name, text in zip(classes, normalised, strict=True):
        groups.setdefault(text, []).append(name)
    pairs = (pair for group in groups.values() for pair in combinations(group, 2))
    equal = [pair for pair in pairs if max(map(len, pair)) > 1]  # single letters such as A and a are different classes
    spelling = {text: group[0] for text, group in groups.items()}
    similar = [(spelling[one], spelling[other]) for one, other in _one_letter_apart(list(spelling))]
    findings = []
    kinds: tuple[tuple[Severity, str, list[tuple[str, str]], str], ...] = (
        ("warning", "names alike", equal, "in case or blanks only"),
        ("note", "names one letter apart", similar, "in one letter: are they different classes?"),
    )
    for severity, title, found, difference in kinds:
        if found:
            count = _count_noun(len(found), "pair of class names differs", "pairs of class names differ")
            examples = tuple(f"{one!r} and {other!r}" for one, other in found)
            findings.append(Finding(severity, title, len(found), f"{count} {difference}", examples))
    return findings


def _one_letter_apart(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of texts at an edit distance of one letter; differing digits are ignored, since they number classes.

    >>> _one_letter_apart(["shirt", "skirt", "shirts", "class1", "class2", "cat", "rat"])
    [('shirt', 'skirt'), ('shirt', 'shirts')]
    """
    # Two such texts are equal once a letter is deleted from one of them, or at the same place from both.
    deletions: dict[tuple[str, int], list[str]] = {}
    long_texts = {text for text in texts if len(text) >= MIN_NAME_LENGTH}
    pairs: dict[tuple[str, str], None] = {}
    for text in texts:
        if text not in long_texts:
            continue
        for place, letter in enumerate(text):
            if letter.isdigit():
                continue
            rest = text[:place] + text[place + 1 :]
            for other in [*deletions.get((rest, place), []), *([rest] if rest in long_texts else [])]:
                pairs[min((text, other), (other, text), key=lambda pair: texts.index(pair[0]))] = None
            deletions.setdefault((rest, place), []).append(text)
    return list(pairs)


def check_balance(sizes: ClassCounts) -> list[Finding]:
    """Report the imbalance of the training classes: the ratio of the extremes, and the entropy relative to equal classes."""
    train = sizes.counts[:, 0]
    small, large = int(train.argmin()), int(train.argmax())
    share = train[train > 0] / max(1, train.sum())
    evenness = float(-(share * np.log(share)).sum() / np.log(max(2, len(train))))
    extremes = (
        f"'{sizes.classes[small]}' has {train[small]:,} training images, '{sizes.classes[large]}' {train[large]:,}"
    )
    ratio = train[large] / max(1, train[small])
    if ratio == 1:
        sentence = f"all classes have {train[small]:,} training images"
    else:
        sentence = f"{extremes}: 1 to {ratio:.1f}; evenness {evenness:.3f} (1 for classes of equal size)"
    return [Finding("warning" if ratio >= EXTREME_IMBALANCE else "note", "balance", len(train), sentence)]


def check_clean_labels(source: Source) -> list[Finding]:
    """Report the share of wrong labels among the images with a clean label."""
    truth = source.truth
    if truth is None or np.array_equal(truth, source.labels):  # as for a published data set
        return []
    known = np.flatnonzero(truth >= 0)
    wrong = known[truth[known] != source.labels[known]]
    share = f"{len(wrong):,} of these ({100 * len(wrong) / max(1, len(known)):.1f} %) are labelled otherwise"
    sentence = f"{len(known):,} of {len(truth):,} images have a clean label; {share}"
    examples = tuple(
        f"{_image_name(source, row)}: {source.classes[source.labels[row]]}, clean {source.classes[truth[row]]}"
        for row in wrong.tolist()
    )
    return [Finding("note", "clean labels", len(known), sentence, examples)]


def describe_shape(source: Source) -> Finding:
    """Describe the images that networks receive."""
    channels, height, width = source.shape
    colours = {1: "in grey", 3: "in colour"}.get(channels, f"of {channels} channels")
    count = len(source.labels)
    return Finding("note", "shape", count, f"{count:,} images of {width}x{height} {colours}, as networks receive them")


def check_value_range(source: Source) -> list[Finding]:
    """Describe how values of more than 8 bits were scaled; report images that this leaves few levels."""
    if source.value_range is None:
        return []
    scaled = source.value_range.describe()
    findings = [Finding("note", "deep values", 1, f"images of more than 8 bits: {scaled}")]
    used = np.zeros(256, bool)
    for start in range(0, len(source.images), 1024):
        used[source.images[start : start + 1024].ravel()] = True
    if (levels := int(used.sum())) < MIN_LEVELS:
        advice = "a few very bright pixels may decide the scale, which --value-range sets"
        sentence = f"{scaled}, of which the images have {levels} levels: {advice}"
        findings.append(Finding("warning", "few levels", levels, sentence))
    return findings


def check_file_sizes(root: Path, files: Sequence[str], image_size: int) -> list[Finding]:
    """Describe the sizes of image files before resizing; report small and elongated ones. Only headers are read."""
    sizes = read_sizes(root, files)
    if not sizes:
        return []
    area = {file: width * height for file, (width, height) in sizes.items()}
    smallest, largest = min(area, key=area.__getitem__), max(area, key=area.__getitem__)
    extent = " to ".join(dict.fromkeys(f"{sizes[file][0]}x{sizes[file][1]}" for file in (smallest, largest)))
    mode, times = Counter(sizes.values()).most_common(1)[0]
    sentence = f"files of {extent} pixels (width x height), {times:,} of {len(sizes):,} of {mode[0]}x{mode[1]}"
    extremes = (smallest, largest) if smallest != largest else (smallest,)
    findings = [Finding("note", "sizes", len(sizes), sentence, extremes)]
    enlarged = [file for file, size in sizes.items() if min(size) < image_size]
    if enlarged:
        count = f"{len(enlarged):,} of {len(sizes):,}"
        sentence = f"files with a side shorter than {image_size} pixels, which are enlarged: {count}"
        findings.append(Finding("note", "enlarged", len(enlarged), sentence, _with_sizes(enlarged, sizes)))
    elongated = [file for file, size in sizes.items() if max(size) > MAX_ASPECT_RATIO * min(size)]
    if elongated:
        count = f"{len(elongated):,} of {len(sizes):,}"
        sentence = f"files with sides of a ratio over {MAX_ASPECT_RATIO}, of which only the centre is used: {count}"
        findings.append(Finding("warning", "long", len(elongated), sentence, _with_sizes(elongated, sizes)))
    return findings


def _with_sizes(files: Sequence[str], sizes: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"{file}: {sizes[file][0]}x{sizes[file][1]}" for file in files)


def _part_indices(source: Source) -> Labels:
    """Return the index of each image's part in PARTS: (N,)."""
    if source.parts is None:
        return np.zeros(len(source.labels), np.int64)
    part: Labels = np.argmax([source.parts == part for part in PARTS], axis=0)
    return part


def _image_name(source: Source, row: int) -> str:
    """Return an image's file name, or its row and part."""
    if source.files is not None:
        return source.files[row]
    return f"row {row}" if source.parts is None else f"row {row} ({source.parts[row]})"


def _pair_examples(
    source: Source, rows: Labels, others: Labels, sign: str = "=", labels: bool = False
) -> tuple[str, ...]:
    """Return the pairs of images by name, with their labels if asked for."""

    def describe_row(row: int) -> str:
        label = f" [{source.classes[source.labels[row]]}]" if labels else ""
        return f"{_image_name(source, row)}{label}"

    pairs = zip(rows.tolist(), others.tolist(), strict=True)
    return tuple(f"{describe_row(row)} {sign} {describe_row(other)}" for row, other in pairs)


def _count_noun(count: int, singular: str, plural: str) -> str:
    return f"{count:,} {singular if count == 1 else plural}"


def _copy_phrase(count: int, kind: str) -> str:
    return f"is {'an' if kind == 'exact' else 'a'} {kind} copy" if count == 1 else f"are {kind} copies"
