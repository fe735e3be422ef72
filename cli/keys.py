"""`braid keys FILE`: makes the CURVE keys with which the processes of a run talk over TCP."""

from __future__ import annotations

import argparse
from pathlib import Path

NAME = "keys"
HELP = "make the keys of a run that spans machines"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("file", help="a new file; it gets mode 600")
    parser.add_argument(
        "--admit", action="append", default=[], metavar="PUBLIC", help="a further public key that is let in"
    )


def main(args: argparse.Namespace) -> int:
    """Write the file and print the public half; the exit status."""
    from actors.live.keys import make_keys, write_keys

    keys = make_keys(tuple(args.admit))
    write_keys(Path(args.file), keys)
    print(f"{args.file}: public key {keys.public}")
    return 0
