"""A stand-in's turns on a card that others use too, on the clock of its world: nothing blocks, it looks again.

    want --card is ours--> go() ... --another waits--> rest() --> Held --> want (behind the other)
                               '--> done() --> Held

What the stand-in does takes time only between `go` and `rest` or `done`; one that has no `rest` (an update) keeps the
card until it is done.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from actors.kernel.backend import Clock
from actors.kernel.operations import ns
from policies.card import LOOK_S, Card, Held, Share, card_of


class Turns:
    """One stand-in's turns; without a shared card it is always its turn."""

    def __init__(
        self,
        config: dict[str, Any],
        clock: Clock,
        emit: Callable[[Held], None],
        go: Callable[[], None],
        rest: Callable[[], None] | None = None,
    ) -> None:  # the section `card` of a run's settings, its world, and what is done at each edge
        share = msgspec.convert(config.get("card", {}), Share)
        self._card: Card | None = card_of(share, clock.name, clock.now)
        self._clock = clock
        self._emit = emit
        self._go = go
        self._rest = rest
        self._looking = False
        self._wants = False

    @property
    def ours(self) -> bool:
        """Whether work takes place now."""
        return self._card is None or self._card.held

    def want(self) -> None:
        """There is work: `go` is called as soon as the card is ours, at once if it is free."""
        self._wants = True
        if not self._looking and self._card is not None:
            self._look(None)

    def done(self) -> None:
        """There is no work any more."""
        self._wants = False
        self._give()

    def close(self) -> None:
        """Hold and want nothing any more."""
        if self._card is not None:
            self._card.close()
            self._card, self._wants = None, False

    def _give(self) -> None:
        turn = self._card.give() if self._card is not None else None
        if turn is not None:
            self._emit(turn)

    def _look(self, _: None) -> None:
        self._looking = False
        card = self._card
        if card is None or not self._wants:
            return
        if self._rest is not None and card.wanted():
            self._rest()
            self._give()
        if not card.held and card.attempt():
            self._go()
        if not self._looking and self._wants:
            self._looking = True
            self._clock.call_later(ns(LOOK_S), self._look, None)
