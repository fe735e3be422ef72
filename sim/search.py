"""A search over the settings of a scenario: what `braid plan` does, without its face.

    Space --choices--> Choice --applied--> Scenario --plant()--> infeasible (counted, with the reason)
                                                   --bound----> cannot reach the fifth best: counted, not simulated
                                                   --simulated in a process of its own--> Found

Spaces of at most `trials` choices are searched exhaustively. Of larger ones so many are simulated as Optuna's TPE
sampler, with a fixed seed, asks for, beginning with the highest bounds among random choices; it is asked for `BATCH` at
a time and told of them in order, so what is found does not depend on how many processes there are or which of them is
fastest. The bound of a choice is the lesser of two rates that ignore everything but the work itself: full batches on
every generator, and updates one after the other. What it leaves out could not be among the best five.

Left out: the trainer's micro-batches and everything that changes what is learned (batch, group, lengths).
"""

from __future__ import annotations

import multiprocessing
import re
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from actors.kernel.streams import stream
from buffers.errors import UsageError
from sim.costs.hardware import gpu
from sim.costs.model import model
from sim.outcome import Outcome, simulated
from sim.scenario import Plant, Scenario, plant

if TYPE_CHECKING:
    import optuna

BATCH = 8
"""Choices that the sampler is asked for before it is told of any of them."""
KEPT = 5
"""The best ones that are shown."""
ASKED = 16
"""So many times the choices to simulate are asked for at most: what is infeasible or bounded costs next to nothing."""
GLANCED = 1024
"""Choices whose bounds are compared before the first is simulated."""
WORST = -1e300
"""The value of what cannot be built, or does not come to its end."""
Goal = Literal["tokens/s", "step_s"]
GOALS: tuple[Goal, ...] = ("tokens/s", "step_s")
PARTS = ("split", "layout", "segment", "eta", "oversample", "concurrency")
"""What may be varied; whatever is not stays as the scenario has it."""


class Choice(msgspec.Struct, frozen=True, order=True):
    """One point of the space, by the scenario's own keys."""

    generator_gpus: int
    generator_tp: int
    tensor: int
    pipeline: int
    segment_tokens: int
    """As long as the longest response: no cuts."""
    eta: int
    oversample: float
    slots: int

    def applied(self, one: Scenario) -> Scenario:
        """The scenario at this point, long enough to be measured behind the filling of its pipeline."""
        versions = 2 * (self.eta + 1) + 2
        schedule = msgspec.structs.replace(
            one.schedule,
            segment_tokens=self.segment_tokens,
            partial=self.segment_tokens < one.schedule.max_response_tokens,
            eta=self.eta,
            oversample=self.oversample,
            versions=versions,
        )
        return replace(
            one,
            generator_gpus=self.generator_gpus,
            generator_tp=self.generator_tp,
            layout=msgspec.structs.replace(one.layout, tensor=self.tensor, pipeline=self.pipeline),
            engine=msgspec.structs.replace(one.engine, slots=self.slots),
            schedule=schedule,
        )


Space = dict[str, tuple[Any, ...]]
"""Field of `Choice` to its values."""


def space(one: Scenario, most_staleness: int, parts: Sequence[str] = PARTS) -> Space:
    """The values that each part may take; the scenario's own are among them."""
    cap = one.schedule.max_response_tokens
    wide = min(gpu(one.gpu).per_machine, one.gpus)
    heads, layers = model(one.model).heads, model(one.model).layers
    powers = [1 << number for number in range(11)]
    replicas = [tp for tp in powers if tp <= wide and not heads % tp]
    tensors = [size for size in powers if size <= wide and not heads % size]
    pipelines = [size for size in powers if size <= min(8, layers, one.gpus)]
    eighths = {round(one.gpus * part / 8) for part in range(8)}
    segments = {max(1, cap >> shift) for shift in range(5)}
    given = {
        "generator_gpus": ("split", one.generator_gpus, eighths if one.gpus > 8 else range(one.gpus)),
        "generator_tp": ("layout", one.generator_tp, replicas),
        "tensor": ("layout", one.layout.tensor, tensors),
        "pipeline": ("layout", one.layout.pipeline, pipelines),
        "segment_tokens": ("segment", min(one.schedule.segment_tokens if one.schedule.partial else cap, cap), segments),
        "eta": ("eta", min(one.schedule.eta, most_staleness), {*range(min(most_staleness, 4) + 1), most_staleness}),
        "oversample": ("oversample", one.schedule.oversample, (1.0, 1.25, 1.5)),
        "slots": ("concurrency", one.engine.slots, (32, 64, 128, 256, 512)),
    }
    return {
        key: tuple(sorted({own, *values})) if part in parts else (own,) for key, (part, own, values) in given.items()
    }


