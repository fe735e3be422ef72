"""The live counterpart of a plan: real processes with stand-in ports, under the faults that real processes can have.

    verb        done by                                   undone
    crash       SIGKILL                                   the supervisor restarts it
    pause       SIGSTOP                                   SIGCONT
    drop        the proxy loses a share of a link         lifted
    delay       the proxy holds a share of a link back    lifted
    partition   the proxy loses everything to and fro     lifted

All faults end, so the run must finish. What replay answered is overheard at the proxy; when the run is over, its store
must hold all of it, the ledger must add up and agree with the line of the durable weights, and no version may name two
sets of weights. What an answer says is checked at once where the order of answers to different actors, which a proxy
does not see, does not matter. Times are real: a seed draws the same plan, not the same run.
"""

from __future__ import annotations

import shutil
import signal
import tempfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import msgspec

from actors.cast import STANDINS, RunSettings, buffer_config
from actors.eventlog import read_events
from actors.kernel.backend import Decision
from actors.kernel.codec import Codec
from actors.kernel.operations import NS, Message
from actors.kernel.streams import stream
from actors.live.cluster import Cluster
from actors.live.directory import file_name
from actors.live.disk import Disk
from actors.live.launch import LaunchConfig
from actors.live.proxy import Harm, Proxy
from actors.messages import KINDS, Append
from actors.supervisor import is_finished
from buffers.buffer import Buffer
from buffers.errors import BraidError, WireError
from buffers.lmdb_store import LmdbConfig, LmdbStore
from buffers.segment import Segment
from sim.acknowledged import Acknowledged
from sim.faults import Act, Verb, draw_plan
from sim.invariants import same_draw
from sim.line_trainer import line_of, misses
from sim.violation import WORDS

VERBS: tuple[Verb, ...] = ("crash", "crash", "pause", "drop", "delay", "partition")
"""Drawn from; deaths twice as often."""
HORIZON_NS = 4 * NS
"""From the first segment to the end of the last fault."""
PATIENCE_S = 45.0
"""After the last fault; real processes share their cores with whatever else runs."""
START_S = 60.0
LOOK_S = 0.02
IN_ANY_ORDER = {1, 2, 4, 7}
"""Invariants that an answer can break by itself."""
PORTS = {**STANDINS, "trainer": "sim.line_trainer:LineTrainer"}


class LivePlan(msgspec.Struct, frozen=True):
    """A cluster of processes and what befalls it."""

    seed: int
    config: dict[str, Any]
    acts: tuple[Act, ...]


class LiveOutcome(msgspec.Struct, frozen=True):
    """What came of a live plan."""

    seed: int
    violation: str
    """"" if every invariant held."""
    invariant: int
    """-1: an actor failed by itself."""
    deaths: int
    lost: int
    """Messages, by the proxy."""
    delayed: int
    answers: int
    """Of replay, overheard and compared with its store."""
    decisions: int
    versions: int
    wall_s: float


def draw_live(seed: int) -> LivePlan:
    """Draw a live plan: a small cast for some seconds, with two to six faults."""
    draw = stream(seed, "live")
    group, updates = draw.randint(2, 4), draw.randint(1, 2)
    install = draw.choice(["in_flight", "drain"])
    generators = [f"g{number}" for number in range(draw.randint(1, 2))]
    config: dict[str, Any] = {
        "seed": seed,
        "roster": {"generators": generators, "rewarders": ["r0"], "recorder": "recorder", "supervisor": "supervisor"},
        "pace": {
            "heartbeat_s": 0.2,
            "ask_timeout_s": draw.choice([0.3, 1.0]),
            "lease_s": draw.choice([1.0, 5.0]),
            "hang_s": draw.choice([2.0, 10.0]),
            "start_s": 10.0,
            "stop_s": 3.0,
        },
        "restarts": {"backoff_s": 0.1, "budget": 40},
        "schedule": {
            "group": group,
            "updates_per_version": updates,
            "batch": group * updates * draw.randint(1, 2),
            "eta": draw.choice([0, 1, 2]),
            "oversample": draw.choice([1.0, 2.0]),
            "reuse": 1 if install == "drain" else draw.choice([1, 2]),
            "segment_tokens": draw.choice([8, 16]),
            "max_response_tokens": 80,
            "install": install,
            "backlog": draw.choice([2, 4]),
            "versions": 16 // updates,
            "checkpoint_every": draw.randint(1, 3),
        },
        "standins": {"slots": 4, "seed": seed, "token_s": 0.002, "step_s": 0.15, "fail_score_every": 25},
        "prompts": {"count": 32},
    }
    actors = ["controller", "replay", "learner", *generators, "r0"]
    count = draw.choice([2, 3, 4, 6])
    return LivePlan(seed, config, draw_plan(seed, actors, HORIZON_NS, count, VERBS).acts)


