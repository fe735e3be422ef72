"""A schedule: every choice in which synchronous, k-step and fully asynchronous training differ, as one object.

The cast asks it; it answers from what it is shown and keeps no state of its own. Your own schedule is a class with
these methods in one file (`rule = "my_module:MySchedule"`); try it in `sim/`, run it live unchanged.

    synchronous       eta = 0, whole responses, drain          one-step-off   eta = 1, whole responses, drain
    k-step            eta = k, whole responses, drain          asynchronous   eta >= 1, segments, in-flight updates

Admission itself (`live + k <= (eta + 1) * batch * oversample`) is replay's, in `buffers/admission.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heappop, heappush
from typing import Literal

import msgspec

from buffers.errors import UsageError
from buffers.plugin import load


class ScheduleConfig(msgspec.Struct, frozen=True):
    """The settings of a schedule."""

    batch: int = 128
    """Trajectories per published version; a multiple of `group`."""
    group: int = 8
    """Responses per prompt (k)."""
    updates_per_version: int = 2
    """Optimizer updates per published version; each is one lease of batch / updates_per_version trajectories."""
    eta: int = 1
    """Bound on a group's age, in versions; 0 is synchronous training."""
    oversample: float = 1.0
    """How many times the batch may be in flight beyond what is trained; above 1 the priority law selects."""
    reuse: int = 1
    """How often a group may be trained."""
    partial: bool = True
    """Responses are cut into segments; False: one segment holds the whole response."""
    segment_tokens: int = 32
    """Segment budget in tokens."""
    max_response_tokens: int = 256
    """Cap on a response."""
    install: Literal["in_flight", "drain"] = "in_flight"
    """New weights between two tokens of what runs, or after what runs has ended its segment."""
    backlog: int = 8
    """Jobs that a generator may hold beyond its slots, to hide the way to the controller and back."""
    versions: int = 50
    """The run ends with versions * updates_per_version updates in the weights; a learner that had to go back to its
    checkpoint publishes under further numbers, and still trains them all."""
    checkpoint_every: int = 1
    """Versions between durable checkpoints."""

    def __post_init__(self) -> None:
        """Refuse what cannot work, naming key, value and remedy."""
        for key in ("batch", "group", "updates_per_version", "reuse", "segment_tokens", "max_response_tokens"):
            if getattr(self, key) < 1:
                raise UsageError(f"schedule.{key} = {getattr(self, key)}: must be at least 1")
        if self.group < 2:
            raise UsageError(f"schedule.group = {self.group}: a group needs at least 2 responses to have a baseline")
        lease, left = divmod(self.batch, self.updates_per_version)
        if left or lease % self.group:
            raise UsageError(
                f"schedule.batch = {self.batch}: must be a multiple of updates_per_version x group = "
                f"{self.updates_per_version} x {self.group}"
            )
        if self.eta < 0:
            raise UsageError(f"schedule.eta = {self.eta}: must be 0 (synchronous) or more")
        if self.oversample < 1:
            raise UsageError(f"schedule.oversample = {self.oversample}: must be at least 1")
        if self.install == "drain" and self.reuse > 1:
            raise UsageError(f"schedule.reuse = {self.reuse}: reuse above 1 is not possible with install = drain")


class JobView(msgspec.Struct, frozen=True, gc=False):
    """A trajectory that wants a generator."""

    trajectory: int
    prompt: int
    length: int
    """Response tokens stored."""
    min_version: int
    home: str
    """The generator that continued it last; empty for a fresh one."""


class WorkerView(msgspec.Struct):
    """A generator as the controller sees it."""

    name: str
    version: int
    slots: int
    held: int


