"""`braid report RUN_DIR`: one self-contained HTML page and its pictures, from a live run's folder or a simulated one's.

It reads what the run left (`metrics.jsonl`, event logs, `samples.jsonl`, `summary.json`, `config.toml`) and writes
`report.html`, `trace.json` and PNG files into RUN_DIR/report. `--against SIM_DIR` draws two timelines, one above the
other.
"""

from __future__ import annotations

import argparse
import base64
import html
import importlib.metadata
import json
import platform
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.eventlog import Record, read_events
from actors.kernel.operations import NS
from actors.sinks.metrics_file import Row, read_metrics
from actors.sinks.samples_file import Text, read_samples
from actors.timeline import Timeline, timeline, write_timeline
from buffers.errors import UsageError
from cli import plots
from cli.alarms import alarms
from cli.board import Board

NAME = "report"
HELP = "write a page with pictures about a run, live or simulated"

LIBRARIES = ("braid-rl", "torch", "transformers", "numpy", "msgspec", "pyzmq", "lmdb", "tensorboard", "rich")
SLOWEST = 6
"""Responses that are shown."""
STYLE = """body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}
table{border-collapse:collapse}td,th{padding:.15em .8em;border-bottom:1px solid #ddd;text-align:left}
img{max-width:100%}pre{background:#f6f6f6;padding:1em;overflow-x:auto}.alarm{color:#a04000}
.p0{background:#dbeafe}.p1{background:#dcfce7}.p2{background:#fef3c7}.p3{background:#fce7f3}"""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("run_dir", help="folder of a run")
    parser.add_argument("--against", metavar="DIR", help="another run's folder, whose timeline stands below")


def main(args: argparse.Namespace) -> int:
    """Write the report; the exit status."""
    run = read(Path(args.run_dir))
    other = read(Path(args.against)) if args.against else None
    out = run.folder / "report"
    out.mkdir(exist_ok=True)
    pictures = draw(run, other)
    for name, picture in pictures.items():
        (out / f"{name}.png").write_bytes(picture)
    (out / "report.html").write_text(page(run, pictures), encoding="utf-8")
    write_timeline(events_of(run.folder), out / "trace.json", run.group)
    print(f"report: {out / 'report.html'}")
    print(f"trace:  {out / 'trace.json'} (open it at ui.perfetto.dev)")
    return 0


@dataclass(frozen=True)
class Run:
    """What a run left in its folder."""

    folder: Path
    config: dict[str, Any]
    rows: list[Row]
    line: Timeline
    samples: list[Text]

    @property
    def group(self) -> int:
        """Responses per prompt."""
        return int(self.config["schedule"]["group"])

    def series(self, actor: str, name: str) -> tuple[list[float], list[float]]:
        """(versions, values) of a number."""
        xs, ys, version = [], [], 0.0
        for row in self.rows:
            if row.name == "version":
                version = row.value
            elif row.name == name and row.actor == actor:
                xs.append(version)
                ys.append(row.value)
        return xs, ys


def events_of(folder: Path) -> list[Record]:
    """The event log of a run; `UsageError` if it is not there."""
    events = folder / "events"
    records = read_events([events]) if events.is_dir() else []
    if not records:
        raise UsageError(f"{folder} holds no event log (events/ is empty or missing); take the whole folder of the run")
    return records


def read(folder: Path) -> Run:
    """A run's folder; `UsageError` if it holds none, or nothing yet."""
    if not (folder / "run.json").is_file():
        raise UsageError(f"{folder} holds no run (no run.json); name a folder of `braid train` or of "
                         "`braid simulate --run-dir`")  # fmt: skip
    config = json.loads((folder / "run.json").read_bytes())
    rows = list(read_metrics(folder))
    if not rows:
        raise UsageError(
            f"{folder} holds no numbers yet (metrics.jsonl is empty or missing); wait for the first version"
        )
    line = timeline(events_of(folder), int(config["schedule"]["group"]))
    return Run(folder, config, rows, line, list(read_samples(folder)))


def draw(run: Run, other: Run | None) -> dict[str, bytes]:
    """The pictures, by name, in the order of the page."""
    found: dict[str, bytes] = {}
    for name, title, unit, actor, names in (
        ("accuracy", "held-out accuracy", "share", "evaluator", ("eval_sampled", "eval_greedy")),
        ("reward", "reward of what is trained", "mean", "learner", ("reward", "outcome")),
        ("length", "response length", "tokens", "learner", ("response_tokens", "longest_response_tokens")),
        ("staleness", "staleness", "versions", "learner", ("age_mean", "age_max", "lag_mean", "lag_max")),
        ("bias", "mean length of what ended, was trained, was evicted", "tokens", "replay",
         ("mean_ended_tokens", "mean_trained_tokens", "mean_evicted_tokens")),
        ("levels", "responses by state", "responses", "replay",
         ("state_running", "state_cut", "state_ended", "state_scored", "eligible", "leased")),
    ):  # fmt: skip
        series: plots.Series = {each: run.series(actor, each) for each in names if run.series(actor, each)[0]}
        if series:
            found[name] = plots.lines(title, ("version", unit), series)
    found["time"] = plots.bars("where time went", "seconds", where_time_went(run.line))
    named = [(f"{run.folder.name}", run.line)]
    if other is not None:
        named.append((f"{other.folder.name}", other.line))
    found["timeline"] = plots.timelines(named)
    return found


