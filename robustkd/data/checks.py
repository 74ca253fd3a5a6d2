"""What is wrong with a data set before anything is trained on it, and what is worth knowing: findings, each with a sentence.

    error     a result would be wrong: a test image that is trained on, an image under two labels, a class without images
    warning   a result may be worse or rosier than it should be: look at the examples
    note      how the data are

Groups are not looked at: a reader refuses a published split that divides one.
"""

import unicodedata
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from robustkd.data import duplicates
from robustkd.data.decode import FORMATS
from robustkd.data.view import PARTS, Labels, Source

Severity = Literal["error", "warning", "note"]
SEVERITY_ORDER: tuple[Severity, ...] = ("error", "warning", "note")

EXTREME_IMBALANCE = 100  # the ratio of the largest to the smallest class from which imbalance is a warning
MAX_ASPECT_RATIO = 3  # the ratio of an image's sides from which the square cut from it misses most
MIN_NAME_LENGTH = (
    4  # letters of a name from which one letter may be a slip: among shorter names one letter is a difference
)


@dataclass(frozen=True)
class Finding:
    """One thing found: how grave, what, how often, in words, and where."""

    severity: Severity
    name: str
    count: int
    sentence: str
    examples: tuple[str, ...] = ()


class ClassCounts(NamedTuple):
    """How many images of each class are in each part: (K, 3)."""

    classes: tuple[str, ...]
    counts: Labels


def count_classes(source: Source) -> ClassCounts:
    """Class sizes; where nobody published a split, all images are train."""
    counts = np.zeros((len(source.classes), len(PARTS)), np.int64)
    np.add.at(counts, (source.labels, _part_indices(source)), 1)
    return ClassCounts(source.classes, counts)


def check_source(source: Source, *, least: int = 20) -> list[Finding]:
    """All that a data set's own images and labels show, gravest first.

    Args:
        least: how many training images a class should have.
    """
    sizes, flat = count_classes(source), duplicates.find_constant_images(source.images)
    found = [
        *check_duplicates(source, flat),
        *check_constant_images(source, flat),
        *check_class_sizes(sizes, least),
        *check_class_names(source.classes),
        *check_balance(sizes),
    ]
    return sort_by_severity([*found, *check_clean_labels(source), describe_shape(source)])


def sort_by_severity(found: Sequence[Finding]) -> list[Finding]:
    """Gravest first, otherwise in the order they come."""
    return sorted(found, key=lambda finding: SEVERITY_ORDER.index(finding.severity))


def check_unreadable_files(bad: Mapping[str, str], total: int) -> list[Finding]:
    """Image files that cannot be read: name -> why."""
    if not bad:
        return []
    said = f"{len(bad)} of {total:,} image files cannot be read"
    return [Finding("error", "unreadable", len(bad), said, tuple(f"{file}: {why}" for file, why in bad.items()))]


