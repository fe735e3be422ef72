"""A life: one incarnation of an actor in a live process; the backend of its cell, the clock and the shop of its ports.

Invariants: after its end nothing of a life runs, not even a port's event; its ports are closed once, by the actor if it
has `close`, else here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.kernel.asks import Window
from actors.kernel.backend import Decision, Envelope
from actors.kernel.cell import Cell
from actors.kernel.context import ActorSpec
from actors.kernel.operations import Message
from actors.live.directory import file_name
from actors.live.disk import Disk
from actors.live.keys import Keys
from actors.live.loop import Timer
from buffers.errors import ContractError
from buffers.plugin import load

if TYPE_CHECKING:
    from actors.live.host import Host

log = logging.getLogger("braid.live")


class Life:
    """One incarnation of an actor: the backend of its cell, the clock of its ports, the shop that opens them."""

    __slots__ = ("_host", "_loop", "_ports", "_routes", "cell", "disk", "now", "over", "seed")

    def __init__(self, host: Host, name: str, incarnation: int) -> None:
        self.over = False
        self.seed = host.config.seed
        self.now = host.loop.now
        self.disk = Disk(Path(host.config.folder) / "disk" / file_name(name))
        self._host = host
        self._loop = host.loop
        self._ports: list[Any] = []
        self._routes = host.routes
        self.cell = Cell(name, incarnation, self, self._window)

    # ---- backend ------------------------------------------------------------------------------------------------

    def transmit(self, envelope: Envelope) -> None:
        """Carry an envelope."""
        route = self._routes.get(envelope.to)
        if route is None:
            route = self._host.route(envelope.to)
        route(envelope)

    def call_later(self, delay_ns: int, call: Callable[[Any], None], argument: Any) -> Timer:
        """Call back later, unless this life has ended."""
        return self._loop.call_later(delay_ns, call, argument, self)

    def cancel(self, handle: Timer) -> None:
        """Forget a call."""
        self._loop.cancel(handle)

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor."""
        self._host.meet(spec.name, spec.process or spec.name)
        self._host.office.spawn(spec, incarnation)

    def stop(self, name: str) -> None:
        """Stop an actor."""
        if name == self.cell.name:
            self._host.end(self, "left")
        else:
            self._host.office.stop(name)

    def note(self, actor: str, name: str, value: float) -> None:
        """Take a number."""
        self._host.note(actor, name, value)

    def record(self, decision: Decision) -> None:
        """Take a decision."""
        self._host.record(decision)

    @property
    def name(self) -> str:
        """Of the actor."""
        return self.cell.name

    @property
    def wire(self) -> tuple[str, Keys] | None:
        """Address of this machine and keys of the run, for ports that talk to other machines; None on one machine."""
        keys = self._host.keys
        address = self._host.links.inbox.address
        return None if keys is None else (address.removeprefix("tcp://").rpartition(":")[0].strip("[]"), keys)

    # ---- shop ---------------------------------------------------------------------------------------------------

    @property
    def clock(self) -> Life:
        """The clock of this life's ports."""
        return self

    def open(self, port: str, spec: ActorSpec, emit: Callable[[Message], None]) -> Any:
        """Open the port that the spec names."""
        name = spec.ports.get(port)
        if name is None:
            known = ", ".join(sorted(spec.ports)) or "none"
            raise ContractError(f"{spec.name}: no port {port!r} in its spec (there: {known}); add ports[{port!r}]")
        opened = load(name)(spec.config, emit, self)
        self._ports.append(opened)
        return opened

    # ---- life ---------------------------------------------------------------------------------------------------

    def emit(self, event: Message) -> None:
        """Put a port's event into the mailbox; from any thread."""
        self._loop.post(self.cell.take, event, self)

    def begin(self, spec: ActorSpec) -> None:
        """Build the actor and let it receive `Started`."""
        actor = load(spec.builder)(spec, self, self.emit)
        if hasattr(actor, "close"):
            self._ports.clear()  # the actor closes them itself
        self.cell.begin(actor)

    def end(self) -> None:
        """End this life; its ports are closed."""
        self.over = True
        try:
            self.cell.kill()
            for port in self._ports:
                if hasattr(port, "close"):
                    port.close()
        except Exception:
            log.exception("could not close the ports of actor=%s", self.cell.name)

    def failed(self, error: Exception) -> None:
        """The actor raised: its life is over."""
        if not self.over:
            log.error(
                "actor=%s incarnation=%d died", self.cell.name, self.cell.incarnation, exc_info=error, stacklevel=2
            )
            self._host.end(self, f"{type(error).__name__}: {error}")

    def _window(self, to: str) -> Window:
        config = self._host.config
        return config.windows.get(f"{self.cell.name}->{to}", config.window)
