"""What a holder of a port notes about its turns on a card that others use too.

Held --> decision "held" (asked, since, until in ns; behind whom)   exact, for traces and for proofs of exclusion
--> numbers `card_held_s`, `card_wait_s`                       for charts and idle shares
"""

from __future__ import annotations

from actors.kernel.context import Context
from actors.roster import Numbers, seconds
from policies.card import Held


def note_turn(numbers: Numbers, context: Context, turn: Held) -> None:
    """Record a turn that is over."""
    context.decide("held", turn.asked_ns, turn.since_ns, turn.until_ns, turn.behind)
    numbers.add(context, "card_held_s", seconds(turn.until_ns - turn.since_ns))
    numbers.add(context, "card_wait_s", seconds(turn.since_ns - turn.asked_ns))
