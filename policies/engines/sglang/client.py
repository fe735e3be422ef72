"""The HTTP API of one SGLang server, typed: what the port asks, and what it may be told.

Every call raises `Refused` where the server says no (its reason in one line) and `Unreachable` where there is no
answer: the server is dead, dying or hangs. Ids go in, ids go out; the server never sees a text.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NamedTuple

import aiohttp
import msgspec

from buffers.errors import BraidError
from policies.engine import Sampling

CONTROL_S = 60.0
"""How long a call that computes nothing may take."""
WHOLE = 1 << 30
"""Tokens between two chunks of an answer, where only whole ones are wanted."""


class Refused(BraidError):
    """The server is well and will not do this."""


class Unreachable(BraidError):
    """The server does not answer."""


class Span(msgspec.Struct, frozen=True):
    """Output tokens [start, end) were drawn by the weights called `version`."""

    version: str
    start: int
    end: int


class Meta(msgspec.Struct, frozen=True):
    """What a server says of an answer; further keys are ignored."""

    finish_reason: dict[str, Any] | None = None
    output_token_logprobs: list[tuple[float | None, int, Any]] = []
    """(log-probability, id, nothing) of each output token."""
    weight_versions: list[Span] | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0


class Ask(NamedTuple):
    """One request to generate."""

    rid: str
    ids: list[int]
    most: int
    """Tokens that may come after `ids`."""
    sampling: Sampling


class Answer(msgspec.Struct, frozen=True):
    """One answer of `/generate`, or one chunk of it (chunks repeat what came before)."""

    output_ids: list[int] = []
    meta_info: Meta = Meta()
    index: int = 0
    """Of its request, where one call holds several."""

    @property
    def end(self) -> str:
        """`stop`, `length`, `abort`; empty while it goes on."""
        reason = self.meta_info.finish_reason
        return str(reason.get("type", "")) if reason else ""


_answer = msgspec.json.Decoder(Answer)


class Client:
    """Calls of one server at `url`; lives in one event loop. `request_s`: how long generating may take."""

    def __init__(self, url: str, request_s: float) -> None:
        self.url = url.rstrip("/")
        self._request = aiohttp.ClientTimeout(total=request_s, sock_connect=CONTROL_S)
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))

    async def close(self) -> None:
        """Drop all connections."""
        await self._session.close()

    # ---- generating -----------------------------------------------------------------------------------------------

    async def generate(self, ask: Ask) -> Answer:
        """The answer, when all of it is there."""
        return _answer.decode(await self._post("/generate", _request(ask, stream=False), self._request))

    async def stream(self, ask: Ask, seen: Callable[[Answer], None]) -> Answer:
        """The same, but each chunk goes to `seen` as it comes; the last one is the result."""
        last = Answer()
        async for last in self._events(_request(ask, stream=True)):
            seen(last)
        if not last.end:
            raise Unreachable(f"{self.url} stopped in the middle of an answer")
        return last

    def answers(self, asks: Sequence[Ask]) -> AsyncIterator[Answer]:
        """The answers of several requests in one call, each when it has ended; its first token may come before."""
        body = {
            "rid": [ask.rid for ask in asks],
            "input_ids": [ask.ids for ask in asks],
            "sampling_params": [{**_settings(ask), "stream_interval": WHOLE} for ask in asks],
            "return_logprob": True,
            "stream": True,
        }
        return self._events(msgspec.json.encode(body))

    async def abort(self, rid: str) -> None:
        """End a request early; it answers with what it has. An unknown one is ignored."""
        await self._control("/abort_request", {"rid": rid})

    # ---- weights --------------------------------------------------------------------------------------------------

    async def pause(self, mode: str) -> None:
        """Stand still; `abort`: all running requests answer now, `retract`: they stay open."""
        await self._control("/pause_generation", {"mode": mode})

    async def resume(self) -> None:
        """Go on; keys and values that were flushed are computed again."""
        await self._control("/continue_generation", {})

    async def version(self) -> str:
        """The name of the weights that the server has."""
        found = msgspec.json.decode(await self._get("/model_info", CONTROL_S))
        return str(found.get("weight_version", ""))

    async def ranks(self) -> int:
        """Over how many devices the server's weights are spread."""
        found = msgspec.json.decode(await self._get("/server_info", CONTROL_S))
        return int(found.get("tp_size") or 1)

    async def update(self, path: str, body: dict[str, Any], seconds: float) -> None:
        """One call of a weight update; `Refused` also where the answer is polite about it."""
        data = await self._control(path, body, seconds)
        told = msgspec.json.decode(data) if data else {}
        if isinstance(told, dict) and told.get("success") is False:
            raise Refused(f"{path}: {_short(str(told.get('message', '')))}")

    # ---- health ---------------------------------------------------------------------------------------------------

    async def healthy(self, seconds: float) -> bool:
        """Whether it can generate now."""
        try:
            await self._get("/health_generate", seconds)
        except (Refused, Unreachable):
            return False
        return True

    # ---- transport ------------------------------------------------------------------------------------------------

    async def _control(self, path: str, body: dict[str, Any], seconds: float = CONTROL_S) -> bytes:
        return await self._post(path, msgspec.json.encode(body), aiohttp.ClientTimeout(total=seconds))

    async def _post(self, path: str, data: bytes, timeout: aiohttp.ClientTimeout) -> bytes:
        return await self._call("POST", path, data, timeout)

    async def _get(self, path: str, seconds: float) -> bytes:
        return await self._call("GET", path, None, aiohttp.ClientTimeout(total=seconds))

    async def _call(self, method: str, path: str, data: bytes | None, timeout: aiohttp.ClientTimeout) -> bytes:
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.request(
                method, self.url + path, data=data, headers=headers, timeout=timeout
            ) as reply:
                content = await reply.read()
                _check(reply.status, path, content)
                return content
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{self.url}{path}: {type(error).__name__}: {error}") from error

    async def _events(self, data: bytes) -> AsyncIterator[Answer]:
        """Server-sent events of `/generate`, decoded."""
        headers = {"Content-Type": "application/json"}
        try:
            async with self._session.post(
                self.url + "/generate", data=data, headers=headers, timeout=self._request
            ) as reply:
                if reply.status != 200:
                    _check(reply.status, "/generate", await reply.read())
                rest = b""
                async for part in reply.content.iter_any():
                    *lines, rest = (rest + part).split(b"\n")
                    for line in lines:
                        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
                            yield _event(line[5:].strip())
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unreachable(f"{self.url}/generate: {type(error).__name__}: {error}") from error