def where_time_went(line: Timeline) -> dict[str, dict[str, float]]:
    """Seconds by actor and kind; of what overlaps (segments, scores, leases) the time with at least one."""
    spans: dict[str, dict[str, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for one in line.slices:
        if one.category != "life":
            spans[one.actor][one.category].append((one.begin_ns, one.end_ns))
    return {
        actor: {kind: covered(each) / NS for kind, each in sorted(kinds.items())}
        for actor, kinds in sorted(spans.items())
    }


def covered(spans: list[tuple[int, int]]) -> int:
    """Length of the union of intervals."""
    total, reached = 0, -1
    for begin, end in sorted(spans):
        total += max(0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def slowest(run: Run) -> list[tuple[float, Text]]:
    """(seconds from first dispatch to last segment, text) of the slowest responses whose text was kept."""
    times: dict[int, tuple[int, int]] = {}
    for one in run.line.slices:
        if one.category == "segment":
            begin, end = times.get(one.args["trajectory"], (one.begin_ns, one.end_ns))
            times[one.args["trajectory"]] = (min(begin, one.begin_ns), max(end, one.end_ns))
    found = {text.trajectory: text for text in run.samples if text.trajectory in times}
    timed = [((times[number][1] - times[number][0]) / NS, text) for number, text in found.items()]
    return sorted(timed, key=lambda one: -one[0])[:SLOWEST]


# ---- the page ------------------------------------------------------------------------------------------------------


def page(run: Run, pictures: dict[str, bytes]) -> str:
    """The whole page; it needs no other file."""
    summary = run.folder / "summary.json"
    config = run.folder / "config.toml"
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{html.escape(run.folder.name)}</title>",
        f"<style>{STYLE}</style><h1>{html.escape(run.folder.name)}</h1>",
        section("Health", health(run)),
        *(section(name.capitalize(), image(picture, name)) for name, picture in pictures.items()),
        section("Ledger", table(ledger(run))),
        section("Slowest responses", "".join(response(*one) for one in slowest(run)) or "<p>no texts were kept</p>"),
        section("Summary", f"<pre>{html.escape(summary.read_text())}</pre>" if summary.exists() else "<p>none yet</p>"),
        section("Config", f"<pre>{html.escape(config.read_text())}</pre>" if config.exists() else "<p>none</p>"),
        section("Versions of libraries", table(libraries())),
    ]
    return "\n".join(parts)


def section(title: str, body: str) -> str:
    """A heading and what stands below."""
    return f"<h2>{html.escape(title)}</h2>\n{body}"


def image(picture: bytes, name: str) -> str:
    """A picture inside the page."""
    return f'<img alt="{name}" src="data:image/png;base64,{base64.b64encode(picture).decode()}">'


def table(rows: dict[str, object]) -> str:
    """Names and values."""
    body = "".join(f"<tr><td>{html.escape(name)}<td>{html.escape(str(value))}" for name, value in rows.items())
    return f"<table>{body}</table>"


def health(run: Run) -> str:
    """The alarms at the end of the run, in words."""
    board = Board(int(run.config["schedule"]["versions"]), int(run.config["schedule"]["eta"]))
    for row in run.rows:
        board.take(row.actor, row.name, row.t, row.value)
    found = "".join(f"<li class=alarm>{html.escape(sentence)}" for sentence in alarms(board))
    return f"<ul>{found}</ul>" if found else "<p>nothing looks wrong</p>"


def ledger(run: Run) -> dict[str, object]:
    """Responses by what became of them, by replay's last word."""
    last = {row.name: row.value for row in run.rows if row.actor == "replay"}
    opened = last.get("opened", 0.0)
    closed = {name: last.get(name, 0.0) for name in ("trained", "evicted", "failed")}
    flight = opened - sum(closed.values())
    return {name: int(value) for name, value in {"opened": opened, **closed, "in flight": flight}.items()}


def response(seconds: float, text: Text) -> str:
    """A response in colours: one for each segment, the version on hovering."""
    pieces = "".join(
        f'<span class=p{one.segment % 4} title="segment {one.segment}, version {one.version}, {one.tokens} tokens">'
        f"{html.escape(one.text)}</span>"
        for one in text.pieces
    )
    told = ", ".join(f"{name} {value:g}" for name, value in text.components.items())
    head = f"trajectory {text.trajectory}, {seconds:.2f} s, trained from version {text.version}; {html.escape(told)}"
    return f"<p>{head}<pre>{html.escape(text.prompt)}<b>&#8203;</b>{pieces}</pre>"


def libraries() -> dict[str, object]:
    """Versions of what matters."""
    found: dict[str, object] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
