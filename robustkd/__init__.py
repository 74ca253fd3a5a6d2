"""robustkd: knowledge distillation under label noise and class imbalance, compared with plain training.

Importing the package is cheap: torch is imported only by the modules that compute with it.
"""

__version__ = "0.1.0"
