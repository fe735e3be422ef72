"""A trainer that keeps the line of its weights: every (group, use) ever applied to them, over deaths and starts.

The line of a checkpoint is on the disk before the checkpoint, under the checkpoint's version, so that a crash between
the two leaves the older pair. It is the other side of replay's ledger: what replay calls trained is in it once.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from actors.standins import Checkpoint, CountingTrainer
from buffers.buffer import Buffer
from policies.trainer import UpdateJob
from sim.violation import InvariantViolated

Line = list[tuple[int, int]]


class LineTrainer(CountingTrainer):
    """The counting trainer with its line; a use that is in the weights already breaks invariant 14."""

    def start(self) -> None:
        """Restore the line with the weights."""
        self._line = line_of(self._clock.disk)
        self._in_line = set(self._line)
        super().start()

    def _stepped(self, job: UpdateJob) -> None:
        for group in job.groups:
            use = (group.group, group.use)
            if use in self._in_line:
                raise InvariantViolated(14, f"lease {job.lease}: group {use[0]}, use {use[1]} is in the weights")
            self._in_line.add(use)
            self._line.append(use)
        super()._stepped(job)

    def _store(self, version: int) -> None:
        self._clock.disk[f"line {version}"] = msgspec.msgpack.encode(self._line)
        super()._store(version)


def line_of(disk: Mapping[str, bytes]) -> Line:
    """The line of the newest checkpoint on a learner's disk."""
    data = disk.get("checkpoint")
    if data is None:
        return []
    version = msgspec.msgpack.decode(data, type=Checkpoint).version
    return msgspec.msgpack.decode(disk[f"line {version}"], type=Line)


def misses(buffer: Buffer, line: Line) -> str:
    """How replay's ledger and the durable weights differ; "" if they agree."""
    groups = {group for group, _ in line}
    held = {number for number, row in buffer._held.groups.items() if row.durable_uses}
    trained = buffer.ledger().trained // buffer.config.k
    if trained + len(held) != len(groups):
        return f"{trained} groups are consumed and {len(held)} used, the durable weights contain {len(groups)}"
    return ""
