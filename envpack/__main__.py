"""``python -m envpack``."""

from envpack.cli import main

main()
