"""Calls that begin together go out as one request; each gets its own answer as soon as that is there.

    jobs --generate--> [wait a moment] --one /generate of all, as a stream--> server
         <--answer of each, when it has ended--                               '

A server takes the requests of one call into its batch in one step, and those of many calls in many, between which it
generates nothing. The call is a stream of whole answers: no chunk is asked for before the end (`stream_interval`).

Invariants: every call ends in its answer, `Refused` or `Unreachable`. A call that is refused together with others is
sent again alone, under a name that begins with its own (so that its abort finds it): nobody is refused for another.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from policies.engines.sglang.client import Answer, Ask, Client, Refused, Unreachable

Spawn = Callable[[Coroutine[Any, Any, None]], object]


@dataclass(slots=True, eq=False)
class Call:
    """One call that waits for its answer."""

    client: Client
    ask: Ask
    answer: asyncio.Future[Answer]

    def fail(self, error: Refused | Unreachable) -> None:
        """It ends without an answer, unless it has ended."""
        if not self.answer.done():
            self.answer.set_exception(error)


class Together:
    """Lives in one event loop; `spawn` starts a task that ends with the engine.

    `moment_s` is how long a call waits for others: a hundredth of what a segment takes, or less.
    """

    def __init__(self, moment_s: float, spawn: Spawn) -> None:
        self._moment_s = moment_s
        self._spawn = spawn
        self._waiting: list[Call] = []

    async def generate(self, client: Client, ask: Ask) -> Answer:
        """The answer of a call; see `Client.generate`."""
        call = Call(client, ask, asyncio.get_running_loop().create_future())
        if self._waiting and self._waiting[0].client is not client:
            self._waiting = []  # those are on their way already: `_leave` holds their list
        self._waiting.append(call)
        if len(self._waiting) == 1:
            self._spawn(self._leave(self._waiting))
        return await call.answer

    async def _leave(self, calls: list[Call]) -> None:
        """Send calls after a moment, and hand out their answers."""
        await asyncio.sleep(self._moment_s)
        if self._waiting is calls:
            self._waiting = []
        if len(calls) == 1:
            await self._alone(calls[0], "")
            return
        try:
            async for answer in calls[0].client.answers([call.ask for call in calls]):
                if answer.end and not calls[answer.index].answer.done():
                    calls[answer.index].answer.set_result(answer)
            gap: Refused | Unreachable = Unreachable(f"{calls[0].client.url} stopped before all answers had come")
        except Refused:
            for call in calls:
                if not call.answer.done():
                    self._spawn(self._alone(call, "again."))
            return
        except Unreachable as error:
            gap = error
        for call in calls:
            call.fail(gap)

    async def _alone(self, call: Call, suffix: str) -> None:
        """Send one call."""
        ask = call.ask._replace(rid=call.ask.rid + suffix)
        try:
            answer = await call.client.generate(ask)
        except (Refused, Unreachable) as error:
            call.fail(error)
        else:
            if not call.answer.done():
                call.answer.set_result(answer)
