"""What a reward looks at: the texts of one ended trajectory."""

from __future__ import annotations

import msgspec

from buffers.segment import EndReason


class Answered(msgspec.Struct, frozen=True):
    """One ended trajectory as text."""

    prompt: str
    response: str
    answer: str
    """The prompt's reference answer, in the form that its task chose."""
    end: EndReason = "stop"
