"""A trainer that keeps the line of its weights: every (group, use) ever applied to them, over deaths and starts."""

import msgspec

from actors.standins import Checkpoint, CountingTrainer


class LineTrainer(CountingTrainer):
    """See the module. What a crash takes out of the weights leaves the line too."""

    def start(self):
        """Restore the line of the newest checkpoint."""
        self._line = line_of(self._clock.disk)
        super().start()

    def _stepped(self, job):
        self._line.extend((group.group, group.use) for group in job.groups)
        super()._stepped(job)

    def _store(self, version):
        self._clock.disk[f"line {version}"] = msgspec.msgpack.encode(self._line)
        super()._store(version)


def line_of(disk):
    """The line of the weights on a disk, as [(group, use) ...]."""
    data = disk.get("checkpoint")
    if data is None:
        return []
    version = msgspec.msgpack.decode(data, type=Checkpoint).version
    return [tuple(use) for use in msgspec.msgpack.decode(disk[f"line {version}"])]