class Overhearer:
    """Takes what passes the proxy: the answers of replay, and whether equal places got equal tokens."""

    def __init__(self, settings: RunSettings) -> None:
        self._replay = settings.roster.replay
        self._codec = Codec(KINDS)
        self._asked: dict[tuple[str, int, int], Message] = {}
        self._drawn: dict[tuple[int, int], Segment] = {}
        self._numbers: dict[int, list[str]] = {}
        self.known = Acknowledged(buffer_config(settings), self._complain)
        self.complaints: list[tuple[int, str]] = []
        self.answers = 0

    def take(self, data: bytes) -> None:
        """Take one message; called in the proxy's thread."""
        try:
            envelope = self._codec.decode(data)
        except WireError:  # the launcher's own
            return
        message, serial = envelope.message, envelope.serial
        if serial > 0 and envelope.to == self._replay:
            self._asked[envelope.sender, envelope.incarnation, serial] = message
            if isinstance(message, Append):
                place = (message.trajectory, message.segment.start)
                if message.segment.length and not same_draw(
                    self._drawn.setdefault(place, message.segment), message.segment
                ):
                    self.complaints.append((2, f"trajectory {place[0]}: other tokens were drawn at {place[1]}"))
        elif serial < 0 and envelope.sender == self._replay:
            request = self._asked.pop((envelope.to, envelope.to_incarnation, -serial), None)
            if request is not None:
                self.answers += 1
                try:
                    self.known.take(request, message)
                except _Doubt:
                    return

    def _complain(self, number: int, detail: str) -> None:
        if number in IN_ANY_ORDER:
            self.complaints.append((number, detail))
        raise _Doubt


class _Doubt(Exception):
    """An answer that contradicts an earlier one, or overtook it."""


