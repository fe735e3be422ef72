"""Rules that are wrong on purpose: both worlds must go wrong with them, in the same way."""

import buffers.buffer
from actors.cast import replay
from actors.schedules.schedule import Schedule


class LastFirst(Schedule):
    """A schedule that prefers the last of the generators that have room, instead of the first with the version."""

    def choose(self, job, workers):
        """See the class."""
        free = [worker.name for worker in workers.values() if self.room(worker) > 0 and worker.version >= 0]
        return max(free, default=None)


def one_more_group(live, k, eta, batch, oversample):
    """Admission that lets one group more in than the staleness bound allows."""
    return max(0, int((eta + 1) * batch * oversample) + k - live) // k


def generous_replay(spec, shop, emit):
    """Build replay in a process whose admission is `one_more_group`."""
    buffers.buffer.admissible_groups = one_more_group
    return replay(spec, shop, emit)
