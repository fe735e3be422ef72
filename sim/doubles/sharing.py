"""Devices that generation and training share in turns, and what the change from one to the other takes.

    generate --trainer wants them--> engines idle (or made to stop) --switch_ns--> train
    train    --an engine has work, the trainer none--> --switch_ns--> generate

With `waits` the trainer waits until no engine has a job (synchronous training: the batch is complete); otherwise
engines stop at the end of the step that they are making, though not before they have had `turn_ns`. What their caches
held is gone after training, because the trainer needs the memory, unless `drops` is False.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol

from actors.kernel.backend import Clock
from sim.doubles.meter import Meter


class Engine(Protocol):
    """What is asked of an engine on shared devices."""

    def resume(self) -> None:
        """The devices are yours; or, if you have them, look up after this step."""

    def drop_cache(self) -> None:
        """What was held is gone."""


class Sharing:
    """One set of shared devices."""

    def __init__(
        self, switch_ns: int, waits: bool, meter: Meter, drops: bool = True, turn_ns: int = 0
    ) -> None:  # what a change takes, and what holds while the devices are shared
        self._meter = meter
        self._switch_ns = switch_ns
        self._waits = waits
        self._drops = drops
        self._turn_ns = turn_ns
        self._since_ns = 0
        """When generation began."""
        self._stops = False
        """Engines are to stop for the trainer."""
        self._mode: Literal["generate", "train"] = "generate"
        self._switching = False
        self._wanted: tuple[Clock, Callable[[Any], None], Any] | None = None
        """What the trainer wants to begin."""
        self._training = False
        self._engines: dict[int, Engine] = {}
        self._at_work: set[int] = set()
        """Engines that do, or have, something; with `waits` these hold the devices."""
        self._parked: set[int] = set()
        self._clock: Clock | None = None
        self.switches = 0

    def join(self, engine: Engine) -> None:
        """An engine on these devices."""
        self._engines[id(engine)] = engine

    def leave(self, engine: Engine) -> None:
        """An engine is gone."""
        self._engines.pop(id(engine), None)
        self._at_work.discard(id(engine))
        self._parked.discard(id(engine))
        self._hand_over()

    def lets(self, engine: Engine) -> bool:
        """Whether an engine may go on; if not, it is resumed when it may."""
        if self._mode == "generate" and not self._switching and not self._stops:
            self._at_work.add(id(engine))
            return True
        self._parked.add(id(engine))
        return False

    def rests(self, engine: Engine, idle: bool) -> None:
        """An engine stands still; `idle`: it has no job either."""
        if id(engine) in self._parked:
            if idle:
                self._parked.discard(id(engine))
            elif self._mode == "train" and not self._training and self._wanted is None:
                self._back()
        self._at_work.discard(id(engine))
        self._hand_over()

    def take(self, clock: Clock, call: Callable[[Any], None], argument: Any) -> None:
        """The trainer wants the devices: `call(argument)` once it has them."""
        self._clock = clock
        if self._mode == "train" and not self._switching:
            self._training = True
            call(argument)
            return
        self._wanted = clock, call, argument
        if not self._waits:
            left = self._since_ns + self._turn_ns - clock.now()
            if left > 0 and self._at_work:
                clock.call_later(left, self._stop_engines, None)
            else:
                self._stop_engines(None)
        self._hand_over()

    def _stop_engines(self, _: None) -> None:
        if self._wanted is not None and self._mode == "generate":
            self._stops = True
            for number, engine in list(self._engines.items()):
                if number in self._at_work:
                    engine.resume()

    def give(self) -> None:
        """The trainer has nothing to do for now."""
        self._training = False
        if self._parked and self._wanted is None:
            self._back()

    def abandon(self) -> None:
        """The trainer is gone."""
        self._stops = False
        if self._switching and self._wanted is None:
            self._switching, self._mode = False, "generate"
        self._wanted = None
        self.give()

    def _hand_over(self) -> None:
        if self._wanted is None or self._switching or self._at_work or self._mode == "train":
            return
        clock = self._wanted[0]
        self._switching = True
        self._meter.switch(clock.now(), True)
        clock.call_later(self._switch_ns, self._to_training, clock)

    def _to_training(self, clock: Clock) -> None:
        self._meter.switch(clock.now(), False)
        if self._wanted is None:
            self._switching = False
            return
        call, argument = self._wanted[1:]
        self._wanted = None
        self._stops = False
        self._switching, self._mode, self._training = False, "train", True
        self.switches += 1
        for engine in self._engines.values() if self._drops else ():
            engine.drop_cache()
        call(argument)

    def _back(self) -> None:
        if self._switching or self._clock is None:
            return
        self._switching = True
        self._meter.switch(self._clock.now(), True)
        self._clock.call_later(self._switch_ns, self._to_generation, self._clock)

    def _to_generation(self, clock: Clock) -> None:
        self._meter.switch(clock.now(), False)
        self._switching, self._mode, self._since_ns = False, "generate", clock.now()
        self.switches += 1
        parked, self._parked = self._parked, set()
        for number, engine in self._engines.items():
            if number in parked:
                engine.resume()
        self._hand_over()
