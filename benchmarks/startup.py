"""Response time of the command line: seconds per process, and the ratio to `import torch`.

python benchmarks/startup.py [--runs 5]
"""

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = (
    ("import torch", ["-c", "import torch"]),
    ("--help", ["-m", "pipelines", "--help"]),
    ("run --help", ["-m", "pipelines", "run", "--help"]),
    ("a misspelt scenario", ["-m", "pipelines", "run", "--scenario", "nois0.4"]),
    ("a rate out of bounds", ["-m", "pipelines", "run", "--scenario", "noise1.4"]),
    ("a misspelt method", ["-m", "pipelines", "run", "--scenario", "clean", "--methods", "hintn"]),
    ("a misspelt net", ["-m", "pipelines", "run", "--scenario", "clean", "--student", "resent20"]),
    ("a misspelt hyperparameter", ["-m", "pipelines", "run", "--scenario", "clean", "--methods", "hinton(tmp=2)"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    torch_seconds = 0.0
    for name, command in COMMANDS:
        times = []
        for _ in range(arguments.runs + 1):
            start = time.perf_counter()
            subprocess.run([sys.executable, *command], capture_output=True, check=False)
            times.append(time.perf_counter() - start)
        median = statistics.median(times[1:])  # the first run fills the disk cache
        torch_seconds = torch_seconds or median
        print(f"{name:28} {median:.2f} s, {median / torch_seconds:.2f} of `import torch`")


if __name__ == "__main__":
    main()
