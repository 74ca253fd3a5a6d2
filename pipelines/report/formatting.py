"""Figures as people read them: in per cent, in points, with a dash for what was not measured."""

import numpy as np

from robustkd.evaluation.metric_table import find_metric


def points(share: float, signed: bool) -> str:
    """A share or a difference of shares in points; nothing has no sign, and what was not measured is a dash.

    >>> points(0.0312, True), points(-0.0001, True), points(0.5, False), points(float("nan"), True)
    ('+3.1', '0.0', '50.0', '-')
    """
    if share != share:
        return "-"
    value = round(100 * share, 1)
    return f"{value:+.1f}" if signed and value else f"{abs(value):.1f}"


def interval(low: float, high: float) -> str:
    """An interval of differences in points.

    >>> interval(-0.012, 0.031), interval(float("nan"), float("nan"))
    ('[-1.2, +3.1]', '-')
    """
    return f"[{points(low, True)}, {points(high, True)}]" if low == low else "-"


def chance(p: float) -> str:
    """A p-value.

    >>> chance(0.0123), chance(0.00004), chance(1.0), chance(float("nan"))
    ('0.012', '< 0.001', '1.000', '-')
    """
    return "-" if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def spread(mean: float, std: float, metric: str = "accuracy") -> str:
    """Format a mean with its standard deviation; one seed has none, and what was not measured is a dash.

    Args:
        metric: its name; shares are shown in per cent.

    >>> spread(0.934, 0.012), spread(1.5, 0.25, "nll"), spread(float("nan"), float("nan"))
    ('93.4 ± 1.2', '1.500 ± 0.250', '-')
    """
    if mean != mean:
        return "-"
    scale, digits = (100, 1) if find_metric(metric).unit == "share" else (1, 3)
    return f"{scale * mean:.{digits}f}" + (f" ± {scale * std:.{digits}f}" if std == std else "")


def amount(value: float) -> str:
    """A quantity to three digits, with the SI's letter.

    >>> amount(83466.0), amount(12.34), amount(2.5e9), amount(0.0), amount(float("nan"))
    ('83.5 k', '12.3', '2.50 G', '0', '-')
    """
    if value != value or value == 0:
        return "-" if value else "0"
    power = int(np.clip(np.floor(np.log10(abs(value))) // 3, 0, 4))
    scaled = value / 1000**power
    digits = max(0, 2 - int(np.floor(np.log10(abs(scaled))))) if abs(scaled) < 1000 else 0
    return f"{scaled:.{min(digits, 3)}f}{('', ' k', ' M', ' G', ' T')[power]}"
