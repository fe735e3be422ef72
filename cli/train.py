"""`braid train`: prepares a run's folder, starts the cast, shows progress, ends in a summary; or goes on with a run.

braid train                            the CPU example
braid train my.toml --set schedule.eta=2 --seed 7 --run-dir runs/mine
braid train --resume runs/mine         exactly where it stopped
braid train my.toml --check            validates, runs nothing
braid train my.toml --short            a few versions: whether everything works, no result
braid train my.toml --cluster ray --address HEAD:6379      placed on the nodes of a cluster
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from buffers.errors import UsageError

NAME = "train"
HELP = "train a model by asynchronous reinforcement learning"

HERE = Path(__file__).resolve().parent
EXAMPLES = HERE / "examples" if (HERE / "examples").is_dir() else HERE.parent / "examples"
"""Inside this package where Braid is installed from a wheel; beside it in a source tree."""
EXAMPLE = EXAMPLES / "cpu_reasoning.toml"
STARTS = "starts"
SINKS = {
    "tensorboard": "actors.sinks.tensorboard_sink:TensorBoard",
    "wandb": "actors.sinks.wandb_sink:WeightsAndBiases",
}
"""Where charts go, by the names that a config gives them."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("config", nargs="?", default="", help="a TOML file (default: the CPU example)")
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="change a key")
    parser.add_argument("--seed", type=int, help="seed of everything")
    parser.add_argument("--run-dir", help="folder of the run (default: runs/NAME-TIME)")
    parser.add_argument("--resume", metavar="DIR", help="go on with a run")
    parser.add_argument("--cluster", choices=["ray"], help="place the run's processes on the nodes of a cluster")
    parser.add_argument("--address", default="", metavar="HOST:PORT", help="the cluster to join (default: a local one)")
    parser.add_argument(
        "--keys", default="", metavar="FILE", help="keys for TCP, from braid keys (default: fresh ones)"
    )
    parser.add_argument("--short", action="store_true", help="few versions and problems: a look, not a result")
    parser.add_argument("--check", action="store_true", help="validate the config and leave")


def main(args: argparse.Namespace) -> int:
    """Run; the exit status."""
    if args.address and not args.cluster:
        raise UsageError(f"--address {args.address} names a cluster; add --cluster ray")
    if args.resume:
        if args.config or args.settings or args.seed is not None or args.run_dir or args.short:
            raise UsageError(
                "--resume takes the config of the run; leave out config, --set, --seed, --short and --run-dir"
            )
        return run(Path(args.resume), args)
    config = args.config or str(EXAMPLE)
    settings = list(args.settings) + ([f"seed={args.seed}"] if args.seed is not None else [])
    if args.check:
        status = prepare(config, settings, "", args.short)
        if not status:
            print("the config is valid")
        return status
    stem = Path(config).stem
    folder = Path(args.run_dir or f"runs/{stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is no folder; name another --run-dir")
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} exists and is not empty; name another --run-dir, or go on with --resume {folder}")
    if args.address:
        ray_door().probe(args.address)  # before a model is warmed up for it
    status = prepare(config, settings, str(folder), args.short)
    return status or run(folder, args)


def prepare(config: str, settings: list[str], run_dir: str, short: bool) -> int:
    """Prepare (or only check) in a process of its own, which loads torch and leaves; its exit status."""
    from actors.live.places import import_path

    order = json.dumps({"config": config, "settings": settings, "run_dir": run_dir, "short": short})
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(import_path())}
    process = subprocess.Popen([sys.executable, "-P", "-m", "cli.prepare", order], env=env)
    try:
        return process.wait()
    except KeyboardInterrupt:
        process.wait()
        return 130


