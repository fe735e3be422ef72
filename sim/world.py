"""The virtual world: actors, their clock and their network, in one thread and without waiting.

    Life.transmit --encode--> lane --> heap --> Place.arrive --decode--> Cell.deliver
    Life.call_later --------------> heap ---------------------> Cell (timers, tasks) or port (its own clock)

A `Place` is what a name keeps over its incarnations, a `Life` is one incarnation; the heap is the `Kernel`'s, the lanes
are the `Network`'s. Every message passes through the codec; with `codec=False` it is handed over as it is, and the
digest is the same. Faults are verbs on the world (`crash`, `pause`, `slow` ...) and on its network, never flags in an
actor.

Invariants: at most one life per name; equal seeds, specs and verbs give equal digests, in every process. Left out: real
threads, and what an operating system may do to a process (the live world has both).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Literal
from zlib import crc32

import msgspec

from actors.kernel.asks import Window
from actors.kernel.backend import Decision, Envelope
from actors.kernel.cell import Cell
from actors.kernel.codec import Codec
from actors.kernel.context import ActorSpec
from actors.kernel.operations import ns
from actors.messages import ActorDied
from buffers.errors import ContractError
from sim.kernel import FOREVER, Kernel
from sim.life import Life, Maker
from sim.network import EVERYWHERE, Lane, Link, Network
from sim.place import Parcel, Place, as_it_is


class WorldConfig(msgspec.Struct, frozen=True):
    """The physics and the manners of a virtual world."""

    link: Link = Link()
    """Of every link that `links` does not name."""
    links: dict[str, Link] = {}
    """Links with physics of their own, by "sender->receiver"."""
    window: Window = Window()
    """Credit of every link that `windows` does not name."""
    windows: dict[str, Window] = {}
    codec: bool = True
    """Encode and decode every message."""
    mailbox: int = 4096
    """Messages that wait at a paused or slow actor; more are dropped."""
    spawn_ns: int = 0
    """From `spawn` to an actor's first message."""
    errors: Literal["raise", "death"] = "raise"
    """An actor's exception ends the run, or only the actor."""
    supervisor: str = ""
    """Who is told of deaths."""
    notice_ns: int = 1_000_000
    """How long the word of a death takes."""
    patience_ns: int = 0
    """The length of most timers (of asks): these are not sorted, for they are made in the order in which they end."""
    keep: bool = True
    """Keep decisions and numbers; without it they are only shown to `watch` and `measure`, and memory stays bounded."""


