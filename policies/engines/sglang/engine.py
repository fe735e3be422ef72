"""The SGLang engine: the Engine port over the HTTP API of a server, from a thread with an event loop of its own.

    holder's thread                           engine's loop
    submit, abort, install, ... --soon-->     one task for each job: call, take, call again, until its segment ends
                                <--emit---    one task that minds the server: start, catch up, wait for its end, again
                                              one task that reports

Invariants
- Every job ends in exactly one `SegmentDone` or `JobFailed`, unless the engine fails or is closed before; not even the
  death of the server ends one: it is started again, gets the weights that it had or newer ones, and the job goes on.
- A token bears the version that the server names for it (`weight_versions`), an install counts when the server names
  the new version as its own; keys and values of older weights are never kept.
- What could kill the server (ids outside the vocabulary, requests too long) is refused before it is sent; requests
  have names that nobody used before.
- An error inside becomes one `EngineFailed`, after which nothing follows.

Randomness is the server's own: a segment that is generated again has other tokens.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np

from buffers.errors import BraidError, ContractError, UsageError
from policies.engine import Emit, EngineEvent, EngineFailed, Installed, InstallFailed, Job, JobFailed, SegmentDone
from policies.engines.acceptance import Ints, known_ids, refusal
from policies.engines.sglang.client import Answer, Ask, Client, Refused, Unreachable
from policies.engines.sglang.config import SGLangConfig
from policies.engines.sglang.jobs import Work
from policies.engines.sglang.meter import Meter
from policies.engines.sglang.server import Server, server_of
from policies.engines.sglang.together import Together
from policies.engines.sglang.updates import Transport, transport_of
from policies.repetition import RepetitionRule
from policies.weights import WeightsUnavailable

_log = logging.getLogger(__name__)

_CLOSE_TIMEOUT_S = 60.0
_ABORT_AGAIN_S = 0.25
"""An abort that overtook its request is sent again after this long."""


class _Closed(Exception):
    """The engine is closed: a way out of its tasks."""


class SGLangEngine:
    """An `Engine`; see `policies/engine.py` for what its commands promise."""

    def __init__(self, config: SGLangConfig, emit: Emit) -> None:
        self.slots = config.slots
        self._config = config
        self._emit_event = emit
        self._vocabulary = vocabulary_of(config)
        self._rule = RepetitionRule() if config.repetition else None
        self.server: Server = server_of(config)
        self._transport: Transport = transport_of(config)
        self._client: Client | None = None
        self._version, self._source = -1, f"file:{config.model}"
        self._names = (f"{own}-{number}." for own in [secrets.token_hex(4)] for number in itertools.count())
        """Of calls. The point at the end keeps each from being the beginning of another: aborts go by beginnings."""
        self._works: dict[int, Work] = {}
        self._waiting: deque[Work] = deque()
        self._running = 0
        self._remembered: OrderedDict[int, list[int]] = OrderedDict()
        """Tokens of cut trajectories, least recently used first."""
        self._together = Together(config.together_s, lambda task: self._group.create_task(task))
        self._meter = Meter.now()
        self._ready = asyncio.Event()
        """There is a server, and it has the weights of `_version`."""
        self._open = asyncio.Event()
        """No update is in the way of new calls."""
        self._open.set()
        self._suspect = asyncio.Event()
        """The server did not answer somebody."""
        self._door = asyncio.Lock()
        """Held by who changes the server's weights."""
        self._closing = asyncio.Event()
        self._closed = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="sglang-engine", daemon=True)
        self._thread.start()

    # ---- commands, from any thread --------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Take a job; more than `slots` wait."""
        self._order(lambda: self._submit(job))

    def abort(self, trajectory: int) -> None:
        """End this trajectory's job early, with the tokens that the server has drawn for it."""
        self._order(lambda: self._abort(trajectory))

    def forget(self, trajectory: int) -> None:
        """Forget the tokens of a trajectory; the server's cache drops what is not used."""
        self._order(lambda: self._remembered.pop(trajectory, None))

    def install(self, version: int, source: str) -> None:
        """Go over to a version between two tokens; one that is not newer than the present is confirmed, not read."""
        self._order(lambda: self._group.create_task(self._install(version, source)))

    def close(self) -> None:
        """Stop, and end the server if it is ours; nothing is emitted afterwards."""
        self._closed.set()
        with suppress(RuntimeError):  # the loop has ended already
            self._loop.call_soon_threadsafe(self._closing.set)
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_TIMEOUT_S)

    def _order(self, command: Callable[[], object]) -> None:
        if self._closed.is_set():
            raise ContractError("the engine is closed")
        with suppress(RuntimeError):  # the engine has failed, and has said so
            self._loop.call_soon_threadsafe(self._begun, command)

    def _emit(self, event: EngineEvent) -> None:
        if not self._closed.is_set():
            self._emit_event(event)

    # ---- the thread -----------------------------------------------------------------------------------------------

    def _run(self) -> None:
        """The engine's thread."""
        try:
            self._loop.run_until_complete(self._live())
        except* _Closed:
            pass
        except* Exception as group:
            error = _leaves(group)[0]
            _log.error("the engine failed", exc_info=error)
            kind = "" if isinstance(error, BraidError) else f"{type(error).__name__}: "
            self._emit(EngineFailed(f"{kind}{error}"))
        finally:
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _live(self) -> None:
        try:
            async with asyncio.TaskGroup() as self._group:
                self._group.create_task(self._mind())
                self._group.create_task(self._report())
                await self._closing.wait()
                raise _Closed
        finally:
            await self.server.stop()
            await self._transport.close()

    def _begun(self, command: Callable[[], object]) -> None:
        """Carry out a command; an error of it is the engine's."""
        try:
            command()
        except Exception as error:
            self._group.create_task(_raise(error))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self._config.report_every_s)
            self._emit(self._meter.report())

    # ---- the server -----------------------------------------------------------------------------------------------

    async def _mind(self) -> None:
        """Keep a server running, within the budget of restarts."""
        for _ in range(self._config.restarts + 1):
            reason = await self._one_life()
            _log.warning("the server is lost: %s", reason)
        raise BraidError(f"the SGLang server was lost {self._config.restarts + 1} times; the last time: {reason}")

    async def _one_life(self) -> str:
        """Start (or find) a server, give it the present weights, let jobs at it; why it ended."""
        try:
            self._client = await self.server.start()
            await self._transport.meet(self._client)
            async with self._door:
                await self._catch_up(self._client)
            self._suspect.clear()
            self._ready.set()
            ends = [asyncio.ensure_future(self.server.gone()), asyncio.ensure_future(self._suspect.wait())]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                return str(ends[0].result()) if ends[0].done() else "it did not answer"
            finally:
                for end in ends:
                    end.cancel()
        except (Unreachable, Refused) as error:
            return str(error)
        finally:
            self._ready.clear()
            await self.server.stop()

    async def _catch_up(self, client: Client) -> None:
        """Let a server that has just come up have the version that its predecessor had, or a newer one."""
        began = time.monotonic()
        if self._version < 0 and self.server.managed:
            self._version = 0
        else:
            found = await self._transport.prepare(max(0, self._version), self._source)
            await self._transport.apply(client, str(found))
            await self._check(client, found)
            self._version = found
        self._emit(Installed(self._version, time.monotonic() - began, recomputed=True))

    async def _install(self, version: int, source: str) -> None:
        """Bring new weights into the server, as soon as there is one."""
        while True:
            await self._ready.wait()
            async with self._door:
                if self._ready.is_set() and self._client is not None:
                    self._emit(await self._installed(self._client, version, source))
                    return

    async def _installed(self, client: Client, version: int, source: str) -> Installed | InstallFailed:
        if version <= self._version:
            return Installed(self._version, 0.0, recomputed=True)
        try:
            found = await self._transport.prepare(version, source)
            stall_s = await self._switch(client, found)
        except (WeightsUnavailable, UsageError, Refused, Unreachable) as error:
            if isinstance(error, Unreachable):
                self._suspect.set()
            _log.warning("version %d is not installed: %s", version, error)
            return InstallFailed(version, str(error))
        self._version, self._source = found, source
        return Installed(found, stall_s, recomputed=True)

    async def _switch(self, client: Client, version: int) -> float:
        """Change the weights while nothing is drawn; how long that took, in seconds."""
        began = time.monotonic()
        self._meter.turn(paused=True)
        self._open.clear()
        try:
            await client.pause(self._config.in_flight)
            try:
                await self._transport.apply(client, str(version))
                await self._check(client, version)
            finally:
                await client.resume()
        finally:
            self._open.set()
            self._meter.turn(paused=False)
        return time.monotonic() - began

    async def _check(self, client: Client, version: int) -> None:
        """Refuse to go on unless the server has this version."""
        named = await client.version()
        if named != str(version):
            raise Refused(f"the server calls its weights {named!r} after version {version} was put in")

    # ---- jobs -----------------------------------------------------------------------------------------------------

    def _submit(self, job: Job) -> None:
        cached = self._remembered.get(job.trajectory)
        known: Ints | None = None if cached is None else np.asarray(cached, np.int64)
        reason = "has a job already" if job.trajectory in self._works else None
        reason = reason or refusal(job, known, self._config.context_tokens, self._vocabulary)
        if reason:
            self._emit(JobFailed(job.trajectory, job.attempt, reason))
            return
        ids = known_ids(job, known).tolist()
        work = self._works[job.trajectory] = Work(job, ids, begin=len(ids))
        self._waiting.append(work)
        self._fill()

    def _fill(self) -> None:
        """Let waiting jobs run, in order, as far as slots go."""
        while self._waiting and self._running < self.slots:
            self._running += 1
            self._group.create_task(self._carry_out(self._waiting.popleft()))
        self._meter.turn(running=self._running)

    def _abort(self, trajectory: int) -> None:
        work = self._works.get(trajectory)
        if work is None or work.aborting:
            return
        work.aborting = True
        if work in self._waiting:
            self._waiting.remove(work)
            self._finish(work, "")
        else:
            self._group.create_task(self._abort_call(work))

    async def _abort_call(self, work: Work) -> None:
        """Ask for the end of a running call until it has come."""
        while self._works.get(work.job.trajectory) is work:
            if work.rid and self._client is not None:
                with suppress(Refused, Unreachable):
                    await self._client.abort(work.rid)
            await asyncio.sleep(_ABORT_AGAIN_S)

    async def _carry_out(self, work: Work) -> None:
        """One job from its first call to its one event."""
        try:
            end = await self._generate(work)
        except Refused as error:
            del self._works[work.job.trajectory]
            self._emit(JobFailed(work.job.trajectory, work.job.attempt, str(error)))
        else:
            self._finish(work, end)
        self._running -= 1
        self._fill()

    async def _generate(self, work: Work) -> str:
        """Call until the segment has ended; how the last answer ended."""
        end = ""
        while work.left and not work.aborting:
            await self._ready.wait()
            await self._open.wait()
            client = self._client
            if client is None or work.aborting or not self._ready.is_set():
                continue
            try:
                end = await self._call(client, work)
            except Unreachable as error:
                if client is self._client and self._ready.is_set():
                    _log.warning("no answer: %s", error)
                    self._ready.clear()
                    self._suspect.set()
                continue
            if end != "abort" or self._looping(work):
                break
        return end

    async def _call(self, client: Client, work: Work) -> str:
        """One call of the server; how it ended."""
        work.call(next(self._names), self._version)
        prompt = len(work.ids)
        ask = Ask(work.rid, work.ids, work.left, work.job.sampling)
        try:
            if self._config.stream:
                answer = await client.stream(ask, lambda chunk: self._see(work, chunk))
            elif self._config.together_s > 0:
                answer = await self._together.generate(client, ask)
            else:
                answer = await client.generate(ask)
            work.take(answer)
        except Unreachable:
            work.salvage(self._version)
            raise
        finally:
            work.rid = ""
            self._meter.answered(prompt, work.cached, len(work.ids) - prompt)
        return answer.end

    def _see(self, work: Work, chunk: Answer) -> None:
        """Keep a chunk; a loop is ended as soon as it is seen."""
        work.chunk = chunk
        if not work.aborting and self._rule is not None and work.chunk_loops(self._rule):
            self._abort(work.job.trajectory)

    def _looping(self, work: Work) -> bool:
        return self._rule is not None and work.loops_at(self._rule, work.job.start) is not None

    def _finish(self, work: Work, answer: str) -> None:
        """Report a job's segment and forget the job; a cut trajectory is remembered."""
        trajectory = work.job.trajectory
        del self._works[trajectory]
        end = work.end(answer)
        if self._rule is not None and (loop := work.loops_at(self._rule, work.job.start)) is not None:
            stopped = end == "stop" and loop == work.response
            work.cut_to(loop)
            end = "stop" if stopped else "repetition"
        self._remembered.pop(trajectory, None)
        if end == "cut":
            self._remembered[trajectory] = work.ids
            while len(self._remembered) > self._config.remembered:
                self._remembered.popitem(last=False)
        self._emit(SegmentDone(trajectory, work.job.attempt, work.segment(end)))


def vocabulary_of(config: SGLangConfig) -> int:
    """Ids that the model of a folder knows; `UsageError` if there is none, or it cannot take contexts so long."""
    path = Path(config.model) / "config.json"
    if not path.is_file():
        raise UsageError(f"{config.model!r} holds no config.json; name a Hugging Face model folder")
    found = json.loads(path.read_bytes())
    shape = {**found, **found.get("text_config", {})}
    positions = int(shape.get("max_position_embeddings", config.context_tokens))
    if config.context_tokens > positions:
        raise UsageError(f"sglang.context_tokens = {config.context_tokens} exceeds the model's {positions}")
    return int(shape["vocab_size"])


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The single exceptions of a group, the first that failed first."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


async def _raise(error: Exception) -> None:
    raise error
