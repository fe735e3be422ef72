"""Make a failing plan short: greedy, one family of simplifications after the other, until none helps any more.

    fewer faults --> fewer actors --> shorter runs --> plainer settings --> milder faults --> again

A candidate is taken if it still fails in the same way; what "the same way" is says the caller. The result is no larger
than the plan, and without a bound on time no single simplification of it fails any more. Left out: searching beyond
single steps; two changes that only help together are not found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from msgspec.structs import replace

from actors.kernel.asks import Window
from sim.plan import Plan

PLAIN: dict[str, dict[str, Any]] = {
    "schedule": {"oversample": 1.0, "reuse": 1, "checkpoint_every": 1, "backlog": 0, "eta": 0},
    "standins": {
        "fail_score_every": 0,
        "fail_job_every": 0,
        "flat_every": 0,
        "payload": "ghost",
        "install_s": 0.0,
        "report_s": 0.0,
        "checkpoint_s": 0.0,
    },
    "buffer": {"capacity_tokens": 0, "no_signal": "train", "priority": "fifo"},
}
"""Settings that ask least of a reader."""

T = TypeVar("T")


def shrink(plan: Plan, fails: Callable[[Plan], bool], go_on: Callable[[], bool] = lambda: True) -> tuple[Plan, int]:
    """A simpler plan that fails too, and how many candidates were run; `go_on` is asked before each of them."""
    tried = 0
    before = None
    while before != plan:
        before = plan
        for family in FAMILIES:
            candidates = family(plan)
            while (candidate := next(candidates, None)) is not None:
                if not go_on():
                    return plan, tried
                tried += 1
                if fails(candidate):
                    plan = candidate
                    candidates = family(plan)
    return plan, tried


def fewer_faults(plan: Plan) -> Iterator[Plan]:
    """Without any act, strike or stop, with a half of them, without one."""
    for acts in _fewer(plan.acts):
        yield replace(plan, acts=acts)
    for strikes in _fewer(plan.strikes):
        yield replace(plan, strikes=strikes)
    for stops in _fewer(plan.stops):
        yield replace(plan, stops=stops)


def _fewer(items: tuple[T, ...]) -> Iterator[tuple[T, ...]]:
    count = len(items)
    if count:
        yield ()
    if count > 2:
        yield items[: count // 2]
        yield items[count // 2 :]
    if count > 1:
        yield from (items[:index] + items[index + 1 :] for index in range(count))


def fewer_actors(plan: Plan) -> Iterator[Plan]:
    """Without the evaluator, without the recorder, without the last generator or rewarder."""
    roster = plan.config["roster"]
    for role in ("evaluator", "recorder"):
        if roster.get(role):
            yield _without(_set(plan, "roster", **{role: ""}), roster[role])
    for role in ("generators", "rewarders"):
        if len(roster[role]) > 1:
            yield _without(_set(plan, "roster", **{role: roster[role][:-1]}), roster[role][-1])


def _without(plan: Plan, name: str) -> Plan:
    """Nothing befalls this actor any more."""

    def spared(target: str) -> bool:
        return name not in re.split("->|,", target)

    acts = tuple(act for act in plan.acts if spared(act.target))
    return replace(plan, acts=acts, strikes=tuple(one for one in plan.strikes if spared(one.act.target)))


def shorter_runs(plan: Plan) -> Iterator[Plan]:
    """Fewer versions, one update a version, one group an update, groups of two, shorter responses."""
    schedule = plan.config["schedule"]
    versions, group, updates = schedule["versions"], schedule["group"], schedule["updates_per_version"]
    for fewer in dict.fromkeys((1, versions // 2, versions - 1)):
        if 0 < fewer < versions:
            yield _set(plan, "schedule", versions=fewer)
    groups = schedule["batch"] // group
    for batch in ({"updates_per_version": 1, "batch": group}, {"updates_per_version": 1, "batch": group * groups}):
        if groups > 1 and batch["batch"] <= schedule["batch"] and batch != {name: schedule[name] for name in batch}:
            yield _set(plan, "schedule", **batch)
    if groups > updates:
        yield _set(plan, "schedule", batch=group * updates)
    if group > 2:
        yield _set(plan, "schedule", group=2, batch=2 * groups)
    if schedule["max_response_tokens"] > 8:
        yield _set(plan, "schedule", max_response_tokens=8)


def plainer_settings(plan: Plan) -> Iterator[Plan]:
    """One setting plain; a link without jitter; windows that never fill; the real codec."""
    for section, settings in PLAIN.items():
        for name, value in settings.items():
            if plan.config.get(section, {}).get(name, value) != value:
                yield _set(plan, section, **{name: value})
    if plan.link.jitter_ns:
        yield replace(plan, link=replace(plan.link, jitter_ns=0))
    if plan.window != Window():
        yield replace(plan, window=Window())
    if not plan.codec:
        yield replace(plan, codec=True)


def milder_faults(plan: Plan) -> Iterator[Plan]:
    """A fault half as long; a strike at the first such decision, at once."""
    for index, act in enumerate(plan.acts):
        if act.for_ns > 1_000_000:
            mild = replace(act, for_ns=act.for_ns // 2)
            yield replace(plan, acts=(*plan.acts[:index], mild, *plan.acts[index + 1 :]))
    for index, strike in enumerate(plan.strikes):
        milder = []
        if strike.count > 1:
            milder.append(replace(strike, count=1))
        if strike.act.at_ns:
            milder.append(replace(strike, act=replace(strike.act, at_ns=0)))
        if strike.act.for_ns > 1_000_000:
            milder.append(replace(strike, act=replace(strike.act, for_ns=strike.act.for_ns // 2)))
        for one in milder:
            yield replace(plan, strikes=(*plan.strikes[:index], one, *plan.strikes[index + 1 :]))


FAMILIES: tuple[Callable[[Plan], Iterator[Plan]], ...] = (
    fewer_faults,
    fewer_actors,
    shorter_runs,
    plainer_settings,
    milder_faults,
)
"""In the order in which they save most."""


def _set(plan: Plan, section: str, **values: object) -> Plan:
    return replace(plan, config={**plan.config, section: {**plan.config[section], **values}})
