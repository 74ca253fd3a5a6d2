"""Perturbations of images: pure functions of a network and images. Parameters, their gradients and modes stay as they are."""
