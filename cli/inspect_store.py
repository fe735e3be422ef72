"""`braid inspect DIR [TRAJECTORY]`: looks into a store, also while a run writes to it; changes nothing.

braid inspect RUN                a line for each trajectory in the store of a run (or: a store's own folder)
braid inspect RUN 17             one: segments, versions as runs, rewards, its life; text where the run has a tokenizer
braid inspect RUN --check        checks every page and every rule; exit status 1 if one does not hold

Trajectories that were trained on, evicted or failed have left the store: the account at the top counts them. The file
is longer than most because each of the three has two forms, for a person and (`--json`) for a program.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from buffers.config import BufferConfig
from buffers.errors import CorruptStore, UsageError
from buffers.lmdb_pages import FILE
from buffers.lmdb_reader import StoreReader
from buffers.rows import describe_key
from buffers.segment import IntArray, Payload, Runs, TokenArrays, ids_of, slice_payload
from buffers.store_check import Rows, Violation, sort_rows, violations
from buffers.store_view import Line, Overview, Whole, lines, overview, show_components, whole

NAME = "inspect"
HELP = "look into a run's store: trajectories, one in full, or check it"

MIB = 1 << 20
Decoder = Callable[[IntArray], str]
TOLD = {
    "admit": "opened",
    "dispatch": "attempt {1} to {2}, which needs version {3}",
    "store": "attempt {1} stored, {3} tokens from {2}, {4}",
    "lost": "attempt {1} lost at {2}",
    "refused": "attempt {1} refused: {2}",
    "score": "attempt {1} to {2}, to be scored",
}
"""Decisions about a trajectory, in words; the fields are those of `context.decide`."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments."""
    parser.add_argument("dir", help="folder of a run, or of a store")
    parser.add_argument("trajectory", nargs="?", type=int, help="show this one in full")
    parser.add_argument("--state", help="list only those in this state")
    parser.add_argument("--check", action="store_true", help="check every page and rule; exit status 1 if one fails")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def main(args: argparse.Namespace) -> int:
    """Look and print; the exit status."""
    if args.check and args.trajectory is not None:
        raise UsageError("--check checks the whole store; leave the trajectory out")
    store, run = locate(Path(args.dir))
    try:
        with StoreReader(store) as reader:
            rows = sort_rows(reader.rows())
            if args.check:
                return show_check(reader, rows, run, args.json)
            if args.trajectory is not None:
                return show_one(reader, rows, run, args)
            return show_list(reader, rows, args)
    except CorruptStore as error:
        raise UsageError(str(error)) from error


def locate(folder: Path) -> tuple[Path, Path | None]:
    """A store's folder, and the run's that it belongs to; a run that was moved has its store beside its run.json."""
    if (folder / FILE).exists():
        return folder, folder.parent if (folder.parent / "run.json").is_file() else None
    if (folder / "run.json").is_file() and not (folder / "store").is_dir():
        path = settings_of(folder).get("store", {}).get("path")
        return Path(path) if path else folder, folder
    if (folder / "store").is_dir():
        return folder / "store", folder if (folder / "run.json").is_file() else None
    return folder, None


def settings_of(run: Path) -> dict[str, Any]:
    """The settings of a run."""
    try:
        found: dict[str, Any] = json.loads((run / "run.json").read_bytes())
    except (OSError, ValueError) as error:
        raise UsageError(f"{run / 'run.json'} cannot be read ({error}); name the store's own folder") from error
    return found


# -- the list ----------------------------------------------------------------------------------------------------------


def show_list(reader: StoreReader, rows: Rows, args: argparse.Namespace) -> int:
    """Print the account and a line for each trajectory."""
    found = lines(rows, reader.segment_counts())
    reader.confirm()
    if args.state:
        found = [line for line in found if line.state == args.state]
    account = overview(rows)
    if args.json:
        shown = {**store_facts(reader), **dataclasses.asdict(account)}
        shown["trajectories"] = [dataclasses.asdict(line) for line in found]
        print(json.dumps(shown))
        return 0
    print("\n".join([*heading(reader, account), *table(found)]))
    return 0


