"""How a net stands up to images that were changed: attacks and corruptions of the test set, measured on request."""
