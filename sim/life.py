"""A life: one incarnation of an actor. It is the backend of its cell, the clock of its ports, the shop that opens them.

    Cell.send, ask --> transmit --encode--> lane --> heap --> Place.arrive of the receiver
    Cell.after, port's clock --> call_later --> heap --> back into this cell or port, unless this life has ended

Invariants: after `end` nothing of a life runs, not even a port's callback, and its clock takes no more calls.
"""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from actors.kernel.asks import Window
from actors.kernel.backend import Decision, Envelope
from actors.kernel.cell import Cell
from actors.kernel.context import ActorSpec
from actors.kernel.operations import Message
from buffers.errors import ContractError
from buffers.plugin import load
from sim.kernel import Event
from sim.network import Lane
from sim.place import Parcel, as_it_is

if TYPE_CHECKING:
    from sim.world import VirtualWorld

Maker = Callable[[dict[str, Any], Callable[[Message], None], Any], Any]
"""Opens a port: called with (config, emit, clock)."""


class Life:
    """One incarnation of an actor: the backend of its cell, the clock of its ports, the shop that opens them."""

    __slots__ = (
        "_code",
        "_kernel",
        "_patience_ns",
        "_ports",
        "_routes",
        "_world",
        "begun",
        "cell",
        "disk",
        "name",
        "over",
        "seed",
    )

    def __init__(self, world: VirtualWorld, spec: ActorSpec, incarnation: int) -> None:
        self.name = spec.name
        self.seed = world.seed
        self.disk: MutableMapping[str, Any] = world.place(spec.name).disk
        self.begun = False
        self.over = False
        self._world = world
        self._kernel = world.kernel
        self._code = world.kernel.code(spec.name)
        self._patience_ns = world.config.patience_ns
        self._ports: list[Any] = []
        self._routes: dict[str, tuple[Lane, int, Callable[[Parcel], None]]] = {}
        self.cell = Cell(spec.name, incarnation, self, self._window)

    # ---- backend and clock --------------------------------------------------------------------------------------

    def now(self) -> int:
        """Nanoseconds."""
        return self._kernel.now

    def call_later(self, delay_ns: int, call: Callable[[Any], None], argument: Any) -> Event | None:
        """Call back later, unless this life has ended."""
        if self.over:
            return None
        kernel = self._kernel
        if delay_ns == self._patience_ns:
            return kernel.call_behind(1, kernel.now + delay_ns, self._code, call, argument)
        return kernel.call_at(kernel.now + delay_ns, self._code, call, argument)

    def cancel(self, handle: Event | None) -> None:
        """Forget a call."""
        if handle is not None:
            self._kernel.cancel(handle)

    # ---- backend ------------------------------------------------------------------------------------------------

    def transmit(self, envelope: Envelope) -> None:
        """Put an envelope on its link."""
        route = self._routes.get(envelope.to)
        if route is None:
            route = self._routes[envelope.to] = self._world.route(self.name, envelope.to)
        lane, code, arrive = route
        kernel, encode = self._kernel, self._world.encode
        parcel: Parcel = envelope if encode is as_it_is else encode(envelope)
        for at in lane.arrivals(kernel.now, envelope.message):
            kernel.call_behind(0, at, code, arrive, parcel)

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor."""
        self._world.spawn(spec, incarnation)

    def stop(self, name: str) -> None:
        """Stop an actor."""
        self._world.stop(name)

    def note(self, actor: str, name: str, value: float) -> None:
        """Take a number."""
        self._world.note(actor, name, value)

    def record(self, decision: Decision) -> None:
        """Take a decision."""
        self._world.record(decision)

    # ---- shop ---------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> Life:
        """The clock of this life's ports."""
        return self

    def open(self, port: str, spec: ActorSpec, emit: Callable[[Message], None]) -> Any:
        """Open the port that the spec names, or what the world puts in its place."""
        name = spec.ports.get(port)
        if name is None:
            known = ", ".join(sorted(spec.ports)) or "none"
            raise ContractError(f"{spec.name}: no port {port!r} in its spec (there: {known}); add ports[{port!r}]")
        maker: str | Maker = self._world.ports.get(name, name)
        opened = (load(maker) if isinstance(maker, str) else maker)(spec.config, emit, self)
        self._ports.append(opened)
        return opened

    # ---- life ---------------------------------------------------------------------------------------------------

    def begin(self, spec: ActorSpec) -> None:
        """Build the actor and let it receive `Started`."""
        actor = load(spec.builder)(spec, self, self._emit)
        self.begun = True
        self.cell.begin(actor)

    def end(self, *, crash: bool) -> None:
        """End this life; in a crash its ports lose what only an orderly close would have kept."""
        self.over = True
        for port in self._ports if crash else ():
            if hasattr(port, "crash"):
                port.crash()
        self.cell.kill()

    def _emit(self, event: Message) -> None:
        if self.begun and not self.over:
            self.cell.take(event)
        else:
            self.call_later(0, self.cell.take, event)

    def _window(self, to: str) -> Window:
        config = self._world.config
        return config.windows.get(f"{self.name}->{to}", config.window)
