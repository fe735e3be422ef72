"""Costs of a live run's parts, fitted to its event log; what `braid calibrate` writes and the virtual host spends.

    EngineReport rows  busy_s = step_s * steps + row_s * decoded + prefill_s * prefilled    least squares, none below 0
    updates            lease to end = base_s + token_s * (prompt and response tokens)       least squares, none below 0
    checkpoint, expose, install, score                                                      medians
    messages           half the quickest quarter of the learner's asks for a lease
    lengths            of each response, in the order in which trajectories were opened     as they are
    flat               share of groups that were closed without signal

Residuals are kept beside what they belong to. Only rows behind the first evaluation count: before it, the evaluator
takes part in the cores. Left out: what controller, replay and rewarder take from the cores; it is in the fitted costs.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from actors.eventlog import Number, Record, read_events
from actors.kernel.backend import Decision
from buffers.errors import UsageError
from buffers.rows import PromptRow

NS = 1e9
WARM_VERSIONS = 3
"""Versions at the beginning that nothing is fitted to or measured on."""


class Fit(msgspec.Struct, frozen=True):
    """Costs in seconds and how well they tell the rows that they were fitted to."""

    costs: dict[str, float]
    rows: int
    residual: float
    """Mean absolute error as a share of the mean."""


class Calibration(msgspec.Struct, frozen=True):
    """What a run's parts take."""

    source: str
    cores: int
    engine: Fit
    trainer: Fit
    single: dict[str, float]
    """Seconds of what is done as a whole: checkpoint, expose, install, score, message."""
    flat_share: float
    prompt_tokens: int
    """Mean of the prompt set."""
    lengths: list[int]
    """Response tokens by order of opening."""


class Window(msgspec.Struct, frozen=True):
    """A run between two moments, as both worlds measure it."""

    first: int
    """The version that it begins with."""
    seconds: float
    versions: int
    step_s: float
    tokens_per_s: float
    """Response tokens stored."""
    trained_per_s: float
    """Trajectories."""
    response_tokens: float
    """Mean of what was trained."""
    ages: list[float]
    """Shares of leases by rounded mean age, 0, 1, ..."""
    generator_idle: float
    """Share of time in which engines did not step."""
    trainer_waits: float
    """Share of time in which the learner waited for a lease."""


def read_run(folder: Path) -> tuple[dict[str, Any], list[Record]]:
    """Settings and event log of a live run."""
    if not (folder / "run.json").is_file() or not (folder / "events").is_dir():
        raise UsageError(f"{folder} holds no run (run.json and events/ are needed): name a run folder of braid train")
    records = read_events([folder / "events"])
    if not records:
        raise UsageError(f"{folder}/events holds no records: the run has not begun")
    return json.loads((folder / "run.json").read_bytes()), records


def calibrate(folder: Path, cores: int) -> Calibration:
    """Fit a run's costs."""
    settings, records = read_run(folder)
    begin, end = bounds(records)
    inside = [record for record in records if begin <= record.at_ns <= end]
    numbers = by_name(inside)
    prompts = prompt_tokens(folder)
    batch = settings["schedule"]["batch"] // settings["schedule"]["updates_per_version"]
    engine = fit(
        ("step_s", "row_s", "prefill_s"),
        [numbers[name] for name in ("steps", "decoded_tokens", "prefill_tokens")],
        numbers["busy_s"],
    )
    tokens, took = updates(inside)
    trainer = fit(("base_s", "token_s"), [[1.0] * len(took), [value + batch * prompts for value in tokens]], took)
    last = [record for record in records if record.at_ns <= end]
    lengths, flat = responses(last, settings["schedule"]["group"])
    single = {
        "checkpoint": gap(inside, "learner", "update", "checkpoint"),
        "expose": gap(inside, "learner", "checkpoint", "publish"),
        "install": median(numbers["install_stall_s"]),
        "score": median(numbers["score_s"]),
        "message": 0.5 * float(np.quantile(numbers["wait_s"] or [0.0], 0.25)),
    }
    return Calibration(str(folder), cores, engine, trainer, single, flat, prompts, lengths)


def bounds(records: Sequence[Record]) -> tuple[int, int]:
    """From the first version of those that count, and behind the first evaluation, to the last version (ns)."""
    published = publications(records)
    return published[first_version(records)], published[-1]


def first_version(records: Sequence[Record]) -> int:
    """The first version that counts."""
    published = publications(records)
    if len(published) < WARM_VERSIONS + 4:
        raise UsageError(f"the run has published {len(published)} versions; {WARM_VERSIONS + 4} are needed to fit it")
    evaluated = [record.at_ns for record in records if isinstance(record, Decision) and record.kind == "evaluated"]
    if evaluated and evaluated[0] < published[-4]:
        return max(WARM_VERSIONS, sum(at < evaluated[0] for at in published))
    return WARM_VERSIONS


def publications(records: Sequence[Record]) -> list[int]:
    """When versions were published (ns)."""
    return [record.at_ns for record in records if isinstance(record, Decision) and record.kind == "publish"]


