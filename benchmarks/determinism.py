"""Which circumstances change the weights of a training: threads, precision, the processor's instructions.

    python benchmarks/determinism.py [--epochs 2] [--net wrn_10_2]

Trains on digits, with 40 % of the labels wrong, in a process for each circumstance, and compares the weights and the predicted
classes of the test images.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from robustkd.data import manifest, normalisation, sources, splits
from robustkd.method_spec import MethodSpec
from robustkd.study.evaluate import evaluation_loader
from robustkd.study.options import StudyOptions
from robustkd.study.plan import Run, Settings
from robustkd.study.run import train
from robustkd.training.inference import predict_logits
from scenarios import parse

AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}
FP32, BF16 = "fp32, 1 thread", "bf16, 1 thread"


class Circumstance(NamedTuple):
    """How a training is run, and the circumstance that it is compared with."""

    name: str
    precision: str
    threads: int
    environment: dict[str, str]
    reference: str


CIRCUMSTANCES = (
    Circumstance(FP32, "fp32", 1, {}, ""),
    Circumstance("the same again", "fp32", 1, {}, FP32),
    Circumstance("fp32, 2 threads", "fp32", 2, {}, FP32),
    Circumstance("fp32, 2 threads, again", "fp32", 2, {}, "fp32, 2 threads"),
    Circumstance("fp32, 1 thread, no instructions beyond AVX2", "fp32", 1, AVX2, FP32),
    Circumstance(BF16, "bf16", 1, {}, FP32),
    Circumstance("bf16, 1 thread, again", "bf16", 1, {}, BF16),
    Circumstance("bf16, 2 threads", "bf16", 2, {}, BF16),
)
Outcome = dict[str, NDArray[Any]]


def train_and_save(path: Path, precision: str, threads: int, epochs: int, net: str) -> None:
    """Train a student and save its weights, and its predictions for the test images."""
    torch.set_num_threads(threads)
    source = sources.load_dataset("digits")
    rows = splits.split_source(source, held_out=0.1, seed=0)
    data = manifest.build_splits(parse("noise0.4"), source, rows, seed=0)
    options = StudyOptions(scenario="noise0.4", student=net, epochs=epochs)
    settings = Settings.of(options, "cpu", precision == "bf16", *normalisation.channel_mean_std(data.train))
    model = train(data, Run("student", MethodSpec.parse("baseline"), 0), settings).model
    weights = torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()]).numpy()
    logits = predict_logits(model, evaluation_loader(data.test, torch.device("cpu")))
    np.savez(path, weights=weights, classes=logits.argmax(axis=1))


def main() -> None:
    """Print a row for each circumstance."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--net", default="wrn_10_2")
    parser.add_argument("--child", nargs=3, metavar=("FILE", "PRECISION", "THREADS"), help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.child:
        path, precision, threads = words.child
        train_and_save(Path(path), precision, int(threads), words.epochs, words.net)
        return
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}, {words.net}, {words.epochs} epochs\n")
    print("| circumstance | compared with | largest difference of a weight | test images of another class |")
    print("|---|---|---|---|")
    outcomes: dict[str, Outcome] = {}
    with tempfile.TemporaryDirectory() as folder:
        for each in CIRCUMSTANCES:
            path = Path(folder) / "outcome.npz"
            child = ["--child", str(path), each.precision, str(each.threads)]
            options = ["--epochs", str(words.epochs), "--net", words.net]
            environment = {**os.environ, **each.environment}
            subprocess.run([sys.executable, __file__, *child, *options], check=True, env=environment)
            with np.load(path) as file:
                outcomes[each.name] = dict(file)
            if each.reference:
                print(
                    f"| {each.name} | {each.reference} | {compare(outcomes[each.name], outcomes[each.reference])} |",
                    flush=True,
                )


def compare(one: Outcome, other: Outcome) -> str:
    """Return the largest difference of a weight, and the share of images that are given another class, as cells."""
    difference, changed = np.abs(one["weights"] - other["weights"]).max(), (one["classes"] != other["classes"]).mean()
    return f"{'none: equal bits' if difference == 0 else f'{difference:.1g}'} | {changed:.1%}"


if __name__ == "__main__":
    main()
