"""Stages of a study: prepare, teacher, distil, evaluate, compare, and run, which is all of them.

Stages communicate only through the study's folder. The project consists of three packages, and `scenarios` and `pipelines`
are common names: a foreign package that shadows one of ours is reported here, before it is imported by mistake.
"""

import importlib.util
from pathlib import Path

_home = Path(__file__).resolve().parent.parent
for _name in ("robustkd", "scenarios"):
    _spec = importlib.util.find_spec(_name)
    _found = Path(_spec.origin).resolve().parent if _spec is not None and _spec.origin else None
    if _found != _home / _name:
        raise SystemExit(
            f"robustkd: the package '{_name}' should be in {_home}, but Python finds {_found or 'none'}: "
            "start from another folder, or rename the other package"
        )
