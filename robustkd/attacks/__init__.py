"""Adversarial perturbations: functions of a network and images that leave parameters, gradients and modes unchanged."""
