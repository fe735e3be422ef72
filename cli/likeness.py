"""What `braid simulate --like RUN_DIR` prints: a live run's settings predicted at the costs of a calibration."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from buffers.errors import UsageError
from cli.calibrate import COSTS
from cli.simulated_folder import check_free, write_run
from sim.calibration import Window
from sim.calibration_world import load, measured, observed, played

ROWS = (
    ("step_s", "step time, s"),
    ("tokens_per_s", "throughput, tokens/s"),
    ("trained_per_s", "throughput, trajectories/s"),
    ("response_tokens", "trained response, tokens"),
    ("generator_idle", "generators idle"),
    ("trainer_waits", "learner waits"),
)


def like(run: Path, costs: str, as_json: bool, run_dir: str | None) -> int:
    """Predict a run, print predicted against measured, and leave the prediction in a folder; the exit status."""
    if run_dir:
        check_free(Path(run_dir))
    path = Path(costs) if costs else run / COSTS
    if not path.is_file():
        raise UsageError(f"no cost file at {path}: write one with braid calibrate {run}, or name another with --costs")
    settings, seen = measured(run)
    world = played(load(path), settings)
    said = observed(world, settings, seen.first)
    if run_dir:
        write_run(world, (run / "config.toml").read_text(encoding="utf-8"), settings, Path(run_dir))
    if as_json:
        print(json.dumps({"predicted": msgspec.to_builtins(said), "measured": msgspec.to_builtins(seen)}))
        return 0
    print(f"{'from version ' + str(seen.first):>28}  {'predicted':>10}  {'measured':>10}  error")
    for key, name in ROWS:
        print(f"{name:>28}  {getattr(said, key):>10.4g}  {getattr(seen, key):>10.4g}  {error(said, seen, key)}")
    print(f"{'age of leases 0, 1, ...':>28}  {shares(said.ages)} predicted, {shares(seen.ages)} measured")
    return 0


def error(said: Window, seen: Window, key: str) -> str:
    """In percent; of shares, in points."""
    one, other = getattr(said, key), getattr(seen, key)
    if key in ("generator_idle", "trainer_waits"):
        return f"{100 * (one - other):+.0f} points"
    return f"{100 * (one / other - 1):+.1f} %" if other else "-"


def shares(values: list[float]) -> str:
    """In percent."""
    return " ".join(f"{100 * value:.0f}" for value in values) + " %"