class Workers(dict[str, WorkerView]):
    """The generators by name, with an index: the least loaded that has room, without looking at all of them.

    Whoever changes a view says so by `changed`; what was changed is looked at when somebody asks, so that a job which
    leaves and comes back costs nothing. Room is what the schedule says; an entry of the index that is no longer right
    is dropped when it comes up.
    """

    def __init__(self, room: Callable[[WorkerView], int]) -> None:
        super().__init__()
        self._room = room
        self._changed: dict[str, None] = {}
        self._rooms: dict[str, int] = {}
        self._heaps: dict[int, list[tuple[float, str, int]]] = {}
        """By version: heap of (load, name, held)."""
        self._indexed: dict[str, tuple[int, int, int] | None] = {}
        """(version, held, slots) of the entry of each name that is right; None: it has no room."""
        self._total_room = 0

    @property
    def total_room(self) -> int:
        """Of those that have weights."""
        self._look()
        return self._total_room

    def changed(self, name: str) -> None:
        """A view was put in, changed or taken out."""
        self._changed[name] = None

    def _look(self) -> None:
        """Take over what was changed."""
        for name in self._changed:
            view = self.get(name)
            room = max(0, self._room(view)) if view is not None and view.version >= 0 else 0
            self._total_room += room - self._rooms.get(name, 0)
            self._rooms[name] = room
            state = (view.version, view.held, view.slots) if view is not None and room else None
            if state != self._indexed.get(name):
                self._indexed[name] = state
                if state is not None:
                    version, held, slots = state
                    heappush(self._heaps.setdefault(version, []), (held / slots, name, held))
        self._changed.clear()

    def least_loaded(self, min_version: int) -> WorkerView | None:
        """The least loaded with room, those that have the version first; None if nobody has room."""
        self._look()
        best: tuple[bool, float, str] | None = None
        for version in list(self._heaps):
            top = self._top(version)
            if top is not None and (best is None or (version < min_version, *top) < best):
                best = (version < min_version, *top)
        return None if best is None else self[best[2]]

    def _top(self, version: int) -> tuple[float, str] | None:
        heap = self._heaps[version]
        while heap:
            load, name, held = heap[0]
            view = self.get(name)
            current = view is not None and view.version == version and view.held == held and self._rooms[name]
            if current and view is not None and load == view.held / view.slots:
                return load, name
            heappop(heap)
        del self._heaps[version]
        return None


class Schedule:
    """The one loop's schedule; subclass or replace it."""

    def __init__(self, config: ScheduleConfig) -> None:
        self.config = config

    def room(self, worker: WorkerView) -> int:
        """How many more jobs a generator may be given."""
        return worker.slots + self.config.backlog - worker.held

    def groups_to_open(self, room: int, waiting: int) -> int:
        """How many groups to ask replay for, given the generators' free room and the jobs that wait already."""
        return max(0, (room - waiting + self.config.group - 1) // self.config.group)

    def choose(self, job: JobView, workers: Mapping[str, WorkerView]) -> str | None:
        """The generator for a job: where its prefix is cached, else the least loaded that has the version; or None."""
        home = workers.get(job.home)
        if home is not None and self.room(home) > 0:
            return home.name
        if isinstance(workers, Workers):
            found = workers.least_loaded(job.min_version)
            return None if found is None else found.name
        best: WorkerView | None = None
        for worker in workers.values():
            if self.room(worker) <= 0 or worker.version < 0:
                continue
            if best is None or _rank(worker, job) < _rank(best, job):
                best = worker
        return None if best is None else best.name

    def budget(self, job: JobView) -> int:
        """Segment budget of a job in tokens."""
        return self.config.segment_tokens if self.config.partial else self.config.max_response_tokens


def find_schedule(name: str, config: ScheduleConfig) -> Schedule:
    """The schedule `module:name` with these settings; `UsageError` for what is none."""
    kind = load(name, "rule")
    missing = [part for part in ("room", "groups_to_open", "choose", "budget") if not hasattr(kind, part)]
    if missing or not isinstance(kind, type):
        lacks = f"it lacks {', '.join(missing)}" if missing else "it is no class"
        raise UsageError(
            f"rule = {name!r} is no schedule: {lacks}; make it a subclass of {Schedule.__module__}:Schedule"
        )
    try:
        schedule: Schedule = kind(config)
    except Exception as error:  # it is a person's code, so it may fail in any way
        raise UsageError(
            f"rule = {name!r} cannot be made: {type(error).__name__}: {error}; give it an __init__(self, config) that"
            " takes the settings of [schedule]"
        ) from error
    return schedule


def _rank(worker: WorkerView, job: JobView) -> tuple[bool, float, str]:
    return (worker.version < job.min_version, worker.held / worker.slots, worker.name)
