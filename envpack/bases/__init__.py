"""Base images: which ones are known, which one fits the packages, and how it is had from a registry."""
