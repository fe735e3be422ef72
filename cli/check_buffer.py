"""`braid check-buffer my_module:MyBuffer`: the kit of `buffers/testing` on a buffer of one's own.

Exit status 0 if everything that it claims holds, 1 with the violated invariant and the shrunk steps, 2 if it is no
buffer at all.
"""

from __future__ import annotations

import argparse

from buffers.errors import UsageError
from buffers.plugin import load

NAME = "check-buffer"
HELP = "property-test a buffer of your own"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("buffer", metavar="MODULE:NAME", help="a class or function that makes a buffer")
    parser.add_argument("--examples", type=int, default=400, help="runs of the state machine")


def main(args: argparse.Namespace) -> int:
    """Test and print; the exit status."""
    try:
        from buffers.testing import BrokenBuffer, check
    except ImportError as error:
        raise UsageError(f"check-buffer needs hypothesis: pip install 'braid-rl[testing]' ({error})") from error
    if args.examples < 1:
        raise UsageError(f"--examples is {args.examples}; it must be at least 1")
    factory = load(args.buffer)
    try:
        report = check(factory, args.examples)
    except BrokenBuffer as broken:
        print(f"{args.buffer} is broken after {broken.examples} examples\n{broken}")
        return 1
    claims = ", ".join(report.abilities) or "nothing beyond the core"
    print(f"{args.buffer} holds over {report.examples} examples; it claims {claims}")
    return 0