def run_live(plan: LivePlan) -> LiveOutcome:
    """Run a live plan in a folder of its own, check what it leaves, and leave no process running."""
    begun = monotonic()
    folder = Path(tempfile.mkdtemp(prefix="braid-live-"))
    config = {**plan.config, "store": {"path": str(folder / "store")}}
    settings = msgspec.convert(config, RunSettings)
    ear = Overhearer(settings)
    launch = LaunchConfig(folder=str(folder), seed=plan.seed, flush_s=0.0, detour=True)
    try:
        with Cluster(config, PORTS, launch) as cluster:
            roster = settings.roster
            names = ["launcher", roster.controller, roster.replay, roster.learner, *roster.generators]
            with Proxy(cluster.launcher.directory, [*names, *roster.rewarders], plan.seed, ear.take) as proxy:
                done = _strike(cluster, proxy, ear, plan.acts)
        found = _checked(folder, settings, ear, cluster.outcome if done else "")
        decisions = [one for one in read_events([folder / "events"]) if isinstance(one, Decision)]
        deaths = sum(one.kind == "spawn" and one.fields[1] != 1 for one in decisions)
        versions = len({one.fields[0] for one in decisions if one.kind == "publish"} - {0})
        number, words = found[0] if found else (0, "")
        if found:
            name = f"invariant {number} ({WORDS[number]}): " if number > 0 else ""
            words = f"{name}{words}; the run is kept in {folder}"
        else:
            shutil.rmtree(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    wall_s = monotonic() - begun
    return LiveOutcome(
        plan.seed, words, number, deaths, proxy.lost, proxy.delayed, ear.answers, len(decisions), versions, wall_s
    )


def _strike(cluster: Cluster, proxy: Proxy, ear: Overhearer, acts: tuple[Act, ...]) -> bool:
    """Run the cluster to its end with these acts, which count from the first answer of replay; whether it ended."""
    harms: dict[int, tuple[Harm, ...]] = {}

    def lift(number: int) -> None:
        harms.pop(number, None)
        proxy.harm([one for some in harms.values() for one in some])

    def begin(number: int, act: Act) -> None:
        if act.verb in ("crash", "pause"):
            cluster.launcher.signal(act.target, signal.SIGKILL if act.verb == "crash" else signal.SIGSTOP)
            return
        targets = act.target.split(",") if act.verb == "partition" else [act.target]
        harms[number] = tuple(Harm(link, act.share, act.span_ns / NS) for link in targets)
        lift(-1)

    def end(number: int, act: Act) -> None:
        if act.verb == "pause":
            cluster.launcher.signal(act.target, signal.SIGCONT)
        lift(number)

    moments: list[tuple[int, int, Callable[[int, Act], None]]] = []
    for number, act in enumerate(acts):
        moments += [(act.at_ns, number, begin), (act.at_ns + act.for_ns, number, end)]
    left = deque(sorted(moments, key=lambda one: one[:2]))
    limit = monotonic() + START_S
    while not ear.answers:
        if monotonic() > limit or cluster.run(LOOK_S):
            return False
    zero = monotonic()
    limit = zero + PATIENCE_S + (left[-1][0] / NS if left else 0.0)
    while monotonic() < limit:
        while left and zero + left[0][0] / NS <= monotonic():
            _, number, do = left.popleft()
            do(number, acts[number])
        if cluster.run(LOOK_S):
            return True
    return False


def _checked(folder: Path, settings: RunSettings, ear: Overhearer, outcome: str) -> list[tuple[int, str]]:
    """What does not hold of a run that is over, the gravest first."""
    found = list(ear.complaints)
    for log in sorted((folder / "logs").glob("*.log")):
        text = log.read_text(errors="replace")
        if "Traceback" in text:
            found.insert(0, (-1, f"{log.stem} failed: {text.strip().splitlines()[-1]}"))
    if not is_finished(outcome):
        found.append((11, f"the run ended with {outcome!r}" if outcome else "the run did not finish"))
    store = LmdbStore(LmdbConfig(str(folder / "store")), lambda event: None)
    try:
        buffer = Buffer.recover(buffer_config(settings), store.rows())
        ear.known._complain = lambda number, words: found.append((number, words))
        ear.known.recovered(buffer, store)
        buffer.check()
    except BraidError as error:
        found.append((1, str(error)))
        return found
    finally:
        store.close()
    ledger = buffer.ledger()
    if ledger.opened != ledger.trained + ledger.evicted + ledger.failed + ledger.in_flight:
        found.append((1, f"the ledger does not add up: {ledger}"))
    if words := misses(buffer, line_of(Disk(folder / "disk" / file_name(settings.roster.learner)))):
        found.append((14, words))
    names: dict[int, str] = {}
    for one in read_events([folder / "events"]):
        if isinstance(one, Decision) and one.kind == "publish":
            version, source = int(one.fields[0]), str(one.fields[1])
            if version > buffer.highest:
                found.append((9, f"version {version} was published, the store holds {buffer.highest}"))
            if names.setdefault(version, source) != source:
                found.append((13, f"version {version} was published from {names[version]} and from {source}"))
    return found
