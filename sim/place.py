"""A place: what a name keeps over its incarnations. Its inbox, whether it is paused, how slow it is, who lives there.

    network --> arrive --> [paused, slow or queued? --> inbox --> serve] --> decode --> Cell.deliver

Invariants: messages are taken in order of arrival; the inbox is bounded, and what exceeds it is dropped and counted;
what arrives where nobody lives is lost; a death empties the inbox and takes the actor's timers with it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from actors.kernel.backend import Envelope
from actors.kernel.context import ActorSpec
from actors.messages import ActorDied
from buffers.errors import WireError
from sim.kernel import Event

if TYPE_CHECKING:
    from sim.life import Life
    from sim.world import VirtualWorld

Parcel = bytes | Envelope | ActorDied
"""What arrives at a place: an envelope, encoded or not, or the world's own word of a death."""


def as_it_is(envelope: Envelope) -> Parcel:
    """The encoder of a world without a codec."""
    return envelope


class Place:
    """One name in the world."""

    __slots__ = (
        "_parked",
        "_serving",
        "_world",
        "code",
        "disk",
        "inbox",
        "incarnation",
        "life",
        "opens_at",
        "overflow",
        "paused",
        "service_ns",
        "spec",
        "starting",
    )

    def __init__(self, world: VirtualWorld, name: str) -> None:
        self._world = world
        self._parked: list[Event] = []
        self._serving = False
        self.code = world.kernel.code(name)
        self.disk: dict[str, Any] = {}
        """What its ports keep over crashes."""
        self.inbox: deque[Parcel] = deque()
        self.incarnation = 0
        """The newest; 0 before the first."""
        self.life: Life | None = None
        self.opens_at = 0
        """Nobody begins here before this time (ns): the machine is gone until then."""
        self.overflow = 0
        """Messages dropped because the inbox was full."""
        self.paused = False
        self.service_ns = 0
        """What each message takes; 0: nothing."""
        self.spec: ActorSpec | None = None
        self.starting: Event | None = None
        """The start that was ordered and has not happened yet."""

    @property
    def lives(self) -> bool:
        """Somebody lives here, or is about to."""
        return self.life is not None or self.starting is not None

    def arrive(self, parcel: Parcel) -> None:
        """Take a parcel from the network."""
        if self.life is None:
            self._world.lost += 1
        elif not (self.paused or self.service_ns or self.inbox):
            if type(parcel) is Envelope:
                self.life.cell.deliver(parcel)
            else:
                self._open(parcel)
        elif len(self.inbox) >= self._world.config.mailbox:
            self.overflow += 1
        else:
            self.inbox.append(parcel)
            self._serve_later()

    def pause(self) -> None:
        """Freeze the actor with its timers and ports; the dead have nothing to freeze."""
        if self.life is not None and not self.paused:
            self.paused = True
            self._parked = self._world.kernel.set_aside(self.code)

    def unpause(self) -> None:
        """Go on: first what was due meanwhile, then the inbox."""
        if self.paused:
            self.paused = False
            self._world.kernel.put_back(self._parked)
            self._parked = []
            self._serve_later()

    def clear(self) -> None:
        """Forget everything that a death takes with it."""
        self._world.kernel.set_aside(self.code)
        self.inbox.clear()
        self._parked = []
        self._serving = self.paused = False
        if self.life is not None:
            self.life = None
            self._world.living -= 1
            if not self._world.living and self._world.halts:
                self._world.kernel.halted = True

    def _serve_later(self) -> None:
        if self.inbox and not (self._serving or self.paused):
            self._serving = True
            kernel = self._world.kernel
            kernel.call_at(kernel.now + self.service_ns, self.code, self._serve)

    def _serve(self, _: None) -> None:
        self._serving = False
        parcel = self.inbox.popleft()
        self._serve_later()
        self._open(parcel)

    def _open(self, parcel: Parcel) -> None:
        life = self.life
        assert life is not None
        if isinstance(parcel, bytes):
            try:
                parcel = self._world.codec.decode(parcel)
                if parcel.to != life.name:
                    raise WireError(f"from {parcel.sender}: a message to {parcel.to} came to {life.name}")
            except WireError as error:
                self._world.refusals.append(str(error))
                return
        if isinstance(parcel, Envelope):
            life.cell.deliver(parcel)
        else:
            life.cell.take(parcel)