def check_duplicates(source: Source, flat: NDArray[np.bool_]) -> list[Finding]:
    """Exact and near duplicates: across parts they are leaks, within one they count double, under two labels one is wrong.

    Those that are of one colour throughout, `flat`, are no copies of one another: (N,).
    """
    telling = np.flatnonzero(~flat)
    first = np.arange(len(source.labels))
    first[telling] = duplicates.find_exact_copies(source.images, telling)
    part = _part_indices(source)
    home = np.full((len(first), len(PARTS)), -1)  # where in each part an image is first
    for p in range(len(PARTS)):
        rows = np.flatnonzero(part == p)
        images, where = np.unique(first[rows], return_index=True)
        home[images, p] = rows[where]
    exact = [np.stack([np.arange(len(first)), home[first, p]]) for p in range(len(PARTS))]
    exact = [pairs[:, (pairs[1] >= 0) & (pairs[0] != pairs[1])] for pairs in exact]
    close = duplicates.find_near_duplicates(source.images, telling[first[telling] == telling])
    near = [np.stack([home[close.left, p], home[close.right, q]]) for p, q in product(range(len(PARTS)), repeat=2)]
    near = [pairs[:, (pairs >= 0).all(axis=0)] for pairs in near]
    found = [
        *_leaks_and_repeats(source, part, np.concatenate(exact, axis=1), "exact"),
        *_leaks_and_repeats(source, part, np.concatenate(near, axis=1), "near"),
    ]
    other = np.flatnonzero(source.labels != source.labels[first])
    if len(other):
        count = len(np.unique(first[other]))
        said = f"{_count_noun(count, 'image is', 'images are')} there under two labels or more, pixel by pixel the same"
        found.append(
            Finding("error", "two labels", count, said, _pair_examples(source, other, first[other], labels=True))
        )
    apart = source.labels[close.left] != source.labels[close.right]
    if apart.any():
        pairs = _pair_examples(source, close.left[apart], close.right[apart], "~", labels=True)
        said = f"{_count_noun(len(pairs), 'pair', 'pairs')} of near duplicates under two labels"
        found.append(Finding("warning", "two labels, nearly", len(pairs), said, pairs))
    return found


def _leaks_and_repeats(
    source: Source, part: Labels, pairs: NDArray[np.int64], kind: Literal["exact", "near"]
) -> Iterator[Finding]:
    """What pairs of copies mean for the parts: (2, m)."""
    sign = "=" if kind == "exact" else "~"
    one, other = np.where(part[pairs[0]] < part[pairs[1]], pairs, pairs[::-1])  # other is of the later part
    for early, late in ((0, 2), (0, 1), (1, 2)):
        here = (part[one] == early) & (part[other] == late)
        leaked, where = np.unique(other[here], return_index=True)
        if len(leaked):
            of = f"{len(leaked):,} of {np.count_nonzero(part == late):,} {PARTS[late]} images"
            said = f"{of} {_copy_phrase(len(leaked), kind)} of {PARTS[early]} images"
            where_from = _pair_examples(source, leaked, one[here][where], sign)
            yield Finding("error" if kind == "exact" else "warning", f"{kind} leak", len(leaked), said, where_from)
    low, high = np.sort(pairs[:, part[one] == part[other]], axis=0)
    again, where = np.unique(high, return_index=True)
    if len(again):
        inside = "" if source.parts is None else " of the same part"
        said = (
            f"{_count_noun(len(again), 'image', 'images')} {_copy_phrase(len(again), kind)} of an earlier one{inside}"
        )
        yield Finding(
            "warning", f"{kind} duplicates", len(again), said, _pair_examples(source, again, low[where], sign)
        )


def check_constant_images(source: Source, flat: NDArray[np.bool_]) -> list[Finding]:
    """Images of one colour throughout: (N,)."""
    if not flat.any():
        return []
    rows = np.flatnonzero(flat).tolist()
    said = f"{_count_noun(len(rows), 'image shows', 'images show')} one colour throughout; they count as no copies of each other"
    return [Finding("warning", "constant", len(rows), said, tuple(_image_name(source, row) for row in rows))]


def check_class_sizes(sizes: ClassCounts, least: int) -> list[Finding]:
    """Classes with too little to train on."""
    train = sizes.counts[:, 0]
    none, some = np.flatnonzero(train == 0), np.flatnonzero((train > 0) & (train < least))
    found = []
    if len(none):
        said = f"{_count_noun(len(none), 'class has', 'classes have')} no training image"
        found.append(Finding("error", "no images", len(none), said, tuple(sizes.classes[k] for k in none)))
    if len(some):
        said = f"classes with fewer than {least} training images: {len(some)} of {len(train)}"
        examples = tuple(f"{sizes.classes[k]}: {train[k]}" for k in some[np.argsort(train[some], kind="stable")])
        found.append(Finding("warning", "few images", len(some), said, examples))
    return found