def store_facts(reader: StoreReader) -> dict[str, object]:
    """What is known of the file."""
    account, (times, before, after) = reader.account, reader.compactions
    return {
        "file": str(reader.file),
        "written_by_a_run": reader.live,
        "file_bytes": account.file_bytes,
        "used_bytes": account.used_pages * account.page_bytes,
        "free_bytes": account.free_pages * account.page_bytes,
        "compactions": times,
        "compacted_from_bytes": before,
        "compacted_to_bytes": after,
    }


def heading(reader: StoreReader, account: Overview) -> Iterator[str]:
    """Three lines: the file, the ledger, the space."""
    writing = "a run is writing to it" if reader.live else "no run is writing to it"
    yield f"{reader.file}: {writing}; highest version {account.highest_version}"
    states = ", ".join(f"{count} {state}" for state, count in account.by_state.items())
    yield (
        f"opened {account.opened} = trained {account.trained} + evicted {account.evicted} + failed {account.failed}"
        f" + in flight {account.in_flight}" + (f" ({states})" if states else "")
    )
    pages, (times, before, after) = reader.account, reader.compactions
    used, free = (amount(count * pages.page_bytes) for count in (pages.used_pages, pages.free_pages))
    past = f"compactions: {times}, the last from {amount(before)} to {amount(after)}" if times else "never compacted"
    yield f"{amount(pages.file_bytes)}: {used} used, {free} free for what comes next; {past}"


def amount(size: int) -> str:
    """Bytes for a person."""
    return f"{size / MIB:,.1f} MiB" if size >= MIB else f"{size >> 10} KiB"


def table(found: list[Line]) -> Iterator[str]:
    """A line for each trajectory."""
    yield "trajectory  state       group  tokens  segs   versions  age  reward"
    for line in found:
        versions = "-" if line.versions is None else f"{line.versions[0]}..{line.versions[1]}"
        age = "-" if line.age is None else str(line.age)
        yield (
            f"{line.trajectory:>10}  {line.state:<8}  {line.group:>7}  {line.tokens:>6}  {line.segments:>4}"
            f"  {versions:>9}  {age:>3}  {show_components(line.reward)}"
        )


# -- one ---------------------------------------------------------------------------------------------------------------


def show_one(reader: StoreReader, rows: Rows, run: Path | None, args: argparse.Namespace) -> int:
    """Print one trajectory in full."""
    number = args.trajectory
    if number not in rows.trajectories:
        opened = rows.meta.next_trajectory if rows.meta else 1
        why = "it was closed and its rows were removed" if 0 < number < opened else "it was never opened"
        raise UsageError(f"{reader.file} holds no trajectory {number}: {why}; see the list of braid inspect {args.dir}")
    found = whole(rows, number, reader.segments(number).values())
    reader.confirm()
    decode = decoder_of(run)
    events = list(recorded(run, number))
    if args.json:
        print(json.dumps(as_json(found, decode, events)))
        return 0
    print("\n".join(shown(found, decode, events)))
    return 0


def decoder_of(run: Path | None) -> Decoder | None:
    """Ids to text, with the run's tokenizer; None where it has none."""
    if run is None:
        return None
    model = run / "model" if (run / "model").is_dir() else Path(settings_of(run).get("model") or run)
    if not (model / "tokenizer.json").is_file():
        return None
    from policies.decoding import load_decoder

    return load_decoder(model)


def shown(found: Whole, decode: Decoder | None, events: list[tuple[float, str]]) -> Iterator[str]:
    """A trajectory for a person to read."""
    line, group = found.line, found.group
    yield (
        f"trajectory {line.trajectory}: {line.state}, member {found.member} of group {line.group}, {line.tokens} tokens"
        f" in {line.segments} segments, age {'-' if line.age is None else line.age}"
    )
    if group is not None:
        told = text(found.prompt, decode)
        yield f"prompt {group.prompt}: {group.prompt_tokens} tokens{told}" + (
            f", answer {found.answer!r}" if found.answer else ""
        )
    yield f"versions: {runs(found.versions)}"
    yield f"rewards: {show_components(line.reward)}"
    for number, part in enumerate(found.parts):
        tools = "" if all(flag for flag, _ in part.produced) else f", produced {runs(part.produced)}"
        yield (
            f"segment {number}: [{part.start}, {part.start + part.tokens}), versions {runs(part.versions)}{tools},"
            f" {part.end}{text(part.payload, decode)}"
        )
    yield "life, by its rows:"
    yield from (f"  {sentence}" for sentence in found.life)
    if events:
        yield "life, by the event log:"
        yield from (f"  {seconds:9.3f} s  {what}" for seconds, what in events)


