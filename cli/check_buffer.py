"""`braid check-buffer my_module:MyBuffer`: the kit of `buffers/testing` on a buffer of one's own.

Exit status 0 if everything that it claims holds, 1 with the violated invariant and the shrunk steps, 2 if it is no
buffer at all.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from buffers.errors import UsageError

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
    module, _, name = args.buffer.partition(":")
    if not module or not name:
        raise UsageError(f"{args.buffer!r} must be MODULE:NAME, e.g. my_module:MyBuffer")
    sys.path.insert(0, str(Path.cwd()))
    try:
        factory = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{args.buffer} cannot be found ({error}); name a module that can be imported") from error
    try:
        report = check(factory, args.examples)
    except BrokenBuffer as broken:
        print(f"{args.buffer} is broken after {broken.examples} examples\n{broken}")
        return 1
    claims = ", ".join(report.abilities) or "nothing beyond the core"
    print(f"{args.buffer} holds over {report.examples} examples; it claims {claims}")
    return 0