def check_class_names(classes: Sequence[str]) -> list[Finding]:
    """Class names that may be meant to be one: alike but for case and blanks (a warning), or for one letter (a note)."""
    plain = ["".join(unicodedata.normalize("NFKC", name).casefold().split()) for name in classes]
    groups: dict[str, list[str]] = {}
    for name, text in zip(classes, plain, strict=True):
        groups.setdefault(text, []).append(name)
    pairs = (pair for group in groups.values() for pair in combinations(group, 2))
    twins = [pair for pair in pairs if max(map(len, pair)) > 1]  # of letters alone, A and a are two
    spelt = {text: group[0] for text, group in groups.items()}
    slips = [(spelt[one], spelt[other]) for one, other in _one_letter_apart(list(spelt))]
    found = []
    if twins:
        said = f"{_count_noun(len(twins), 'pair', 'pairs')} of class names {_differ_verb(len(twins))} in case or blanks only"
        found.append(Finding("warning", "names alike", len(twins), said, tuple(f"{a!r} and {b!r}" for a, b in twins)))
    if slips:
        said = f"{_count_noun(len(slips), 'pair', 'pairs')} of class names {_differ_verb(len(slips))} in one letter: meant as two?"
        found.append(
            Finding("note", "names one letter apart", len(slips), said, tuple(f"{a!r} and {b!r}" for a, b in slips))
        )
    return found


