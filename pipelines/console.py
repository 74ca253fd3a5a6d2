"""Where a person reads along."""

import sys

from rich.console import Console

# A log has no width of its own, and tables need some.
console = Console(soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 110)
