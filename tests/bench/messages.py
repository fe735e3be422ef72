"""Messages between two processes: appends beside raw pyzmq, control messages beside Ray, ping-pong beside xoscar.

Appends are asks with a short reply and a window; raw pyzmq does the same on DEALER and ROUTER: as many bytes, as short
a reply, as many outstanding, but opaque bytes, unencoded and undecoded. Control messages are asks too (an actor's call
has a result); `sends` are one-way. Peers that this interpreter lacks are looked for in the one that the environment's
BRAID_BENCH_PYTHON names.

Ping-pong is measured twice: where the system places the processes, and with all of them on one core. The first is
mostly the price of waking threads on another core (four of them here, two at the peer), the second that of the code.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from actors.eventlog import read_events
from actors.kernel.asks import Window
from actors.kernel.backend import Decision, Envelope
from actors.kernel.codec import Codec
from actors.kernel.context import ActorSpec
from actors.live.launch import LaunchConfig, Launcher
from tests.bench.alternate import alternate, row
from tests.bench.messages_actors import KINDS, append

RUNS = 7
FLIGHT = 64
PEERS = str(Path(__file__).with_name("messages_peers.py"))


def ours(builders: Sequence[str], count: int, flight: int, tokens: int = 0) -> float:
    """Messages per second between two actors, each in a process of its own."""
    config = {"count": count, "flight": flight, "tokens": tokens}
    specs = [
        ActorSpec(name, f"tests.bench.messages_actors:{name.capitalize()}", config, process=name) for name in builders
    ]
    with tempfile.TemporaryDirectory(prefix="braid-bench-") as folder:
        launch = LaunchConfig(folder, window=Window(count=flight), flush_s=0.01)
        with Launcher(launch, KINDS) as launcher:
            launcher.start(specs)
            for _ in range(400):
                launcher.run(0.2)
                took = [found.fields[0] for found in decisions(folder) if found.kind == "took"]
                if took:
                    return count / (int(took[0]) / 1e9)
    raise RuntimeError(f"no figure came back from {' and '.join(builders)}")


def decisions(folder: str) -> list[Decision]:
    """What the actors of a run have decided so far."""
    return [record for record in read_events([Path(folder) / "events"]) if isinstance(record, Decision)]


def interpreter_with(module: str) -> tuple[str, str] | None:
    """(interpreter, version) that has a module: this one, or the one that BRAID_BENCH_PYTHON names."""
    for interpreter in filter(None, (sys.executable, os.environ.get("BRAID_BENCH_PYTHON"))):
        code = f"import importlib.metadata as m, {module}; print(m.version({module!r}))"
        found = subprocess.run([interpreter, "-c", code], capture_output=True, text=True, check=False)
        if found.returncode == 0:
            return interpreter, found.stdout.split()[-1]
    return None


def theirs(interpreter: str, peer: str, count: int, flight: int, size: int = 0) -> float:
    """Messages per second of a peer."""
    command = [interpreter, PEERS, peer, str(count), str(flight), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return float(done.stdout.split()[-1])


def beside(case: str, peer: str, us: Callable[[], float], count: int, flight: int, runs: int) -> dict[str, object]:
    """One line beside a peer; `peer: null` where it is not installed."""
    found = interpreter_with(peer)
    if found is None:
        figure = round(us())
        print(
            f"{case}: {peer} is not installed; name an interpreter that has it in BRAID_BENCH_PYTHON", file=sys.stderr
        )
        return {
            "case": case, "ours": figure, "peer": None, "theirs": None, "ratio": None, "unit": "messages/s", "runs": 1,
        }  # fmt: skip
    interpreter, version = found
    figures = alternate(us, lambda: theirs(interpreter, peer, count, flight), runs, warm_up=0)
    return dict(row(case, round(figures[0]), f"{peer} {version}", round(figures[1]), "messages/s", runs, "more"))


def run() -> Iterator[dict[str, object]]:
    """One line a case."""
    import zmq

    for tokens, count in ((2048, 20_000), (8192, 10_000)):
        size = len(Codec(KINDS).encode(Envelope("answerer", "asker", 1, 1000, 0, 0, append(tokens))))
        raw = functools.partial(theirs, sys.executable, "pyzmq", count, FLIGHT, size)
        us = functools.partial(ours, ("answerer", "asker"), count, FLIGHT, tokens)
        figures = alternate(us, raw, RUNS, warm_up=0)
        case = f"append of {tokens} tokens, window {FLIGHT}"
        yield dict(
            row(case, round(figures[0]), f"pyzmq {zmq.__version__}", round(figures[1]), "messages/s", RUNS, "more")
        )
    asks = functools.partial(ours, ("answerer", "asker"), 40_000, FLIGHT)
    yield beside(f"control asks, window {FLIGHT}", "ray", asks, 1_500, FLIGHT, 3)
    sends = functools.partial(ours, ("counter", "teller"), 100_000, 500)
    yield beside("control sends", "ray", sends, 1_500, 500, 3)
    pings = functools.partial(ours, ("answerer", "asker"), 5_000, 1)
    yield beside("ping-pong", "xoscar", pings, 2_000, 1, RUNS)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # inherited by every process that is started
    try:
        yield beside("ping-pong on one core", "xoscar", pings, 2_000, 1, RUNS)
    finally:
        os.sched_setaffinity(0, cores)