def _one_letter_apart(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of texts that one letter makes one: another, one more or one less. A digit numbers, and is no slip.

    >>> _one_letter_apart(["shirt", "skirt", "shirts", "class1", "class2", "cat", "rat"])
    [('shirt', 'skirt'), ('shirt', 'shirts')]
    """
    # What two such texts share is what is left of one, or of both, without a letter at some place.
    without: dict[tuple[str, int], list[str]] = {}
    known = {text for text in texts if len(text) >= MIN_NAME_LENGTH}
    found: dict[tuple[str, str], None] = {}
    for text in texts:
        if text not in known:
            continue
        for place, letter in enumerate(text):
            if letter.isdigit():
                continue
            rest = text[:place] + text[place + 1 :]
            for other in [*without.get((rest, place), []), *([rest] if rest in known else [])]:
                found[min((text, other), (other, text), key=lambda pair: texts.index(pair[0]))] = None
            without.setdefault((rest, place), []).append(text)
    return list(found)


def check_balance(sizes: ClassCounts) -> list[Finding]:
    """How unequal the training classes are: the ratio of the extremes, and the entropy as a share of what equal ones have."""
    train = sizes.counts[:, 0]
    small, large = int(train.argmin()), int(train.argmax())
    share = train[train > 0] / max(1, train.sum())
    even = float(-(share * np.log(share)).sum() / np.log(max(2, len(train))))
    extent = f"'{sizes.classes[small]}' has {train[small]:,} training images, '{sizes.classes[large]}' {train[large]:,}"
    ratio = train[large] / max(1, train[small])
    if ratio == 1:
        said = f"all classes have {train[small]:,} training images"
    else:
        said = f"{extent}: 1 to {ratio:.1f}; evenness {even:.3f} (1 where all classes have as many)"
    return [Finding("warning" if ratio >= EXTREME_IMBALANCE else "note", "balance", len(train), said)]


def check_clean_labels(source: Source) -> list[Finding]:
    """The share of wrong labels, on the part of the data for which clean ones are given."""
    truth = source.truth
    if truth is None or np.array_equal(truth, source.labels):  # as of a published set
        return []
    known = np.flatnonzero(truth >= 0)
    wrong = known[truth[known] != source.labels[known]]
    of = f"{len(known):,} of {len(truth):,} images have a clean label"
    said = f"{of}; {len(wrong):,} of these ({100 * len(wrong) / max(1, len(known)):.1f} %) are labelled otherwise"
    label, right = source.labels[wrong].tolist(), truth[wrong].tolist()
    names_ = ((source.classes[a], source.classes[b]) for a, b in zip(label, right, strict=True))
    examples = (
        f"{_image_name(source, row)}: {a}, clean {b}" for row, (a, b) in zip(wrong.tolist(), names_, strict=True)
    )
    return [Finding("note", "clean labels", len(known), said, tuple(examples))]


def describe_shape(source: Source) -> Finding:
    """What nets get."""
    channels, height, width = source.shape
    colours = {1: "in grey", 3: "in colour"}.get(channels, f"of {channels} channels")
    count = len(source.labels)
    return Finding("note", "shape", count, f"{count:,} images of {width}x{height} {colours}, as nets see them")


def check_file_sizes(root: Path, files: Sequence[str], image_size: int) -> list[Finding]:
    """How large the image files are before they are brought to one size; only their headers are read."""
    with warnings.catch_warnings(action="ignore"):  # Pillow on notes in a file, and on large ones
        known = dict(_read_sizes(root, files))
    if not known:
        return []
    area = {file: width * height for file, (width, height) in known.items()}
    small, large = min(area, key=area.__getitem__), max(area, key=area.__getitem__)
    extent = " to ".join(dict.fromkeys(f"{known[file][0]}x{known[file][1]}" for file in (small, large)))
    most, times = Counter(known.values()).most_common(1)[0]
    said = f"files of {extent} pixels (width x height), {times:,} of {len(known):,} of {most[0]}x{most[1]}"
    found = [Finding("note", "sizes", len(known), said, (small, large) if small != large else (small,))]
    below = [file for file, size in known.items() if min(size) < image_size]
    if below:
        said = (
            f"files with a side shorter than {image_size} pixels, which are enlarged: {len(below):,} of {len(known):,}"
        )
        found.append(Finding("note", "enlarged", len(below), said, _with_sizes(below, known)))
    thin = [file for file, size in known.items() if max(size) > MAX_ASPECT_RATIO * min(size)]
    if thin:
        said = f"files more than {MAX_ASPECT_RATIO} times as long as wide, of which nets see the middle: {len(thin):,} of {len(known):,}"
        found.append(Finding("warning", "long", len(thin), said, _with_sizes(thin, known)))
    return found


def _read_sizes(root: Path, files: Sequence[str]) -> Iterator[tuple[str, tuple[int, int]]]:
    """Width and height of each file that is there, each once."""
    from PIL import Image

    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    for file in dict.fromkeys(files):
        try:
            with Image.open(root / file, formats=formats) as opened:
                yield file, opened.size
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue  # in a table's own bytes, or unreadable, which is a finding of its own


def _with_sizes(files: Sequence[str], known: Mapping[str, tuple[int, int]]) -> tuple[str, ...]:
    return tuple(f"{file}: {known[file][0]}x{known[file][1]}" for file in files)


def _part_indices(source: Source) -> Labels:
    """Which part each image is of, by number: (N,)."""
    if source.parts is None:
        return np.zeros(len(source.labels), np.int64)
    part: Labels = np.argmax([source.parts == part for part in PARTS], axis=0)
    return part


def _image_name(source: Source, row: int) -> str:
    """An image's name: its file, or its row and part."""
    if source.files is not None:
        return source.files[row]
    return f"row {row}" if source.parts is None else f"row {row} ({source.parts[row]})"


def _pair_examples(
    source: Source, rows: Labels, others: Labels, sign: str = "=", labels: bool = False
) -> tuple[str, ...]:
    def said(row: int) -> str:
        return (
            f"{_image_name(source, row)} [{source.classes[source.labels[row]]}]" if labels else _image_name(source, row)
        )

    return tuple(f"{said(row)} {sign} {said(other)}" for row, other in zip(rows.tolist(), others.tolist(), strict=True))


def _count_noun(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _differ_verb(count: int) -> str:
    return "differs" if count == 1 else "differ"


def _copy_phrase(count: int, kind: str) -> str:
    return f"is {'an' if kind == 'exact' else 'a'} {kind} copy" if count == 1 else f"are {kind} copies"
