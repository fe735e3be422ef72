"""The TensorBoard sink: scalars grouped by actor, in the run's folder. The only door to the `tensorboard` package.

The step of a scalar is the version that was last published when it was recorded, so that charts of all actors share
their axis; before the first version it is 0.
"""

from __future__ import annotations

from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter


class TensorBoard:
    """Writes event files under `config["run_dir"]`/tensorboard."""

    def __init__(self, config: dict[str, Any], emit: object, clock: object) -> None:
        self._writer = EventFileWriter(f"{config['run_dir']}/tensorboard")
        self._version = 0

    def write(self, actor: str, rows: tuple[tuple[str, int, float], ...]) -> None:
        """Take (name, time ns, value) rows of one actor."""
        for name, at_ns, value in rows:
            if name == "version":
                self._version = int(value)
            summary = Summary(value=[Summary.Value(tag=f"{actor}/{name}", simple_value=value)])
            self._writer.add_event(Event(wall_time=at_ns / 1e9, step=self._version, summary=summary))

    def close(self) -> None:
        """Flush and close."""
        self._writer.close()
