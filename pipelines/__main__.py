"""python -m pipelines: what MLproject calls, from the project's root."""

from pipelines.cli import main

main()
