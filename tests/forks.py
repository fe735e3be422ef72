"""Work in a fork of this process: no imports to wait for, and a death that is felt by nobody else."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable


def in_child(work: Callable[[int], None]) -> tuple[int, int]:
    """(process, reading end of its pipe) of a fork that gets the writing end; it leaves with 1 if its work raises."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(writing)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(writing)
    return child, reading


def status_of(child: int) -> int:
    """Exit status of a fork, which is waited for; minus the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
