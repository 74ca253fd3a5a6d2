"""The load of the machine while a study runs, by MLflow's own monitor: CPU, memory, disk, network and, where it can, GPUs."""

import importlib.util
import logging
from typing import TYPE_CHECKING

from robustkd.errors import UsageError

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

OPTION = "--system-metrics"


def require_psutil() -> None:
    """Raise a UsageError if the package that MLflow measures with is missing."""
    if importlib.util.find_spec("psutil") is None:
        raise UsageError(
            f"{OPTION}: MLflow measures the machine with psutil, which is not installed: pip install psutil"
        )


def start_monitor(run_id: str, tracking_uri: str) -> "SystemMetricsMonitor":
    """Measure the machine in a thread, and log it to a run until the monitor's `finish` is called."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    # Without this it reports each start and end, and warns where there is no GPU.
    logging.getLogger("mlflow.system_metrics").setLevel(logging.CRITICAL)
    monitor = SystemMetricsMonitor(run_id, resume_logging=True, tracking_uri=tracking_uri)  # type: ignore[no-untyped-call]
    monitor.start()  # type: ignore[no-untyped-call]
    return monitor
