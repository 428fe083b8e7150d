"""envpack: a conda environment becomes one reproducible container file.

The public Python API is :mod:`envpack.pipeline`, one function a command.
"""

__version__ = "0.1.0"