def run(folder: Path, args: argparse.Namespace) -> int:
    """Start the cast in a prepared folder and stay until the run has ended; the exit status."""
    from actors.live.cluster import Cluster
    from actors.live.keys import read_keys
    from actors.live.launch import LaunchConfig, own
    from actors.ports import REAL, SGLANG
    from actors.supervisor import is_finished
    from cli.summary import SUMMARY, summarize
    from policies.shared_files import remove_shared

    if not (folder / "run.json").is_file():
        raise UsageError(f"{folder} holds no prepared run (no run.json); start one with braid train --run-dir {folder}")
    free = own(folder)
    keys = read_keys(Path(args.keys)) if args.keys else None
    config = read_settings(folder)
    if args.cluster and config.get("cluster", {}).get("placement") == "colocated":
        raise UsageError(
            f"--cluster {args.cluster} places roles on machines, cluster.placement = 'colocated' on one card: leave "
            "the former out, or set the latter to 'separate'"
        )
    check_store(config)
    ports = {
        **REAL,
        **engines(config, REAL, SGLANG),
        "sink_metrics": "actors.sinks.metrics_file:MetricsFile",
        **{f"sink_{name}": SINKS[name] for name in config.get("sinks", ("tensorboard",))},
        "sink_samples": "actors.sinks.samples_file:SamplesFile",
        "sink_progress": "cli.progress:Progress",
    }
    print(f"run folder: {folder}", flush=True)
    begun = time.monotonic()
    places = places_on_ray(config, args.address, folder) if args.cluster else None
    launch = LaunchConfig(folder=str(folder), seed=int(config["seed"]), keys=keys)
    free.close()  # from here on the launcher owns the folder
    with Cluster(config, ports, launch, places) as cluster:
        stop_on_signals(cluster)
        cluster.run()
        outcome = cluster.outcome
    remove_shared(config)
    summary = summarize(folder, config, outcome)
    print(f"{outcome} after {time.monotonic() - begun:.0f} s; ledger {summary['ledger']}")
    print(f"held-out accuracy before: {summary['accuracy_before']}")
    after = summary["accuracy_after"] or {}
    measured = any(value is not None for value in after.values())
    print(f"held-out accuracy after: {after if measured else 'not measured since'}")
    print(f"summary: {folder / SUMMARY}")
    if is_finished(outcome):
        return 0
    print(f"go on with: braid train --resume {folder}")
    return 130 if outcome == "stopped by the person" else 1


def engines(config: dict[str, Any], torch: dict[str, str], sglang: dict[str, str]) -> dict[str, str]:
    """Whose engine is which: the generators' as the run says, the evaluator's as the section `sglang` says."""
    if config.get("generates_with") != "sglang":
        return {}
    evaluator = sglang if config["sglang"]["evaluator"] == "sglang" else torch
    return {**sglang, f"engine@{config['roster']['evaluator']}": evaluator["engine"]}


def places_on_ray(config: dict[str, Any], address: str, folder: Path) -> Any:
    """Places of a run on a Ray cluster, or on a Ray of this machine that starts now and ends with the run."""
    if not address:  # Ray's own servers listen on every interface; it reads when it is imported who may use them
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    door = ray_door()
    import msgspec

    from actors.cast import RunSettings
    from actors.live.placement import ClusterConfig, groups_of

    settings = msgspec.convert(config, RunSettings)
    cluster = msgspec.convert(config.get("cluster", {}), ClusterConfig)
    chosen = door.RayConfig(settings.restarts.budget, cluster.patience_s, cluster.modules)
    return door.RayPlaces(groups_of(settings.roster, cluster), address, str(folder.resolve()), chosen)


def ray_door() -> Any:
    """The module that knows Ray; `UsageError` where Ray is not installed."""
    try:
        from actors.live import ray_placement
    except ModuleNotFoundError as error:
        raise UsageError(f"--cluster ray needs {error.name}; install it with pip install 'braid-rl[cluster]'") from None
    return ray_placement


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of a prepared run, with the number of its earlier starts."""
    config: dict[str, Any] = json.loads((folder / "run.json").read_bytes())
    counter = folder / STARTS
    starts = int(counter.read_text()) if counter.exists() else 0
    counter.write_text(str(starts + 1))
    return {**config, "starts": starts}


def check_store(config: dict[str, Any]) -> None:
    """Refuse a damaged store before anything starts; `UsageError` names its file. A run may have none."""
    from buffers.errors import CorruptStore
    from buffers.lmdb_files import examine
    from buffers.lmdb_pages import FILE

    if "store" not in config:
        return
    path = Path(config["store"]["path"])
    try:
        if (path / FILE).exists():
            examine(path)
    except CorruptStore as error:
        raise UsageError(str(error)) from error


def stop_on_signals(cluster: Any) -> None:
    """The first Ctrl-C (or SIGTERM) ends the run orderly; a second one at once."""
    seen: list[int] = []

    def stop(number: int) -> None:
        seen.append(number)
        if len(seen) > 1:
            cluster.launcher.loop.stop()
        else:
            print("stopping (once more: at once) ...", flush=True)
            cluster.ask_to_stop("stopped by the person")

    cluster.launcher.loop.take_signals(stop, signal.SIGINT, signal.SIGTERM)
