"""Names of runs and models in MLflow, recognised without importing it."""

import re


def is_reference(text: str) -> bool:
    """Return whether a text is an MLflow run id or URI.

    >>> is_reference("runs:/0123/model"), is_reference("wrn_16_2")
    (True, False)
    """
    return bool(re.fullmatch(r"[0-9a-f]{32}|(runs|models|mlflow-artifacts):/.+", text))
