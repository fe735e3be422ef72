"""A small sound buffer with every ability, and wrong ones: each plants one fault that the kit must find."""

from __future__ import annotations

import bisect
import copy
import math
import random
from itertools import accumulate


class Sound:
    """Dictionaries all the way down; the disk is a list of copies."""

    abilities = ("segments", "priorities", "weights", "leases", "staleness", "capacity", "durability")
    alpha = 0.6
    k = 2
    max_age = 1
    capacity_tokens = 11

    def __init__(self):
        self.memory = {
            "tokens": {},
            "versions": {},
            "ended": set(),
            "ended_at": {},
            "priority": {},
            "leases": {},
            "next": 1,
            "trained": set(),
            "version": 0,
        }
        self.disk = copy.deepcopy(self.memory)
        self.unsynced = []

    def log(self):
        self.unsynced.append(copy.deepcopy(self.memory))

    def held_tokens(self):
        return sum(map(len, self.memory["tokens"].values()))

    def append(self, trajectory, start, version, tokens, last):
        m = self.memory
        held = m["tokens"].get(trajectory, ())
        if not self.fits(trajectory, held, start, version):
            return False
        if not self.make_room(trajectory, len(tokens)):
            return False
        m["tokens"][trajectory] = held + self.kept(tokens, last)
        m["versions"][trajectory] = version
        if last:
            m["ended"].add(trajectory)
            m["ended_at"][trajectory] = m["version"]
            m["priority"][trajectory] = 1.0
        self.log()
        return True

    def kept(self, tokens, last):
        return tokens

    def fits(self, trajectory, held, start, version):
        m = self.memory
        gone = trajectory in m["trained"] or trajectory in m["ended"]
        return not gone and start == len(held) and version >= m["versions"].get(trajectory, -1)

    def make_room(self, trajectory, more):
        for one in sorted(self.evictable() - {trajectory}):
            if self.held_tokens() + more <= self.capacity_tokens:
                break
            self.forget(one)
        return self.held_tokens() + more <= self.capacity_tokens

    def evictable(self):
        m = self.memory
        return {one for one in m["ended"] if one not in self.leased()}

    def leased(self):
        return {one for members in self.memory["leases"].values() for one in members}

    def forget(self, one):
        m = self.memory
        m["tokens"].pop(one, None)
        m["priority"].pop(one, None)
        m["ended"].discard(one)
        m["trained"].add(one)

    def read(self, trajectory):
        return self.memory["tokens"].get(trajectory)

    def set_priority(self, trajectory, priority):
        if not (priority >= 0 and math.isfinite(priority)) or trajectory not in self.memory["ended"]:
            return False
        self.memory["priority"][trajectory] = priority
        return True

    def ids(self):
        return sorted(self.memory["priority"])

    def shares(self):
        return [self.memory["priority"][one] ** self.alpha for one in self.ids()]

    def sample(self, count, seed):
        draw, ids, shares = random.Random(seed), self.ids(), self.shares()
        sums = list(accumulate(shares))
        found = [self.pick(sums, draw.random() * sums[-1]) for _ in range(count)]
        return [ids[one] for one in found], [self.weight(shares[one]) for one in found]

    def pick(self, sums, share):
        return min(bisect.bisect_right(sums, share), len(sums) - 1)

    def weight(self, share):
        return 1.0 / max(share, 1e-12)

    def publish(self, version):
        self.memory["version"] = version
        self.log()

    def lease(self):
        m = self.memory
        for group in sorted({one // self.k for one in m["ended"]}):
            members = [one for one in range(group * self.k, (group + 1) * self.k) if one in m["ended"]]
            if self.may_lease(members):
                number = m["next"]
                m["next"] += 1
                m["leases"][number] = members
                self.log()
                return number, members
        return None

    def may_lease(self, members):
        m = self.memory
        fresh = m["version"] - max(m["ended_at"][one] for one in members) <= self.max_age
        return len(members) == self.k and fresh and not self.leased() & set(members)

    def complete(self, lease):
        members = self.memory["leases"].pop(lease, None)
        if members is None:
            return False
        self.finish(members)
        self.log()
        return True

    def finish(self, members):
        for one in members:
            self.forget(one)

    def expire(self, lease):
        return self.memory["leases"].pop(lease, None) is not None

    def sync(self):
        self.disk, self.unsynced = copy.deepcopy(self.memory), []

    def crash(self, keep):
        states = [self.disk, *self.unsynced]
        number = self.memory["next"]
        self.memory = copy.deepcopy(states[min(keep, len(states) - 1)])
        self.memory["leases"], self.memory["next"] = {}, number
        self.sync()


class OffByOneInTheTree(Sound):
    def pick(self, sums, share):
        return min(bisect.bisect_right(sums, share) + 1, len(sums) - 1)


class LastSegmentLost(Sound):
    def kept(self, tokens, last):
        return tokens[:-1] if last else tokens


class DoubleLease(Sound):
    def leased(self):
        return set()


class VersionBackwards(Sound):
    def fits(self, trajectory, held, start, version):
        return super().fits(trajectory, held, start, 1 << 30)


class EvictsLeasedData(Sound):
    def evictable(self):
        return set(self.memory["ended"])


class WrongAlpha(Sound):
    def shares(self):
        return [self.memory["priority"][one] for one in self.ids()]


class PriorityOfADeadItem(Sound):
    def forget(self, one):
        kept = self.memory["priority"].get(one)
        super().forget(one)
        if kept is not None:
            self.memory["priority"][one] = kept


class DuplicateAppend(Sound):
    def fits(self, trajectory, held, start, version):
        return super().fits(trajectory, held, start, version) or (
            trajectory in self.memory["ended"] and start == 0 and not self.leased()
        )


class TornWriteAccepted(Sound):
    def crash(self, keep):
        super().crash(keep)
        if keep and self.memory["tokens"]:
            one = max(self.memory["tokens"])
            self.memory["tokens"][one] = self.memory["tokens"][one][:-1]


class SyncForgets(Sound):
    def sync(self):
        self.unsynced = []


class GroupOfKMinusOne(Sound):
    def may_lease(self, members):
        return bool(members) and not self.leased() & set(members)


class OverAgeLease(Sound):
    max_age = 1

    def may_lease(self, members):
        return len(members) == self.k and not self.leased() & set(members)


class CapacityOverrun(Sound):
    def make_room(self, trajectory, more):
        super().make_room(trajectory, more)
        return self.held_tokens() <= self.capacity_tokens


class FenceIgnored(Sound):
    def expire(self, lease):
        return lease in self.memory["leases"]


class LostAcknowledgement(Sound):
    def finish(self, members):
        pass


class BiasedTies(Sound):
    def pick(self, sums, share):
        found = super().pick(sums, share)
        first = sums[0]
        tie = found > 0 and math.isclose(sums[found] - sums[found - 1], first)
        return 0 if tie and found == 1 else found


class GapAccepted(Sound):
    def fits(self, trajectory, held, start, version):
        return super().fits(trajectory, held, len(held), version) and start >= len(held)


class NanPriority(Sound):
    def set_priority(self, trajectory, priority):
        if trajectory not in self.memory["ended"] or priority < 0:
            return False
        self.memory["priority"][trajectory] = priority if math.isfinite(priority) else 1.0
        return True


class WeightsTheWrongWay(Sound):
    def weight(self, share):
        return share


class UpdateIgnored(Sound):
    def set_priority(self, trajectory, priority):
        first = self.memory["priority"].get(trajectory) == 1.0
        return super().set_priority(trajectory, priority) if first or priority != priority else priority >= 0


class LeaseNumberReused(Sound):
    def complete(self, lease):
        done = super().complete(lease)
        if done:
            self.memory["next"] = lease
        return done


FAULTS = {kind.__name__: kind for kind in Sound.__subclasses__()}
