"""Tests run in parallel where pytest-xdist is installed; `-n 0` runs them in one process, as a debugger needs."""

import os
from importlib.util import find_spec

import pytest

MAX_WORKERS = 4  # tests are small, and each worker imports torch

# Modules whose doctests are collected, though they need a package that is not installed with the tests.
collect_ignore = [] if find_spec("ray") else ["robustkd/study/ray_pool.py"]


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the number of workers, unless it is given: one process for single files and for tests on a GPU."""
    option = config.option
    if getattr(option, "numprocesses", 0) is not None:  # given with -n, or without the plugin
        return
    if "PYTEST_XDIST_WORKER" in os.environ:  # a worker, which must not start workers of its own
        return
    single_files = any(argument.partition("::")[0].endswith(".py") for argument in config.args)
    on_gpu = "gpu" in option.markexpr.replace("not gpu", "")
    if not (single_files or on_gpu or option.collectonly or option.usepdb):
        option.numprocesses = min(MAX_WORKERS, os.cpu_count() or 1)
        option.tx = ["popen"] * option.numprocesses
        option.dist = "loadfile"  # module fixtures are made once
