"""`python serve.py PARENT_PID ARGUMENTS...`: an SGLang server that dies with the process that started it.

Runs in the interpreter that SGLang is installed in, where nothing of this house need be importable. SGLang's own
children end with this process in the same way.
"""

from __future__ import annotations

import ctypes
import os
import runpy
import signal
import sys

PR_SET_PDEATHSIG = 1


def die_with(parent: int) -> None:
    """Let the system kill this process when the thread that started it ends; end now if that has happened already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)


if __name__ == "__main__":
    die_with(int(sys.argv.pop(1)))
    runpy.run_module("sglang.launch_server", run_name="__main__", alter_sys=True)
