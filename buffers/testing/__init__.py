"""The kit: property tests for anybody's buffer.

    from buffers.testing import check
    check(MyBuffer)              # raises BrokenBuffer: the violated invariant and the shrunk steps, in words

`MyBuffer` is a class (or any callable without arguments) whose instances offer the methods of
`protocol.BufferUnderTest` and name their further abilities. From the shell: `braid check-buffer my_module:MyBuffer`.
Needs the extra `testing`.
"""

from __future__ import annotations

from buffers.testing.checking import BrokenBuffer, Report, check
from buffers.testing.protocol import ABILITIES, BufferUnderTest, NotABuffer

__all__ = ["ABILITIES", "BrokenBuffer", "BufferUnderTest", "NotABuffer", "Report", "check"]
