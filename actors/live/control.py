"""What hosts and the launcher tell each other. Every message carries the run's key: a stranger's is refused.

host      --SpawnAsked, StopAsked, LifeOver-->   launcher
launcher  --SpawnHere, StopHere, ActorOver-->    host of the actor's (the supervisor's) process
launcher  --ProcessGone, ProcessComing-->        every host
host      --ListensAt-->   launcher   --ListensAt-->   every other host          (where addresses are told)
"""

from __future__ import annotations

import msgspec

from actors.kernel.context import ActorSpec


class SpawnAsked(msgspec.Struct, frozen=True, array_like=True, tag="@spawn_asked"):
    """An actor wants an actor started."""

    key: str
    spec: ActorSpec
    incarnation: int


class StopAsked(msgspec.Struct, frozen=True, array_like=True, tag="@stop_asked"):
    """An actor wants an actor stopped."""

    key: str
    name: str


class LifeOver(msgspec.Struct, frozen=True, array_like=True, tag="@life_over"):
    """An actor has left or died; its process goes on."""

    key: str
    name: str
    incarnation: int
    reason: str


class SpawnHere(msgspec.Struct, frozen=True, array_like=True, tag="@spawn_here"):
    """Start an actor in your process; one of that name that lives there is killed first."""

    key: str
    spec: ActorSpec
    incarnation: int


class StopHere(msgspec.Struct, frozen=True, array_like=True, tag="@stop_here"):
    """Stop an actor of your process."""

    key: str
    name: str


class ActorOver(msgspec.Struct, frozen=True, array_like=True, tag="@actor_over"):
    """Tell the supervisor, who lives in your process, that an actor has left or died."""

    key: str
    name: str
    incarnation: int
    reason: str


class ProcessGone(msgspec.Struct, frozen=True, array_like=True, tag="@process_gone"):
    """A process has ended: what waits for it is lost."""

    key: str
    process: str


class ProcessComing(msgspec.Struct, frozen=True, array_like=True, tag="@process_coming"):
    """An actor is being started in a process: messages to it may wait."""

    key: str
    actor: str
    process: str


class ListensAt(msgspec.Struct, frozen=True, array_like=True, tag="@listens_at"):
    """A process that was started as number `start` of the run listens at this address."""

    key: str
    process: str
    start: int
    address: str


Control = SpawnAsked | StopAsked | LifeOver | SpawnHere | StopHere | ActorOver | ProcessGone | ProcessComing | ListensAt
CONTROL_KINDS: tuple[type[msgspec.Struct], ...] = (
    SpawnAsked,
    StopAsked,
    LifeOver,
    SpawnHere,
    StopHere,
    ActorOver,
    ProcessGone,
    ProcessComing,
    ListensAt,
)
