"""Numbers and lists as text, the same in every document: shares in per cent, differences in points, a hyphen where missing."""

import re
import time
from collections.abc import Sequence

import numpy as np

from robustkd.evaluation.metric_table import find_metric

MISSING = "-"


def format_value(value: float, metric: str = "accuracy") -> str:
    """Format a metric: a share in per cent, another number as it is.

    >>> format_value(0.9342), format_value(0.31416, "nll"), format_value(float("nan"))
    ('93.4', '0.314', '-')
    """
    if value != value:
        return MISSING
    scale, digits = (100, 1) if find_metric(metric).unit == "share" else (1, 3)
    return f"{scale * value:.{digits}f}"


def format_spread(std: float, metric: str = "accuracy") -> str:
    """Format a standard deviation; an empty string where there is none, as for one seed."""
    return f"± {format_value(std, metric)}" if std == std else ""


def format_mean(mean: float, std: float, metric: str = "accuracy") -> str:
    """Format a mean with its standard deviation.

    >>> format_mean(0.934, 0.012), format_mean(1.5, 0.25, "nll"), format_mean(float("nan"), float("nan"))
    ('93.4 ± 1.2', '1.500 ± 0.250', '-')
    """
    return f"{format_value(mean, metric)} {format_spread(std, metric)}".strip()


def format_points(share: float, signed: bool = True) -> str:
    """Format a share or a difference of shares in points; zero has no sign.

    >>> format_points(0.0312), format_points(-0.0001), format_points(0.5, signed=False), format_points(float("nan"))
    ('+3.1', '0.0', '50.0', '-')
    """
    if share != share:
        return MISSING
    value = round(100 * share, 1)
    return f"{value:+.1f}" if signed and value else f"{abs(value):.1f}"


def format_interval(low: float, high: float) -> str:
    """Format an interval of differences in points.

    >>> format_interval(-0.012, 0.031), format_interval(float("nan"), float("nan"))
    ('[-1.2, +3.1]', '-')
    """
    return f"[{format_points(low)}, {format_points(high)}]" if low == low and high == high else MISSING


def format_p_value(p: float) -> str:
    """Format a p-value.

    >>> format_p_value(0.0123), format_p_value(0.00004), format_p_value(1.0), format_p_value(float("nan"))
    ('0.012', '< 0.001', '1.000', '-')
    """
    return MISSING if p != p else "< 0.001" if p < 0.001 else f"{p:.3f}"


def format_quantity(value: float) -> str:
    """Format a quantity to three digits, with an SI prefix.

    >>> [format_quantity(value) for value in (83466.0, 12.34, 999.7, 2.5e9, 0.0, float("nan"))]
    ['83.5 k', '12.3', '1.00 k', '2.50 G', '0', '-']
    """
    if value != value or value == 0:
        return MISSING if value else "0"
    value = float(f"{value:.3g}")  # rounded first: 999.7 is 1.00 k
    power = int(np.clip(np.floor(np.log10(abs(value))) // 3, 0, 4))
    scaled = value / 1000**power
    digits = max(0, 2 - int(np.floor(np.log10(abs(scaled))))) if abs(scaled) < 1000 else 0
    return f"{scaled:.{min(digits, 3)}f}{('', ' k', ' M', ' G', ' T')[power]}"


def format_count(count: int, noun: str) -> str:
    """Format a number of things.

    >>> format_count(1, "seed"), format_count(5, "seed")
    ('1 seed', '5 seeds')
    """
    return f"{count} {noun}{'' if count == 1 else 's'}"


def format_range(numbers: range) -> str:
    """Format consecutive integers.

    >>> format_range(range(5)), format_range(range(3, 4))
    ('0 to 4', '3')
    """
    return f"{numbers[0]} to {numbers[-1]}" if len(numbers) > 1 else f"{numbers[0]}"


def format_time(seconds: float) -> str:
    """Format seconds since 1970, in UTC.

    >>> format_time(0)
    '1970-01-01 00:00 UTC'
    """
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def typeset(text: str) -> str:
    """Replace hyphens before numbers by minus signs, a missing value by a dash, and remove the sign of zero.

    >>> typeset("from -3.1 to [-0.5, +0.0] of cifar-10"), typeset("-")
    ('from −3.1 to [−0.5, 0.0] of cifar-10', '–')
    """
    if text == MISSING:
        return "–"
    unsigned = re.sub(r"(?<![^\s(\[])[+-](?=0\.0(?!\d))", "", text)
    return re.sub(r"(?<![^\s(\[])-(?=\d)", "−", unsigned)


def keep_units(text: str) -> str:
    """Prevent a line break between a number and its per cent sign.

    >>> keep_units("80 % power")
    '80\\xa0% power'
    """
    return text.replace(" %", "\N{NO-BREAK SPACE}%")


def to_sentence(text: str) -> str:
    """Begin with a capital letter and end with a full stop."""
    return f"{capitalise(text)}." if text else ""


def capitalise(text: str) -> str:
    """Begin with a capital letter, and leave the other letters as they are.

    >>> capitalise("recall of CIFAR-10")
    'Recall of CIFAR-10'
    """
    return text[:1].upper() + text[1:]


def join_first(items: Sequence[str], limit: int) -> str:
    """Join the first items of a list, and say how many more there are.

    >>> join_first(["a", "b", "c"], 2)
    'a; b; and 1 more'
    """
    return "; ".join(items[:limit]) + (f"; and {len(items) - limit} more" if len(items) > limit else "")


def join_ends(items: Sequence[str], each: int) -> str:
    """Join the items at both ends of a list.

    >>> join_ends(["a", "b", "c", "d"], 1)
    'a; …; d'
    """
    return "; ".join(items) if len(items) <= 2 * each else "; ".join([*items[:each], "…", *items[-each:]])
