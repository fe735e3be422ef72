"""`python -m tests.simulation.mutants`: is the checker any good? Mutants of the protocol, each judged by drawn plans.

python -m tests.simulation.mutants [--sample 220] [--plans 100] [--jobs 1]      goes on where it stopped
python -m tests.simulation.mutants --again survived                            judges those once more

    sample --> for each: fork --> import with the one changed module --> plan, plan, plan ... --> verdict --> results

A mutant is killed by the first plan in which an invariant breaks or an actor fails; what cannot be imported or hangs in
one event is killed too, and told apart. A survivor is told with the number of plans whose digest it changed: where
there is none, no decision of any plan differs. Verdicts are kept in `results.jsonl`, one a line, in the order of the
sample; `python -m tests.simulation.faults_page` makes a page of them.
"""

from __future__ import annotations

import argparse
import importlib.abc
import importlib.machinery
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from hashlib import sha256
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import msgspec
import numpy  # noqa: F401  # imported once, before the forks

from tests.simulation.mutants.mutations import FILES, ROOT, Mutant, mutants, mutated

RESULTS = Path(__file__).with_name("results.jsonl")
BASELINE = "(nothing)"
SAMPLE_SEED = 1
FIRST_PLAN = 2_000_000
"""Seeds of the plans: none that a test or a person has run."""
KINDS = (
    ("still", "small"),
    ("repairable", "small"),
    ("repairable", "standard"),
    ("still", "standard"),
    ("anything", "small"),
)
"""Modes and profiles in turn; first those in which what hangs is seen at once."""
PLAN_S = 15
"""Processor seconds that one plan may take; a mutant that takes longer hangs."""
MEMORY_BYTES = 3 << 30


class Verdict(msgspec.Struct, omit_defaults=True):
    """What became of a mutant."""

    name: str
    line: int
    verdict: str
    """killed, hangs, does not start or survived; passed for the unchanged protocol."""
    plans: int
    """Run; the last is the one that killed it."""
    seed: int = -1
    kind: str = ""
    """Mode and profile of the plan that killed it."""
    invariant: int = 0
    words: str = ""
    changed: int = -1
    """Of a survivor: plans that ended with another digest than the unchanged protocol's."""
    digests: tuple[str, ...] = ()
    """Of the unchanged protocol."""


class Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a mutated tree, everything else as it is."""

    def __init__(self, file: str, code: CodeType) -> None:
        self._module = file.removesuffix(".py").replace("/", ".")
        self._code = code

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> Any:
        """The spec of the one module."""
        if fullname == self._module:
            return importlib.machinery.ModuleSpec(fullname, self, origin=self._code.co_filename)
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the mutated code."""
        exec(self._code, module.__dict__)


