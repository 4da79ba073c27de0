"""Shipped weights: NAME.safetensors beside its card NAME.json (read by `detection.weightfile`)."""
