"""robustkd: knowledge distillation under noisy labels and unbalanced classes, compared honestly with plain training.

Importing the package costs nothing: torch is imported by the modules that compute, never by this one.
"""

__version__ = "0.1.0"