class VirtualWorld:
    """Actors on a virtual clock.

    `kinds` are the messages that its codec knows; `ports` puts something else behind a port: "module:name" of what a
    spec names to another "module:name" or to a callable (config, emit, clock).
    """

    def __init__(
        self,
        kinds: Iterable[type[msgspec.Struct]],
        seed: int = 0,
        config: WorldConfig | None = None,
        ports: Mapping[str, str | Maker] | None = None,
    ) -> None:
        self.seed = seed
        self.config = config = config or WorldConfig()
        self.kernel = Kernel()
        self.network = Network(seed, config.link, config.links)
        self.codec = Codec(kinds)
        self.encode: Callable[[Envelope], Parcel] = self.codec.encode if config.codec else as_it_is
        self.ports: Mapping[str, str | Maker] = ports or {}
        self.decisions: list[Decision] = []
        self.notes: list[tuple[int, str, str, float]] = []
        """(time ns, actor, name, value)."""
        self.refusals: list[str] = []
        """Why what arrived was no message, one line each."""
        self.living = 0
        """How many actors live."""
        self.lost = 0
        """Messages that arrived where nobody lived."""
        self.halts = False
        """The last death ends the run behind its event."""
        self.after_event: Callable[[VirtualWorld], None] | None = None
        """Called after every event: for checkers of invariants, whose exceptions end the run."""
        self.watch: Callable[[Decision], None] | None = None
        """Shown every decision."""
        self.measure: Callable[[int, str, str, float], None] | None = None
        """Shown every number: time ns, actor, name, value."""
        self._decided = 0
        self._encode_decision = msgspec.msgpack.Encoder().encode
        self._owners: dict[int, str] = {}
        self._places: dict[str, Place] = {}

    # ---- looking ------------------------------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Nanoseconds."""
        return self.kernel.now

    @property
    def digest(self) -> str:
        """Of all events and decisions so far: times, orders, names and integers."""
        return f"{self.kernel.digest:016x}{self._decided:08x}"

    @property
    def alive(self) -> list[str]:
        """Who lives, in order of first mention."""
        return [name for name, place in self._places.items() if place.life is not None]

    def cell(self, name: str) -> Cell:
        """The cell of an actor that lives."""
        life = self.place(name).life
        if life is None:
            raise ContractError(f"{name} does not live; living are {', '.join(self.alive) or 'none'}")
        return life.cell

    def life(self, name: str) -> Life | None:
        """The life of an actor, if it lives; looking changes nothing, not even the digest."""
        place = self._places.get(name)
        return None if place is None else place.life

    def place(self, name: str) -> Place:
        """The place of a name."""
        found = self._places.get(name)
        if found is None:
            found = self._places[name] = Place(self, name)
            self._owners[found.code] = name
        return found

    # ---- actors -------------------------------------------------------------------------------------------------

    def start(self, specs: Iterable[ActorSpec]) -> None:
        """Start actors, each as its first incarnation."""
        for spec in specs:
            self.spawn(spec, 1)

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor as a new incarnation; one that still lives is killed first."""
        place = self.place(spec.name)
        if incarnation <= place.incarnation:
            raise ContractError(f"{spec.name}: incarnation {incarnation} does not follow {place.incarnation}")
        self._end(spec.name, crash=True)
        place.spec = spec
        place.incarnation = incarnation
        code = self.kernel.code(f"start {spec.name}")
        self._owners[code] = spec.name
        place.starting = self.kernel.call_at(
            max(self.now + self.config.spawn_ns, place.opens_at), code, self._begin, place
        )

    def stop(self, name: str) -> None:
        """End an actor's life orderly: its `close()` is called; the supervisor hears of it.

        A frozen actor can do nothing orderly: it is killed.
        """
        place = self._known(name)
        if place.lives:
            self._end(name, crash=place.paused)
            self._tell(ActorDied(name, place.incarnation, "left"))

    def crash(self, name: str) -> None:
        """Kill an actor as kill -9 does: what was not durable is lost, and the supervisor hears of it."""
        place = self._known(name)
        if place.lives:
            self._end(name, crash=True)
            self._tell(ActorDied(name, place.incarnation, "killed"))

    def restart(self, name: str) -> None:
        """Start the next incarnation of an actor, killing the present one if it lives."""
        place = self._known(name)
        assert place.spec is not None
        self.spawn(place.spec, place.incarnation + 1)

    def pause(self, name: str) -> None:
        """Freeze an actor, as SIGSTOP does."""
        self._known(name).pause()

    def unpause(self, name: str) -> None:
        """Let a frozen actor go on."""
        self._known(name).unpause()

    def slow(self, name: str, service_ns: int) -> None:
        """Let each message of an actor take this long; 0: nothing again."""
        self._known(name).service_ns = service_ns

    def heal(self, target: str = EVERYWHERE) -> None:
        """Lift whatever lies on a link or an actor (faults, islands, pauses, slowness); "*" heals everything."""
        self.network.heal(target)
        for name, place in self._places.items():
            if target in (EVERYWHERE, name):
                place.unpause()
                place.service_ns = 0

    def silence(self, but: str = "") -> None:
        """Lose every message that is on its way, as sockets do when the processes at both ends are gone.

        What is on its way to `but` stays: something between holds it up.
        """
        for code in self._owners:
            name = self.kernel.names[code]
            if "->" in name and not (but and name.endswith(f"->{but}")):
                self.kernel.set_aside(code)

    def inject(self, data: bytes, to: str) -> None:
        """Let raw bytes arrive at an actor now, as a stranger would send them."""
        _, code, arrive = self.route("stranger", to)
        self.kernel.call_at(self.now, code, arrive, data)

    # ---- time ---------------------------------------------------------------------------------------------------

    def run_to_end(self, seconds: float) -> bool:
        """Run until nobody lives any more (then the result is True), at most for so long."""
        self.halts = True
        try:
            return self.run(seconds)
        finally:
            self.halts = False

    def run(self, seconds: float, until: Callable[[VirtualWorld], object] | None = None) -> bool:
        """Run for so long, or until the condition holds after some event (then the result is True)."""
        return self.run_until(self.now + ns(seconds), until)

    def run_until(self, at_ns: int = FOREVER, until: Callable[[VirtualWorld], object] | None = None) -> bool:
        """Run up to and including a time (by default: while there are events), or until the condition holds."""
        after: Callable[[], object] | None = None
        if self.after_event is not None:

            def after() -> object:
                if self.after_event is not None:
                    self.after_event(self)
                return until is not None and until(self)

        elif until is not None:
            after = partial(until, self)

        while True:
            try:
                return self.kernel.run(at_ns, after)
            except Exception as error:
                name = self._owners.get(self.kernel.running)
                if name is None or self.config.errors == "raise":
                    raise
                self._end(name, crash=True)
                self._tell(ActorDied(name, self._places[name].incarnation, f"{type(error).__name__}: {error}"))

    # ---- for its lives ------------------------------------------------------------------------------------------

    def route(self, sender: str, to: str) -> tuple[Lane, int, Callable[[Parcel], None]]:
        """The lane between two actors, the code of its events, and where they arrive."""
        code = self.kernel.code(f"{sender}->{to}")
        self._owners[code] = to
        return self.network.lane(sender, to), code, self.place(to).arrive

    def record(self, decision: Decision) -> None:
        """Take a decision into the log and the digest."""
        if self.config.keep:
            self.decisions.append(decision)
        if self.watch is not None:
            self.watch(decision)
        self._decided = crc32(self._encode_decision(decision), self._decided)
        if self.kernel.observer is not None:
            fields = " ".join(map(str, decision.fields))
            self.kernel.observer(decision.at_ns, 0, decision.actor, f"decides {decision.kind} {fields}")

    def note(self, actor: str, name: str, value: float) -> None:
        """Take a number."""
        if self.config.keep:
            self.notes.append((self.now, actor, name, value))
        if self.measure is not None:
            self.measure(self.now, actor, name, value)

    # ---- inside -------------------------------------------------------------------------------------------------

    def _begin(self, place: Place) -> None:
        assert place.spec is not None
        place.starting = None
        place.life = life = Life(self, place.spec, place.incarnation)
        self.living += 1
        life.begin(place.spec)

    def _end(self, name: str, *, crash: bool) -> None:
        place = self.place(name)
        if place.starting is not None:
            self.kernel.cancel(place.starting)
            place.starting = None
        life = place.life
        if life is not None:
            place.clear()
            life.end(crash=crash)

    def _known(self, name: str) -> Place:
        place = self._places.get(name)
        if place is None or place.spec is None:
            known = ", ".join(known for known, place in self._places.items() if place.spec is not None)
            raise ContractError(f"no actor {name!r} was ever started here; known are {known or 'none'}")
        return place

    def _tell(self, death: ActorDied) -> None:
        supervisor = self.config.supervisor
        if supervisor and supervisor != death.name:
            code = self.kernel.code(f"death->{supervisor}")
            self._owners[code] = supervisor
            self.kernel.call_at(self.now + self.config.notice_ns, code, self.place(supervisor).arrive, death)