def measure(records: Sequence[Record], settings: dict[str, Any], first: int) -> Window:
    """The same measures of a live run and of a simulated one, from version `first` to the last."""
    published = publications(records)
    if first >= len(published) - 1:
        raise UsageError(f"{len(published)} versions were published, none behind version {first}: take a longer run")
    begin, end = published[first], published[-1]
    inside = [record for record in records if begin <= record.at_ns <= end]
    decided = [record for record in inside if isinstance(record, Decision)]
    numbers = by_name(inside)
    seconds = max(1e-9, (end - begin) / NS)
    versions = sum(record.kind == "publish" for record in decided) - 1
    stored = sum(int(record.fields[3]) for record in decided if record.kind == "store")
    generators = len(settings["roster"]["generators"])
    ages = [round(age) for age in numbers["age_mean"]]
    return Window(
        first,
        seconds,
        versions,
        seconds / max(1, versions),
        stored / seconds,
        versions * settings["schedule"]["batch"] / seconds,
        float(np.mean(numbers["response_tokens"] or [0.0])),
        [ages.count(age) / max(1, len(ages)) for age in range(settings["schedule"]["eta"] + 1)],
        max(0.0, 1.0 - sum(numbers["busy_s"]) / (seconds * generators)),
        min(1.0, sum(numbers["wait_s"]) / seconds),
    )


def by_name(records: Sequence[Record]) -> defaultdict[str, list[float]]:
    """Values of the numbers that were noted, in order of time."""
    values: defaultdict[str, list[float]] = defaultdict(list)
    for record in records:
        if isinstance(record, Number):
            values[record.name].append(record.value)
    return values


def updates(records: Sequence[Record]) -> tuple[list[float], list[float]]:
    """Trained tokens of each update, and the seconds from its lease to its end."""
    tokens: list[float] = []
    took: list[float] = []
    leased = 0
    waiting: list[float] = []
    for record in records:
        if isinstance(record, Decision) and record.kind == "lease":
            leased = record.at_ns
        elif isinstance(record, Decision) and record.kind == "update" and leased:
            waiting.append((record.at_ns - leased) / NS)
        elif isinstance(record, Number) and record.name == "trained_tokens" and waiting:
            tokens.append(record.value)
            took.append(waiting.pop())
    return tokens, took


def responses(records: Sequence[Record], group: int) -> tuple[list[int], float]:
    """Lengths of ended responses by trajectory, and the share of ended groups that were never leased."""
    lengths: dict[int, int] = {}
    ended: set[int] = set()
    for record in records:
        if isinstance(record, Decision) and record.kind == "store":
            trajectory, length = int(record.fields[0]), int(record.fields[2]) + int(record.fields[3])
            lengths[trajectory] = length
            if record.fields[4] != "cut":
                ended.add(trajectory)
    trained = by_name(records)["trained"]
    evicted = by_name(records)["evicted"]
    closed = (trained[-1] if trained else 0.0) + (evicted[-1] if evicted else 0.0)
    flat = evicted[-1] / closed if closed else 0.0
    return [lengths[trajectory] for trajectory in sorted(ended)], flat


def gap(records: Sequence[Record], actor: str, first: str, second: str) -> float:
    """Median seconds from one decision of an actor to the next of another kind."""
    since = 0
    gaps: list[float] = []
    for record in records:
        if isinstance(record, Decision) and record.actor == actor:
            if record.kind == first:
                since = record.at_ns
            elif record.kind == second and since:
                gaps.append((record.at_ns - since) / NS)
                since = 0
    return median(gaps)


def median(values: Sequence[float]) -> float:
    """0 for no values."""
    return float(np.median(values)) if values else 0.0


def prompt_tokens(folder: Path) -> int:
    """Mean length of the prompt set."""
    path = folder / "prompts.msgpack"
    if not path.is_file():
        return 1
    rows = msgspec.msgpack.decode(path.read_bytes(), type=tuple[PromptRow, ...])
    return max(1, round(sum(row.payload.length for row in rows) / max(1, len(rows))))


def fit(names: Sequence[str], columns: Sequence[Sequence[float]], values: Sequence[float]) -> Fit:
    """Least squares without negative costs: what would be negative is left out, the worst first."""
    count = min([len(values), *(len(column) for column in columns)])
    if count < len(names):
        raise UsageError(f"{count} rows for {', '.join(names)}: at least {len(names)} are needed; fit a longer run")
    matrix = np.array([column[:count] for column in columns], dtype=np.float64).T
    target = np.array(values[:count], dtype=np.float64)
    kept = list(range(len(names)))
    found = np.zeros(len(names))
    while kept:
        solved = np.linalg.lstsq(matrix[:, kept], target, rcond=None)[0]
        if (solved >= 0).all():
            found[kept] = solved
            break
        kept.pop(int(np.argmin(solved)))
    error = np.abs(matrix @ found - target).mean() / max(1e-12, float(target.mean()))
    return Fit(dict(zip(names, map(float, found), strict=True)), count, float(error))
