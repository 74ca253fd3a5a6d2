"""python -m pipelines: the command that MLproject calls from the project's root."""

from pipelines.cli import main

main()
