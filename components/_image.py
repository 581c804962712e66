"""The images that components run in, one for each set of dependencies; named here and nowhere else."""

from etchline import __version__

# kfp's local runner takes an image without "python" in its name for one that runs something else.
TRAIN = f"etchline-train-python:{__version__}"
"""The extras `train`, `onnx` and `s3`."""
SERVE = f"etchline-serve-python:{__version__}"
"""The extras `train`, `serve` and `s3`."""