async def wait_healthy(client: Client, alive: Callable[[], bool], seconds: float, step_s: float = 0.5) -> None:
    """Return when the server can generate; `Unreachable` if it cannot after `seconds`, or is not `alive` any more."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not await client.healthy(max(1.0, min(30.0, deadline - loop.time()))):
        if not alive():
            raise Unreachable("the server ended before it was healthy")
        if loop.time() > deadline:
            raise Unreachable(f"{client.url} was not healthy in {seconds:.0f} s")
        await asyncio.sleep(step_s)


def _settings(ask: Ask) -> dict[str, Any]:
    """How to draw. Without stop ids nothing but the length ends an answer; with some, the model's own end too."""
    return {
        "max_new_tokens": ask.most,
        "temperature": ask.sampling.temperature,
        "top_p": ask.sampling.top_p,
        "stop_token_ids": list(ask.sampling.stop_ids),
        "ignore_eos": not ask.sampling.stop_ids,
        "skip_special_tokens": False,
    }


def _request(ask: Ask, stream: bool) -> bytes:
    """The body of `/generate` for one request."""
    body = {"rid": ask.rid, "input_ids": ask.ids, "sampling_params": _settings(ask)}
    return msgspec.json.encode({**body, "return_logprob": True, "stream": stream})


def _event(data: bytes) -> Answer:
    """One chunk; a stream tells its errors in the middle of itself."""
    if data.startswith(b'{"error"'):
        raise Refused(f"/generate: {_short(data.decode(errors='replace'))}")
    return _answer.decode(data)


def _check(status: int, path: str, content: bytes) -> None:
    """Sort the statuses: below 400 is well, below 500 refused, above the server is not well."""
    if status < 400:
        return
    reason = f"{path}: status {status}: {_short(content.decode(errors='replace'))}"
    raise Refused(reason) if status < 500 else Unreachable(reason)


def _short(text: str) -> str:
    return " ".join(text.split())[:300]
