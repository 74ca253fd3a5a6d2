"""Write the golden file again, after an intended change of results: python tests/golden/regenerate.py"""

import json
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.golden import fingerprints


def main() -> None:
    torch.set_num_threads(1)
    content = {
        "versions": fingerprints.describe_versions(),
        "metrics": fingerprints.describe_metrics(),
        "trainings": {name: train() for name, train in fingerprints.TRAININGS.items()},
    }
    text = json.dumps(content, separators=(",", ":")).replace('"versions"', '\n"versions"').replace(']}],"', ']}],\n"')
    fingerprints.FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