def judge(mutant: Mutant | None, plans: int, known: tuple[str, ...], tell: Connection) -> None:
    """Run plans until one fails, in a fresh process; tell how far it is, and the verdict at the end."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name, line = (BASELINE, 0) if mutant is None else (mutant.name, mutant.line)
    try:
        if mutant is not None:
            code = compile(mutated(mutant), str(ROOT / mutant.file), "exec")
            sys.meta_path.insert(0, Changed(mutant.file, code))
        from sim.drawn import draw  # after the change, and only in this process
        from sim.plan import run_plan
    except Exception as error:
        tell.send(Verdict(name, line, "does not start", 0, words=f"{type(error).__name__}: {error}"))
        return
    digests: list[str] = []
    for number in range(plans):
        seed, (mode, profile) = FIRST_PLAN + number, KINDS[number % len(KINDS)]
        tell.send(number)
        signal.setitimer(signal.ITIMER_PROF, PLAN_S)  # whose signal ends the process
        outcome = run_plan(draw(seed, mode, profile))  # type: ignore[arg-type]
        if outcome.violation:
            words = outcome.violation.splitlines()[0][:200]
            kind = f"{mode} {profile}"
            tell.send(Verdict(name, line, "killed", number + 1, seed, kind, outcome.invariant, words))
            return
        digests.append(outcome.digest)
    if mutant is None:
        tell.send(Verdict(name, line, "passed", plans, digests=tuple(digests)))
    else:
        changed = sum(one != other for one, other in zip(digests, known, strict=False))
        tell.send(Verdict(name, line, "survived", plans, changed=changed))


def judged(chosen: Iterable[Mutant | None], plans: int, known: tuple[str, ...], jobs: int) -> Iterator[Verdict]:
    """Verdicts as they come, from so many processes at once."""
    todo = iter(chosen)
    context = multiprocessing.get_context("fork")
    running: dict[Connection, tuple[Mutant | None, Any, int]] = {}

    def begin() -> None:
        for mutant in todo:
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=judge, args=(mutant, plans, known, theirs))
            process.start()
            theirs.close()
            running[ours] = (mutant, process, -1)
            return

    for _ in range(jobs):
        begin()
    while running:
        for pipe in wait(list(running)):
            assert isinstance(pipe, Connection)
            mutant, process, number = running[pipe]
            try:
                word = pipe.recv()
            except EOFError:
                name, line = (BASELINE, 0) if mutant is None else (mutant.name, mutant.line)
                word = Verdict(name, line, "hangs", number + 1, FIRST_PLAN + number)
            if isinstance(word, int):
                running[pipe] = (mutant, process, word)
                continue
            del running[pipe]
            pipe.close()
            process.join()
            yield word
            begin()


def sample(count: int) -> list[Mutant]:
    """The first so many of all mutants in the order of a hash of seed and name.

    A larger sample contains the smaller, and a mutant's place does not change with what is changed elsewhere.
    """
    everything = [mutant for file in FILES for mutant in mutants(file)]
    return sorted(everything, key=lambda one: sha256(f"{SAMPLE_SEED} {one.name}".encode()).digest())[:count]


def read() -> dict[str, Verdict]:
    """Verdicts so far, by name."""
    if not RESULTS.exists():
        return {}
    lines = RESULTS.read_bytes().splitlines()
    return {one.name: one for one in (msgspec.json.decode(line, type=Verdict) for line in lines)}


def write(verdicts: dict[str, Verdict], order: list[str]) -> None:
    """Keep the verdicts of a sample."""
    kept = [verdicts[name] for name in [BASELINE, *order] if name in verdicts]
    beside = RESULTS.with_suffix(".part")
    beside.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in kept))
    beside.replace(RESULTS)


def main(words: list[str] | None = None) -> int:
    """Judge what is left of the sample."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("--sample", type=int, default=220, help="how many mutants")
    parser.add_argument("--skip", type=int, default=0, help="leave the first so many to another process")
    parser.add_argument("--plans", type=int, default=100, help="plans that a survivor passes")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--again", choices=("survived", "all"), help="judge these once more")
    args = parser.parse_args(words)
    chosen = sample(args.sample)
    names = [mutant.name for mutant in chosen]
    verdicts = {} if args.again == "all" else read()
    known = verdicts.get(BASELINE)
    if args.again is not None or known is None or known.plans < args.plans:
        print(f"the unchanged protocol, {args.plans} plans", flush=True)
        known = verdicts[BASELINE] = next(judged([None], args.plans, (), 1))
        if known.verdict != "passed":
            print(f"{known.verdict} at seed {known.seed} ({known.kind}): {known.words}")
            return 1
    left = [one for one in chosen[args.skip :] if one.name not in verdicts or verdicts[one.name].verdict == args.again]
    begun = time.monotonic()
    try:
        for done, verdict in enumerate(judged(left, args.plans, known.digests, args.jobs), 1):
            verdicts[verdict.name] = verdict
            write(verdicts, names)
            left_s = (time.monotonic() - begun) / done * (len(left) - done)
            told = f"plan {verdict.plans}: {verdict.words[:90]}" if verdict.verdict == "killed" else verdict.changed
            print(f"{done}/{len(left)} {left_s:.0f} s left: {verdict.verdict}: {verdict.name} ({told})", flush=True)
    except KeyboardInterrupt:
        print("stopped; the same command goes on")
        return 130
    print(score(verdicts, names))
    return 0


def score(verdicts: dict[str, Verdict], names: list[str]) -> str:
    """One line."""
    found = [verdicts[name].verdict for name in names if name in verdicts]
    counts = {kind: found.count(kind) for kind in ("killed", "hangs", "does not start", "survived")}
    return f"{len(found)} mutants: " + ", ".join(f"{count} {kind}" for kind, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
