"""`python -m cli` is `braid`."""

from cli.main import run

run()
