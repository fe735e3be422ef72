"""A response that replay holds, fetched in bounded pieces: by whoever goes on with it, and by whoever scores it."""

from __future__ import annotations

from actors.kernel.operations import ask
from actors.messages import Chunk, FetchResponse
from buffers.segment import BYTES_PER_TOKEN, EndReason, Ghost, Payload, TokenArrays

FETCH_TOKENS = 8192
"""Tokens fetched by one ask."""


async def fetch_response(
    replay: str, trajectory: int, length: int, timeout_s: float
) -> tuple[Payload, EndReason] | None:
    """The first `length` response tokens of a trajectory and how it ended; None when replay no longer has them."""
    parts: list[Payload] = []
    end: EndReason = "stop"
    start = 0
    while start < length:
        count = min(FETCH_TOKENS, length - start)
        reply = await ask(replay, FetchResponse(trajectory, start, count), timeout_s, count * BYTES_PER_TOKEN)
        if reply is None:
            continue
        if not isinstance(reply, Chunk) or not reply.payloads:
            return None
        for part in reply.payloads:
            parts.append(part)
            start += part.length
        end = reply.end
    return join_payloads(parts), end


def join_payloads(parts: list[Payload]) -> Payload:
    """Concatenate payloads; ghosts stay ghosts."""
    if len(parts) == 1:
        return parts[0]
    if any(isinstance(part, Ghost) for part in parts):
        return Ghost(sum(part.length for part in parts), parts[0].seed if isinstance(parts[0], Ghost) else 0)
    arrays = [part for part in parts if isinstance(part, TokenArrays)]
    return TokenArrays(b"".join(part.ids for part in arrays), b"".join(part.logps for part in arrays))
