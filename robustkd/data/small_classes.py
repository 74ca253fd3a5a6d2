"""Leave out the classes of a data set that have too few training images."""

from dataclasses import replace

import numpy as np

from robustkd.data.labels import Annotations
from robustkd.data.view import Labels, Source
from robustkd.errors import UsageError
from robustkd.hashing import digest


def leave_out_small_classes(source: Source, minimum: int) -> Source:
    """Return a data set without the classes that have fewer training images than the minimum.

    Without parts, all images count. A true label that is left out becomes unknown.

    Raises:
        UsageError: fewer than two classes are left.
    """
    trained = source.labels if source.parts is None else source.labels[source.parts == "train"]
    counts = np.bincount(trained, minlength=len(source.classes))
    small = counts < minimum
    if not small.any():
        return source
    if len(source.classes) - np.count_nonzero(small) < 2:
        raise UsageError(
            f"{source.name}: --min-class {minimum} leaves fewer than two classes; the largest have"
            f" {' and '.join(map(str, np.sort(counts)[:-3:-1]))} training images"
        )
    kept = ~small[source.labels]
    numbers = np.append(np.where(small, -1, np.cumsum(~small) - 1), -1)  # the last is for unknown true labels
    annotations = Annotations(
        numbers[source.labels],
        tuple(name for name, left_out in zip(source.classes, small, strict=True) if not left_out),
        None if source.truth is None else numbers[source.truth],
        source.parts,
        source.groups,
    ).take(kept)
    images, files = source.images[kept], source.files
    return replace(
        source,
        images=images,
        **annotations._asdict(),
        files=None if files is None else tuple(np.array(files, object)[kept]),
        fingerprint=annotations.fingerprint(digest(images), source.flips),
        notes=(*source.notes, _describe_left_out(source, counts, minimum, int(np.count_nonzero(~kept)))),
    )


def _describe_left_out(source: Source, counts: Labels, minimum: int, images: int) -> str:
    small = np.flatnonzero(counts < minimum)
    names = ", ".join(f"{source.classes[label]} ({counts[label]})" for label in small)
    return f"--min-class {minimum} leaves out {len(small)} of {len(counts)} classes ({images:,} images in all): {names}"
