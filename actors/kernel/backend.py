"""What a world has to offer a cell; everything else of the contract is the cell's, so both worlds share it."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, Protocol

import msgspec

from actors.kernel.context import ActorSpec
from actors.kernel.operations import Message

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    M = TypeVar("M", default=Message)
else:
    from typing import TypeVar

    M = TypeVar("M")

WIRE_VERSION = 2
"""First element of an envelope on the wire."""
MAX_NAME = 200
"""Longest actor name in an envelope that comes from outside."""
Name = Annotated[str, msgspec.Meta(max_length=MAX_NAME)]


class Envelope(msgspec.Struct, Generic[M], array_like=True, gc=False, tag=WIRE_VERSION, forbid_unknown_fields=True):
    """One message on its way. `serial` > 0: an ask; < 0: the reply to ask -serial; 0: neither."""

    to: Name
    sender: Name
    incarnation: int
    """The sender's; receivers drop what is older than the newest they have seen of that name."""
    serial: int
    to_incarnation: int
    """For replies: the asker's; 0 otherwise."""
    cause: int
    """How many decisions the sender had recorded when it sent this (causal order of the event log)."""
    message: M


class Backend(Protocol):
    """A world as its cells see it."""

    seed: int

    def now(self) -> int:
        """Nanoseconds."""

    def transmit(self, envelope: Envelope) -> None:
        """Carry an envelope to its receiver's cell, at most once, first in first out per (sender, receiver)."""

    def call_later(self, delay_ns: int, call: Callable[[Any], None], argument: Any) -> Any:
        """Call back later; returns a handle."""

    def cancel(self, handle: Any) -> None:
        """Forget a call; one that was made is ignored."""

    def spawn(self, spec: ActorSpec, incarnation: int) -> None:
        """Start an actor somewhere in this world."""

    def stop(self, name: str) -> None:
        """Stop an actor of this world."""

    def note(self, actor: str, name: str, value: float) -> None:
        """Take a number."""

    def record(self, decision: Decision) -> None:
        """Take a decision for the event log."""


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One line of the event log: what an actor decided, and the decision of another that it had heard of before."""

    at_ns: int
    actor: str
    incarnation: int
    index: int
    """1, 2, 3 ... within one incarnation of the actor."""
    kind: str
    fields: tuple[int | str, ...]
    cause: str
    """Sender of the message being received."""
    cause_index: int
    """That sender's decision count when it sent the message."""


class Clock(Protocol):
    """Time (and a small disk) for stand-ins and doubles: bound to the life of the actor that holds the port."""

    name: str
    """Of the actor that holds the port."""
    disk: MutableMapping[str, bytes]
    """Survives the actor's death: what is assigned is durable at once."""

    def now(self) -> int:
        """Nanoseconds."""

    def call_later(self, delay_ns: int, call: Callable[[Any], None], argument: Any) -> Any:
        """Call back later, unless the holder has died."""

    def cancel(self, handle: Any) -> None:
        """Forget a call."""


class Shop(Protocol):
    """Where a builder gets its ports: real ones, stand-ins or doubles."""

    clock: Clock
    seed: int

    def open(self, port: str, spec: ActorSpec, emit: Callable[[Message], None]) -> Any:
        """Open the port that the spec names; it emits events into the holder's mailbox."""
