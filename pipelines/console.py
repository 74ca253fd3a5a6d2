"""The console that commands print to."""

import sys

from rich.console import Console

# A log file has no width, but tables need one.
console = Console(soft_wrap=True, emoji=False, width=None if sys.stdout.isatty() else 110)
