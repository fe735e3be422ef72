"""Builders of plans for the whole cast: a small cluster that finishes in a second of virtual time."""

from actors.kernel.asks import Window
from sim.network import Link
from sim.plan import Plan

PACE = {"heartbeat_s": 0.1, "ask_timeout_s": 0.4, "lease_s": 2.0, "hang_s": 1.5, "start_s": 0.0, "stop_s": 1.0}


def cast_plan(
    seed=1, acts=(), strikes=(), window=256, latency_ns=100_000, evaluator=True, mode="repairable", **sections
):
    """A plan with two generators and one rewarder; `schedule`, `standins` ... change single settings."""
    config = {
        "seed": seed,
        "roster": {
            "generators": ["g0", "g1"],
            "rewarders": ["r0"],
            "evaluator": "evaluator" if evaluator else "",
            "recorder": "recorder",
            "supervisor": "supervisor",
        },
        "pace": PACE,
        "restarts": {"backoff_s": 0.02, "max_backoff_s": 0.5, "budget": 30},
        "schedule": {
            "batch": 16,
            "group": 4,
            "updates_per_version": 2,
            "eta": 1,
            "segment_tokens": 16,
            "max_response_tokens": 80,
            "versions": 4,
            "backlog": 4,
        },
        "standins": {"slots": 4, "seed": seed},
        "evaluator": {"every": 2, "samples": 1, "max_response_tokens": 16},
        "prompts": {"count": 16},
    }
    for name, changes in sections.items():
        config[name] = {**config.get(name, {}), **changes} if isinstance(changes, dict) else changes
    return Plan(seed, "repairable", config, Link(latency_ns), Window(window), tuple(acts), tuple(strikes))