def size(room: Space) -> int:
    """How many choices there are."""
    count = 1
    for values in room.values():
        count *= len(values)
    return count


@dataclass(frozen=True)
class Found:
    """A choice that was simulated."""

    choice: Choice
    outcome: Outcome
    value: float
    """By the goal; more is better."""


@dataclass
class Findings:
    """What is known so far."""

    best: list[Found] = field(default_factory=list)
    """At most `KEPT`, the best first."""
    simulated: int = 0
    bounded: int = 0
    """Not simulated: their bound lies below the last of the best."""
    infeasible: Counter[str] = field(default_factory=Counter)
    """How often which reason."""
    planned: int = 0
    """How many choices will be simulated at most."""
    exhaustive: bool = False

    @property
    def seen(self) -> int:
        """Choices that were looked at."""
        return self.simulated + self.bounded + sum(self.infeasible.values())

    @property
    def bar(self) -> float:
        """What a choice must reach to be among the best."""
        return self.best[-1].value if len(self.best) == KEPT else float("-inf")

    def add(self, found: Found) -> None:
        """Take a simulated choice; of equal values the least choice stands first."""
        self.simulated += 1
        self.best.append(found)
        self.best.sort(key=lambda one: (-one.value, one.choice))
        del self.best[KEPT:]


def reason(error: UsageError) -> str:
    """What an error says, its numbers left out: the same for all choices that fail alike."""
    return re.sub(r"(?<![\w.-])\d+(?:\.\d+)?(?!\w)", "N", str(error))


def value_of(outcome: Outcome, goal: Goal) -> float:
    """More is better."""
    if not outcome.step_s or outcome.outcome != "finished":
        return WORST
    return outcome.tokens_per_s if goal == "tokens/s" else -outcome.step_s