def as_json(found: Whole, decode: Decoder | None, events: list[tuple[float, str]]) -> dict[str, object]:
    """A trajectory for a program to read."""
    parts = [
        {
            "start": part.start,
            "tokens": part.tokens,
            "versions": part.versions,
            "produced": part.produced,
            "end": part.end,
            "ids": ids_of(part.payload).tolist() if isinstance(part.payload, TokenArrays) else None,
            "text": decode(ids_of(part.payload)) if decode and isinstance(part.payload, TokenArrays) else None,
        }
        for part in found.parts
    ]
    return {
        **dataclasses.asdict(found.line),
        "segments": parts,
        "versions": found.versions,
        "member": found.member,
        "attempt": found.attempt,
        "failures": found.failures,
        "end": found.end,
        "prompt": found.group.prompt if found.group else None,
        "answer": found.answer,
        "life": found.life,
        "events": events,
    }


def runs(coded: Runs) -> str:
    """Runs in words: 3 x 16, 4 x 8."""
    return ", ".join(f"{value} x {count}" for value, count in coded) or "-"


def text(payload: Payload | None, decode: Decoder | None) -> str:
    """Tokens as text, or the first ids where there is no tokenizer; a ghost has neither."""
    if not isinstance(payload, TokenArrays) or not payload.length:
        return ""
    if decode is not None:
        return f": {decode(ids_of(payload))!r}"
    some = ids_of(slice_payload(payload, 0, min(8, payload.length))).tolist()
    return f", ids {some}" + ("" if payload.length <= len(some) else " ...")


def recorded(run: Path | None, trajectory: int) -> Iterator[tuple[float, str]]:
    """(seconds since the run began, what was decided) about a trajectory, by the run's event log."""
    if run is None or not (run / "events").is_dir():
        return
    from actors.eventlog import read_events
    from actors.kernel.backend import Decision
    from actors.kernel.operations import NS

    begun: int | None = None
    for one in read_events([run / "events"]):
        begun = one.at_ns if begun is None else begun
        if not isinstance(one, Decision) or one.kind not in TOLD:
            continue
        about = one.fields[1:] if one.kind == "admit" else one.fields[:1]
        if trajectory in about:
            yield (one.at_ns - begun) / NS, f"{one.actor}: {TOLD[one.kind].format(*one.fields)}"


# -- the check ---------------------------------------------------------------------------------------------------------


def show_check(reader: StoreReader, rows: Rows, run: Path | None, as_object: bool) -> int:
    """Print what does not hold; the exit status."""
    reader.check_pages()
    counts = reader.segment_counts()
    config = config_of(run)
    found = [Violation(describe_key(key), "a key is of a known kind", key.hex()) for key in reader.strange_keys()]
    found += violations(rows, counts, reader.segments, config)
    reader.confirm()
    if as_object:
        print(json.dumps({**store_facts(reader), "violations": [dataclasses.asdict(one) for one in found]}))
        return 1 if found else 0
    for one in found:
        print(f"{one.about}: {one.rule}; found {one.found}")
    checked = f"{len(rows.trajectories)} trajectories, {sum(counts.values())} segments, {len(rows.groups)} groups"
    extent = "" if config else "; without a run.json the rules that need a run's settings were left out"
    print(f"{reader.file}: {len(found) or 'no'} violations in {checked}{extent}")
    return 1 if found else 0


def config_of(run: Path | None) -> BufferConfig | None:
    """The buffer's config of a run."""
    if run is None:
        return None
    import msgspec

    from actors.cast import RunSettings, buffer_config

    try:
        return buffer_config(msgspec.convert(settings_of(run), RunSettings))
    except msgspec.ValidationError as error:
        raise UsageError(f"{run / 'run.json'} is of no run ({error}); name the store's own folder") from error
