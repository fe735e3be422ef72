"""The summary of a run: `summary.json`, from its metrics and its store, written when it has ended."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from actors.cast import RunSettings, buffer_config
from actors.health import Health
from actors.sinks.metrics_file import Row, read_metrics
from buffers.buffer import Buffer
from buffers.lmdb_store import open_store

SUMMARY = "summary.json"


def summarize(run_dir: Path, config: dict[str, Any], outcome: str) -> dict[str, Any]:
    """Everything that a finished (or stopped) run has to say of itself; also written to `summary.json`."""
    settings = msgspec.convert(config, RunSettings)
    rows = list(read_metrics(run_dir))
    summary = {
        "outcome": outcome,
        "seed": settings.seed,
        "wall_s": wall_of(rows),
        **accuracies(rows, settings.evaluator.samples),
        **segments(rows),
        "staleness": staleness(rows, settings.schedule.eta),
        "idle_share": idle_shares(rows, settings),
        "alarms": alarms(rows),
        "engine_mismatch": mismatch(rows),
        "weight_update_s": installs(rows, settings),
        "prefix_cache": prefixes(rows, settings),
        **ledger(config, settings),
        "tokens_generated": int(sum(row.value for row in rows if row.name == "decoded_tokens")),
        "tokens_trained": int(sum(row.value for row in rows if row.name == "trained_tokens")),
    }
    (run_dir / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(summary), indent=1))
    return summary


def wall_of(rows: list[Row]) -> float:
    """Seconds between the first and the last number."""
    return rows[-1].t - rows[0].t if rows else 0.0


def accuracies(rows: list[Row], samples: int) -> dict[str, Any]:
    """The first and the last evaluation, as a whole and by difficulty (empty where they do not tell of it).

    Where there was one only, nothing is known of afterwards: None.

    `pass{samples}` is told before the first and after the last version only: None where a run ended between them.
    """
    found = evaluations(rows) or [{}]
    names = ("sampled", "greedy", *([f"pass{samples}"] if samples > 1 else []), "n")
    result: dict[str, Any] = {}
    for place, one in (("before", found[0]), ("after", found[-1] if len(found) > 1 else {})):
        result[f"accuracy_{place}"] = {name: one.get(name) for name in names}
        result[f"response_tokens_{place}"] = one.get("tokens")
        result[f"accuracy_by_difficulty_{place}"] = {
            name.removeprefix("n_at_"): {
                kind: one.get(name.replace("n", kind, 1)) for kind in ("sampled", "greedy", "n")
            }
            for name in one
            if name.startswith("n_at_")
        }
    return result


def evaluations(rows: list[Row]) -> list[dict[str, float]]:
    """The numbers of each evaluation; one ends where a name comes again, since each tells a name once."""
    found: list[dict[str, float]] = []
    for row in rows:
        if row.actor == "evaluator" and row.name.startswith("eval_"):
            name = row.name.removeprefix("eval_")
            if not found or name in found[-1]:
                found.append({})
            found[-1][name] = row.value
    return found


def segments(rows: list[Row]) -> dict[str, float]:
    """Means over all trained trajectories."""
    return {
        "segments_per_trajectory": weighted(rows, "segments_mean"),
        "multi_segment_share": weighted(rows, "multi_segment_share"),
        "mixed_version_share": weighted(rows, "mixed_version_share"),
    }


def weighted(rows: list[Row], name: str) -> float:
    """Mean of a number of leases, weighted by their trajectories."""
    values = [row.value for row in rows if row.name == name]
    weights = [row.value for row in rows if row.name == "trajectories"][: len(values)]
    return sum(v * w for v, w in zip(values, weights, strict=False)) / max(1.0, sum(weights))


def staleness(rows: list[Row], bound: int) -> dict[str, float]:
    """Ages of groups at their lease, in versions, against their bound; and the lags of tokens."""
    ages = [row.value for row in rows if row.name == "age_mean"]
    return {
        "mean": sum(ages) / max(1, len(ages)),
        "max": largest(row.value for row in rows if row.name == "age_max"),
        "bound": float(bound),
        "token_lag_mean": weighted(rows, "lag_mean"),
        "token_lag_max": largest(row.value for row in rows if row.name == "lag_max"),
    }


def mismatch(rows: list[Row]) -> dict[str, Any]:
    """How far the engines' log-probabilities are from the trainer's, over tokens drawn by the reference's own weights.

    `mean` and `histogram` (share of tokens that differ by more than each edge) weigh every token alike; `max` is the
    largest mean of an update.
    """
    fresh = [row.value for row in rows if row.name == "fresh_tokens"]

    def mean(name: str) -> float:
        values = [row.value for row in rows if row.name == name]
        return sum(v * w for v, w in zip(values, fresh, strict=False)) / max(1.0, sum(fresh))

    edges = dict.fromkeys(row.name for row in rows if row.name.startswith("mismatch_over_"))
    return {
        "mean": mean("mismatch"),
        "max": largest(row.value for row in rows if row.name == "mismatch"),
        "tokens": sum(fresh),
        "histogram": {name.removeprefix("mismatch_"): mean(name) for name in edges},
    }


def installs(rows: list[Row], settings: RunSettings) -> dict[str, float]:
    """How long generators stood still for new weights, in seconds for each install."""
    stalls = [row.value for row in rows if row.name == "install_stall_s" and row.actor in settings.roster.generators]
    return {"mean": sum(stalls) / max(1, len(stalls)), "max": largest(stalls), "count": float(len(stalls))}


def prefixes(rows: list[Row], settings: RunSettings) -> dict[str, float]:
    """Tokens of prompts and responses that generators were given to go on from: computed, or found in a cache."""
    of = {"cached_tokens": 0.0, "prefill_tokens": 0.0}
    for row in rows:
        if row.name in of and row.actor in settings.roster.generators:
            of[row.name] += row.value
    return {"hit_rate": of["cached_tokens"] / max(1.0, sum(of.values())), **of}


def largest(values: Iterable[float]) -> float:
    """The largest; 0 of none."""
    return max(values, default=0.0)


def idle_shares(rows: list[Row], settings: RunSettings) -> dict[str, float]:
    """1 - seconds of useful port calls / wall, from the first version that could be pulled to the last."""
    versions = [row.t for row in rows if row.name == "version"]
    if len(versions) < 2:
        return {}
    begin, end = versions[0], versions[-1]
    busy: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.name in ("busy_s", "update_s", "score_s") and begin <= row.t <= end:
            busy[row.actor] += row.value
    roster = settings.roster
    names = (roster.learner, *roster.generators, *roster.rewarders)
    return {name: round(1.0 - busy[name] / (end - begin), 4) for name in names}


def alarms(rows: list[Row]) -> dict[str, int]:
    """How often which alarm of training health rang (`actors/health.py`)."""
    health = Health()
    for row in rows:
        health.take(row.name, row.value)
    return health.alarms


def ledger(config: dict[str, Any], settings: RunSettings) -> dict[str, Any]:
    """Trajectories by what became of them, their lengths, and tokens closed by reason, from the store itself."""
    store = open_store(config, lambda event: None, None)
    try:
        account = Buffer.recover(buffer_config(settings), store.rows()).ledger()
    finally:
        store.close()
    counts = {name: getattr(account, name) for name in ("opened", "trained", "evicted", "failed", "in_flight")}
    means = {name: tokens / count for name, (count, tokens) in account.lengths.items() if count}
    return {"ledger": counts, "mean_tokens": means, "closed_tokens": account.reason_tokens}
