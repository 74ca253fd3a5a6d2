"""Names of the folders that results are written to: readable, in any script, and legal on every file system."""

import re
import unicodedata
from pathlib import Path

DATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq", ".npz")
SET_ASIDE = re.compile(r"\.\d{8}-\d{6}")  # the end of the name of a folder that --fresh replaced
MAX_BYTES = 150  # of a name in UTF-8; file systems allow 255, and digests and suffixes are added


def short_dataset_name(dataset: str) -> str:
    """Return a recognisable name of a data set: the last part of its path, or its published name.

    >>> short_dataset_name("folder:photos/v1.2"), short_dataset_name("csv:tables/birds.csv"), short_dataset_name("cifar10")
    ('v1.2', 'birds', 'cifar10')
    """
    kind, _, text = dataset.partition(":")
    if not text:
        return kind
    path = Path(text).expanduser()
    if not re.search(r"\w", path.name):  # as for '.', '..' and '*'
        path = path.parent if "*" in path.name else path.resolve()
    return path.stem if path.suffix.lower() in DATA_SUFFIXES else path.name


def legal_folder_name(text: str) -> str:
    """Replace what is not a letter, digit or one of '.+=_-', and shorten; empty if nothing is left.

    >>> [legal_folder_name(text) for text in ("фото v1.2: manifest(file=a/b.csv)", "../../x", "???")]
    ['фото-v1.2-manifest-file=a-b.csv', 'x', '']
    """
    name = re.sub(r"[^\w.+=-]+", "-", unicodedata.normalize("NFC", text)).strip("-.")
    return name.encode()[:MAX_BYTES].decode(errors="ignore").strip("-.")
