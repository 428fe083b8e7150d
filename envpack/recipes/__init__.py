"""Texts that describe an image: activation, ``/.singularity.d``, definition file, Dockerfile."""
