"""Write the golden file again, after an intended change of results: python tests/golden/regenerate.py [NAME ...]

With names of trainings, such as those of new methods, only these are trained, and the others are kept.
"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.golden import fingerprints


def main() -> None:
    torch.set_num_threads(1)
    names = sys.argv[1:] or list(fingerprints.TRAININGS)
    stored = json.loads(fingerprints.FILE.read_text(encoding="utf-8"))["trainings"] if sys.argv[1:] else {}
    trainings = {**stored, **{name: fingerprints.TRAININGS[name]() for name in names}}
    content = {
        "versions": fingerprints.describe_versions(),
        "metrics": fingerprints.describe_metrics(),
        "trainings": {name: trainings[name] for name in fingerprints.TRAININGS if name in trainings},
    }
    text = json.dumps(content, separators=(",", ":")).replace('"versions"', '\n"versions"').replace(']}],"', ']}],\n"')
    fingerprints.FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
