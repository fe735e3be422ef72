"""The recorder: takes everybody's numbers and hands them to its sinks (metrics file, TensorBoard, terminal).

A sink is a port of one command, `write(actor, rows)`; rows are (name, time ns, value). One that has `show(samples)` is
given responses to show as well. It records, it decides nothing.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from actors.kernel.context import Context, Started
from actors.kernel.operations import Message
from actors.messages import Alive, Notes, Sample, Stopped, StopRun
from actors.roster import Beat, Pace, Roster

Rows = tuple[tuple[str, int, float], ...]


class Sink(Protocol):
    """Where numbers go."""

    def write(self, actor: str, rows: Rows) -> None:
        """Take (name, time ns, value) rows of one actor."""

    def close(self) -> None:
        """Flush and close."""


@runtime_checkable
class Showing(Protocol):
    """A sink that shows responses."""

    def show(self, samples: tuple[Sample, ...]) -> None:
        """Take responses that were trained on."""


class Recorder:
    """See the module."""

    def __init__(self, roster: Roster, pace: Pace, sinks: tuple[Sink, ...]) -> None:
        self._roster = roster
        self._pace = pace
        self._sinks = sinks

    def receive(self, message: Message, context: Context) -> None:
        """Take one message."""
        if isinstance(message, Notes):
            for sink in self._sinks:
                sink.write(message.actor, message.rows)
                if message.samples and isinstance(sink, Showing):
                    sink.show(message.samples)
        elif isinstance(message, Started | Beat):
            context.after(self._pace.heartbeat_s, Beat())
            if self._roster.supervisor:
                context.send(self._roster.supervisor, Alive())
        elif isinstance(message, StopRun):
            context.send(self._roster.supervisor, Stopped())
            context.stop(context.name)

    def close(self) -> None:
        """Close the sinks."""
        for sink in self._sinks:
            sink.close()
