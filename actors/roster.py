"""Who plays which part, and how fast the parts repeat themselves. Shared by every actor of a run."""

from __future__ import annotations

import msgspec

from actors.kernel.context import Context
from actors.kernel.operations import NS
from actors.messages import Notes, Sample


class Roster(msgspec.Struct, frozen=True):
    """Names of the cast; an empty name or tuple means that the run has no such actor."""

    controller: str = "controller"
    replay: str = "replay"
    learner: str = "learner"
    generators: tuple[str, ...] = ("generator-0",)
    rewarders: tuple[str, ...] = ("rewarder-0",)
    evaluator: str = ""
    recorder: str = ""
    supervisor: str = ""


class Pace(msgspec.Struct, frozen=True):
    """Periods and patience, in seconds."""

    heartbeat_s: float = 0.5
    """Every actor repeats its state this often."""
    lost_after: int = 2
    """Heartbeats without a held attempt before it counts as lost."""
    silent_after: int = 4
    """Heartbeat periods without a sign of life before a worker counts as gone."""
    ask_timeout_s: float = 5.0
    """An ask is repeated after this long."""
    lease_s: float = 30.0
    """A lease that its holder does not keep is taken back after this long."""
    hang_s: float = 30.0
    """The supervisor kills an actor that was silent for this long."""
    start_s: float = 120.0
    """An actor that has just been started may be silent for this long, if that is longer: its process imports."""
    stop_s: float = 4.0
    """Actors that have not stopped orderly after this long are killed."""


class Beat(msgspec.Struct, frozen=True):
    """An actor's own heartbeat timer."""


class Numbers:
    """Collects an actor's numbers between heartbeats and sends them to the recorder as one message."""

    def __init__(self, recorder: str) -> None:
        self._recorder = recorder
        self._rows: list[tuple[str, int, float]] = []
        self._samples: list[Sample] = []

    def add(self, context: Context, name: str, value: float) -> None:
        """Record a number now; the event log gets it too."""
        context.note(name, value)
        if self._recorder:
            self._rows.append((name, context.now, value))

    def show(self, samples: tuple[Sample, ...]) -> None:
        """Add responses for a person to read."""
        if self._recorder:
            self._samples += samples

    def flush(self, context: Context) -> None:
        """Send what was collected."""
        if self._rows:
            context.send(self._recorder, Notes(context.name, tuple(self._rows), tuple(self._samples)))
            self._rows.clear()
            self._samples.clear()


def seconds(nanoseconds: int) -> float:
    """Integer nanoseconds to seconds."""
    return nanoseconds / NS
