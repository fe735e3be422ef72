"""Links between actors: latency, bandwidth, order, and what can go wrong on the way.

    transmit --> [partition? drop?] --> wire (bandwidth) --> latency + jitter [+ delay, reorder] --> behind the last one
                                                                                 duplicate: once more, right behind it

Invariants: a link, one per (sender, receiver), is first in first out under every fault; faults reorder across links
only. Every fault draws from a stream of its own on each link, once per message, whether or not the message is lost
otherwise: one fault never shifts the draws of another. A message is charged `weight_of` it, so the payload's form and
the codec change no time.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Literal, get_args

import msgspec

from actors.kernel.cell import weight_of
from actors.kernel.operations import NS, Message
from actors.kernel.streams import stream
from buffers.errors import ContractError

LinkFault = Literal["drop", "delay", "duplicate", "reorder"]
"""What a link can suffer; partitions cut links by islands."""

EVERYWHERE = "*"


class Link(msgspec.Struct, frozen=True):
    """The physics of a link."""

    latency_ns: int = 100_000
    """One way."""
    jitter_ns: int = 0
    """Drawn evenly from [0, jitter_ns) for each message."""
    bytes_per_s: int = 0
    """Bandwidth; 0: without limit."""


class Harm(msgspec.Struct, frozen=True):
    """How hard a fault hits: the share of messages, and the span of time."""

    share: float = 1.0
    span_ns: int = 0
    """`delay`: added as it is; `reorder`: drawn evenly from [0, span_ns)."""


class Lane:
    """One link at work."""

    __slots__ = (
        "_free",
        "_free_way",
        "_last",
        "_plain",
        "_streams",
        "cut",
        "harms",
        "link",
        "receiver",
        "seed",
        "sender",
    )

    def __init__(self, seed: int, sender: str, receiver: str, link: Link) -> None:
        self.seed = seed
        self.sender = sender
        self.receiver = receiver
        self.link = link
        self.cut = False
        """Its ends are on different islands."""
        self.harms: dict[str, Harm] = {}
        self._plain = not (link.bytes_per_s or link.jitter_ns)
        self._free_way = self._plain
        """It is plain, and nothing is wrong with it."""
        self._free = 0
        self._last = 0
        self._streams: dict[str, random.Random] = {}

    def arrivals(self, now: int, message: Message) -> tuple[int, ...]:
        """When a message that is sent now arrives (ns): never, once, or twice."""
        link = self.link
        if self._free_way:
            at = now + link.latency_ns
            if at < self._last:
                at = self._last
            self._last = at
            return (at,)
        at = now
        if link.bytes_per_s:
            at = self._free = max(now, self._free) + weight_of(message) * NS // link.bytes_per_s
        at += link.latency_ns
        if link.jitter_ns:
            at += int(self._draw("jitter") * link.jitter_ns)
        lost, copies = self.cut, 1
        if self.harms:
            late, dropped, copies = self._suffer()
            at += late
            lost = lost or dropped
        if lost:
            return ()
        if at < self._last:
            at = self._last
        self._last = at
        return (at,) if copies == 1 else (at, at)

    def afflict(self, cut: bool, harms: dict[str, Harm]) -> None:
        """What is wrong with it from now on."""
        self.cut, self.harms = cut, harms
        self._free_way = self._plain and not (cut or harms)

    def _suffer(self) -> tuple[int, bool, int]:
        """(extra ns, dropped, copies) of one message."""
        late, dropped, copies = 0, False, 1
        for fault, harm in self.harms.items():
            drawn = self._draw(fault)
            if fault == "reorder":
                late += int(drawn * harm.span_ns)
            elif drawn < harm.share:
                if fault == "drop":
                    dropped = True
                elif fault == "delay":
                    late += harm.span_ns
                else:
                    copies = 2
        return late, dropped, copies

    def _draw(self, purpose: str) -> float:
        """Evenly from [0, 1), from this link's own stream for a purpose."""
        found = self._streams.get(purpose)
        if found is None:
            found = self._streams[purpose] = stream(self.seed, "link", purpose, self.sender, self.receiver)
        return found.random()


class Network:
    """All links, and the faults in force.

    A target is "*" (every link), "name" (every link that starts or ends there), "a->b", "a->*" or "*->b".
    """

    def __init__(self, seed: int, default: Link, links: Mapping[str, Link] | None = None) -> None:
        """`links` gives some links, named "a->b", physics of their own."""
        self._seed = seed
        self._default = default
        self._links = dict(links or {})
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._harms: dict[tuple[LinkFault, str], Harm] = {}
        self._islands: dict[str, int] = {}
        self._island = 0

    def lane(self, sender: str, receiver: str) -> Lane:
        """The link from one actor to another."""
        found = self._lanes.get((sender, receiver))
        if found is None:
            link = self._links.get(f"{sender}->{receiver}", self._default)
            found = self._lanes[sender, receiver] = Lane(self._seed, sender, receiver, link)
            self._afflict(found)
        return found

    def harm(self, fault: LinkFault, target: str, harm: Harm) -> None:
        """Put a fault into force on a target, instead of the same fault there before."""
        if fault not in get_args(LinkFault):
            raise ContractError(f"{fault!r} is no fault of a link; take one of {', '.join(get_args(LinkFault))}")
        self._harms[fault, target] = harm
        self._refresh()

    def relieve(self, fault: LinkFault, target: str) -> None:
        """Lift a fault from the target it was put on."""
        self._harms.pop((fault, target), None)
        self._refresh()

    def partition(self, names: Iterable[str]) -> None:
        """Cut these actors, as one island, off from everybody else."""
        self._island += 1
        for name in names:
            self._islands[name] = self._island
        self._refresh()

    def rejoin(self, name: str) -> None:
        """Bring an actor back from its island."""
        self._islands.pop(name, None)
        self._refresh()

    def heal(self, target: str = EVERYWHERE) -> None:
        """Lift every fault of a target, and bring it back from its island; "*" heals everything."""
        if target == EVERYWHERE:
            self._harms.clear()
            self._islands.clear()
        self._harms = {key: harm for key, harm in self._harms.items() if key[1] != target}
        self._islands.pop(target, None)
        self._refresh()

    def _refresh(self) -> None:
        for lane in self._lanes.values():
            self._afflict(lane)

    def _afflict(self, lane: Lane) -> None:
        cut = self._islands.get(lane.sender, 0) != self._islands.get(lane.receiver, 0)
        covering: dict[str, Harm] = {
            fault: harm for (fault, target), harm in self._harms.items() if _covers(target, lane.sender, lane.receiver)
        }
        lane.afflict(cut, covering)


def _covers(target: str, sender: str, receiver: str) -> bool:
    start, arrow, end = target.partition("->")
    if not arrow:
        return target in (EVERYWHERE, sender, receiver)
    return start in (EVERYWHERE, sender) and end in (EVERYWHERE, receiver)