def bound(one: Scenario, built: Plant, goal: Goal) -> float:
    """What no run of a scenario can exceed: the lesser of generation and training, each with nothing else to wait for.

    Generators decode with every slot that may be taken, at half the context that sequences of equal length have, and
    prefill nothing; the trainer updates without a pause, over such sequences. Both with the slack that drawn lengths
    need.
    """
    schedule = one.schedule
    mean = fmean(built.lengths.measured) if built.lengths.measured else one.lengths.mean
    live = (schedule.eta + 1) * schedule.batch * schedule.oversample
    batch = max(1, min(one.engine.slots, -int(-live // one.generators)))
    prompt = built.lengths.prompt
    decode_s = built.engine.cost.decode(batch).at(batch * (prompt + mean / 2) / 2) / 1e9
    generation_s = mean * schedule.batch * decode_s / (batch * one.generators)
    lease = [round(prompt + mean)] * (schedule.batch // schedule.updates_per_version)
    update_s = schedule.updates_per_version * built.training.update(lease).total_ns / 1e9
    step_s = max(generation_s, update_s) if one.generator_gpus else generation_s + update_s
    return SLACK * mean * schedule.batch / step_s if goal == "tokens/s" else -step_s / SLACK


SLACK = 1.1
"""Lengths are drawn: a simulated mean may differ from the one that was asked for."""


def search(one: Scenario, room: Space, goal: Goal, limits: tuple[int, int]) -> Generator[Findings, None, None]:
    """Simulate at most `limits[0]` choices in `limits[1]` processes; the findings at first and after each choice.

    It is always the same object. Close the generator to end the processes at once.
    """
    trials, jobs = limits
    findings = Findings(planned=min(trials, size(room)), exhaustive=size(room) <= trials)
    yield findings
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # inherited: Ctrl-C is for the process that keeps the best
    try:
        pool = multiprocessing.get_context("spawn").Pool(jobs) if jobs > 1 else None
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        for batch, told in batches(one, room, goal, findings):
            waiting = [(choice, *judged(one, choice, goal, findings)) for choice in batch]
            scenarios = [scenario for _, scenario, _ in waiting if scenario is not None]
            runs: Iterator[Outcome] = map(simulated, scenarios) if pool is None else pool.imap(simulated, scenarios)
            values: list[float] = []
            for choice, scenario, known in waiting:
                value = known
                if scenario is not None:
                    outcome = next(runs)
                    value = value_of(outcome, goal)
                    findings.add(Found(choice, outcome, value))
                values.append(value)
                yield findings
            told(values)
    finally:
        if pool is not None:
            pool.terminate()


def judged(one: Scenario, choice: Choice, goal: Goal, findings: Findings) -> tuple[Scenario | None, float]:
    """The scenario to simulate, or None with the value that the sampler is told instead; the reason is counted."""
    try:
        scenario = choice.applied(one)
        built = plant(scenario)
    except UsageError as error:
        findings.infeasible[reason(error)] += 1
        return None, WORST
    most = bound(scenario, built, goal)
    if most < findings.bar:
        findings.bounded += 1
        return None, most
    return scenario, 0.0


Told = Callable[[Sequence[float]], None]


def batches(one: Scenario, room: Space, goal: Goal, findings: Findings) -> Iterator[tuple[list[Choice], Told]]:
    """Choices to look at, and whom to tell of their values."""
    if findings.exhaustive:
        every = [Choice(**dict(zip(room, values, strict=True))) for values in product(*room.values())]
        for begin in range(0, len(every), BATCH):
            yield every[begin : begin + BATCH], lambda values: None
        return
    study = sampler()
    for places in promising(one, room, goal):
        study.enqueue_trial(dict(places))
    known: dict[Choice, float] = {}
    for _ in range(ASKED * findings.planned // BATCH):
        asked = [study.ask() for _ in range(BATCH)]
        drawn = [asked_for(trial, room) for trial in asked]
        left = findings.planned - findings.simulated
        fresh = list(dict.fromkeys(choice for choice in drawn if choice not in known))[:left]

        def told(values: Sequence[float], fresh: Sequence[Choice] = fresh) -> None:
            known.update(zip(fresh, values, strict=True))

        yield fresh, told
        for trial, choice in zip(asked, drawn, strict=True):
            study.tell(trial, known.get(choice, WORST))
        if findings.simulated >= findings.planned:
            return


def sampler() -> optuna.Study:
    """A study that maximizes, by a sampler that always draws the same."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        drawing = optuna.samplers.TPESampler(seed=0, multivariate=True, constant_liar=True, n_startup_trials=2 * BATCH)
    return optuna.create_study(direction="maximize", sampler=drawing)


def promising(one: Scenario, room: Space, goal: Goal) -> list[dict[str, int]]:
    """The choices with the highest bounds among `GLANCED` random ones, by the places of their values."""
    draw = stream(0, "promising")
    glanced = []
    for number in range(GLANCED):
        places = {key: draw.randrange(len(values)) for key, values in room.items()}
        choice = Choice(**{key: values[places[key]] for key, values in room.items()})
        try:
            scenario = choice.applied(one)
            glanced.append((-bound(scenario, plant(scenario), goal), number, places))
        except UsageError:
            continue
    varied = [key for key, values in room.items() if len(values) > 1]
    return [{key: places[key] for key in varied} for _, _, places in sorted(glanced)[:BATCH]]


def asked_for(trial: optuna.Trial, room: Mapping[str, tuple[Any, ...]]) -> Choice:
    """A sampler's trial as a choice; values are drawn by their place in the list, so that neighbours are near."""
    drawn = {}
    for key, values in room.items():
        drawn[key] = values[trial.suggest_int(key, 0, len(values) - 1)] if len(values) > 1 else values[0]
    return Choice(**drawn)
