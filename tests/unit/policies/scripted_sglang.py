"""A small server with SGLang's API as it was observed: it draws one token after the other, and dies as SGLang does.

Token i of a request is (sum of its ids + i) mod VOCABULARY, with log-probability -(1 + token) / 100. An id outside the
vocabulary ends the server; a name that runs already, and updates outside of a session, get a 400. It takes part in a
process group, but not in a broadcast that it has refused, which hangs its sender as with SGLang.
"""

import asyncio
import json
import threading
from datetime import timedelta

import torch
import torch.distributed as dist
from aiohttp import web
from torch._C._distributed_c10d import TCPStore
from torch.distributed.distributed_c10d import Backend, GroupName, PrefixStore, _new_process_group_helper, _world

VOCABULARY = 64


class ScriptedServer:
    """Lives in a thread of its own; `url` is where."""

    def __init__(self, step_s=0.002):
        self.step_s = step_s
        self.version = "somebody's"
        self.calls = []
        """(path, body) of everything that was asked."""
        self.rids = set()
        self.aborted = set()
        self.most_at_once = 0
        self.ignores_updates = False
        self.refuses_updates = False
        self.longest = 1 << 30
        """Input ids of a request that it takes."""
        self.joins = True
        """Whether it really takes its place in a process group that it has agreed to."""
        self.session = False
        self._hit = threading.Event()
        self._up = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._up.wait(10)

    def asked(self, path):
        return [body for at, body in self.calls if at == path]

    def close(self):
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def drop_connections(self):
        """Every running request loses its connection, as with a server that dies."""
        self._loop.call_soon_threadsafe(self._drop)

    def _drop(self):
        for request in list(self.open.values()):
            request.transport.abort()

    def _run(self):
        self._loop.run_until_complete(self._live())

    async def _live(self):
        self._end, self.going = asyncio.Event(), asyncio.Event()
        self.going.set()
        self.open = {}
        app = web.Application(middlewares=[self._note])
        for name in ("health_generate", "model_info", "server_info"):
            app.router.add_get(f"/{name}", self._tell)
        for name in ("generate", "abort_request", "pause_generation", "continue_generation"):
            app.router.add_post(f"/{name}", getattr(self, f"_{name}"))
        app.router.add_post("/update_weights_from_disk", self._update)
        app.router.add_post("/update_weights_from_tensor", self._update)
        app.router.add_post("/update_weights_from_distributed", self._update)
        app.router.add_post("/init_weights_update_group", self._join)
        app.router.add_post("/begin_weight_update", self._begin)
        app.router.add_post("/end_weight_update", self._finish)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._up.set()
        await self._end.wait()
        await runner.cleanup()

    @web.middleware
    async def _note(self, request, handler):
        body = await request.json() if request.method == "POST" else None
        self.calls.append((request.path, body))
        return await handler(request)

    async def _generate(self, request):
        body = await request.json()
        if isinstance(body["rid"], list):
            return await self._several(request, body)
        ids, rid, asked = body["input_ids"], body["rid"], body["sampling_params"]
        if not all(0 <= token < VOCABULARY for token in ids):
            self._end.set()
            request.transport.abort()
            return await _ok({})
        if rid in self.rids:
            return await _no("Duplicate request ID")
        self.rids.add(rid)
        self.open[rid] = request
        self.most_at_once = max(self.most_at_once, len(self.open))
        try:
            return await self._draw(request, body, ids, rid, asked)
        finally:
            del self.open[rid]

    async def _several(self, request, body):
        """All of one call, or none: answers come as they end, with the first token of each before."""
        calls = list(zip(body["input_ids"], body["rid"], body["sampling_params"], strict=True))
        if not all(0 <= token < VOCABULARY for ids, _, _ in calls for token in ids):
            self._end.set()
            request.transport.abort()
            return await _ok({})
        if len(self.rids | set(body["rid"])) < len(self.rids) + len(calls):
            return await _no("Duplicate request ID")
        if any(len(ids) > self.longest for ids, _, _ in calls):
            return await _no("Input is too long")
        self.rids.update(body["rid"])
        self.open.update(dict.fromkeys(body["rid"], request))
        self.most_at_once = max(self.most_at_once, len(self.open))
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)

        async def one(index, ids, rid, asked):
            try:
                await asyncio.sleep(0)
                first = {**answer(ids, [sum(ids) % VOCABULARY], None, None), "index": index}
                await reply.write(b"data: " + json.dumps(first).encode() + b"\n\n")
                whole = await self._drawn(ids, rid, asked, None)
                await reply.write(b"data: " + json.dumps({**whole, "index": index}).encode() + b"\n\n")
            finally:
                del self.open[rid]

        await asyncio.gather(*(one(index, *call) for index, call in enumerate(calls)))
        await reply.write(b"data: [DONE]\n\n")
        return reply

    async def _draw(self, request, body, ids, rid, asked):
        reply = None
        if len(ids) > self.longest:
            return await _no("Input is too long")
        if body["stream"]:
            reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
            await reply.prepare(request)
        whole = await self._drawn(ids, rid, asked, reply)
        if reply is None:
            return web.json_response(whole)
        await reply.write(b"data: " + json.dumps(whole).encode() + b"\n\ndata: [DONE]\n\n")
        return reply

    async def _drawn(self, ids, rid, asked, reply):
        """Token after token; chunks go to a reply that is a stream."""
        out, versions, end = [], [], {"type": "length"}
        while len(out) < asked["max_new_tokens"]:
            await asyncio.sleep(self.step_s)
            if rid in self.aborted:
                end = {"type": "abort"}
                break
            await self.going.wait()
            out.append((sum(ids) + len(out)) % VOCABULARY)
            versions.append(self.version)
            if out[-1] in asked["stop_token_ids"]:
                end = {"type": "stop"}
                break
            if reply is not None:
                await reply.write(b"data: " + json.dumps(answer(ids, out, None, None)).encode() + b"\n\n")
        return answer(ids, out, versions, end)

    async def _abort_request(self, request):
        name = (await request.json())["rid"]
        self.aborted |= {rid for rid in self.rids if rid.startswith(name)}
        return await _ok({})

    async def _pause_generation(self, request):
        if (await request.json())["mode"] == "abort":
            self.aborted |= self.rids
        else:
            self.going.clear()
        return await _ok({})

    async def _continue_generation(self, request):
        self.going.set()
        return await _ok({})

    async def _tell(self, request):
        return await _ok({"weight_version": self.version, "tp_size": 1})

    async def _begin(self, request):
        self.session = True
        return await _ok({"success": True})

    async def _finish(self, request):
        self.session = False
        return await _ok({"success": True})

    async def _join(self, request):
        body = await request.json()
        if self.joins:
            self.group = await asyncio.to_thread(take_place, body)
        else:
            await self._end.wait()
        return await _ok({"success": True})

    async def _update(self, request):
        body = await request.json()
        if self.refuses_updates or ("disk" not in request.path and not self.session):
            return await _no("no weights from you")
        if "distributed" in request.path:
            await asyncio.to_thread(take_part, self.group, body)
        if not self.ignores_updates:
            self.version = body["weight_version"]
        return await _ok({"success": True})


def take_place(body):
    """Rank 1 of the group that a body of `/init_weights_update_group` describes, as SGLang's scheduler makes it."""
    world, limit = body["world_size"], timedelta(seconds=20)
    store = TCPStore(body["master_address"], body["master_port"], world, is_master=False, timeout=limit)
    prefixed = PrefixStore(body["group_name"], store)
    name = GroupName(body["group_name"])
    group, _ = _new_process_group_helper(world, 1, [], Backend("gloo"), prefixed, group_name=name, timeout=limit)
    _world.pg_group_ranks[group] = {rank: rank for rank in range(world)}
    return group


def take_part(group, body):
    """Receive the tensors of a broadcast."""
    for dtype, shape in zip(body["dtypes"], body["shapes"], strict=True):
        dist.broadcast(torch.empty(shape, dtype=getattr(torch, dtype)), src=0, group=group)


def answer(ids, out, versions, end):
    spans = []
    for index, version in enumerate(versions or ()):
        if spans and spans[-1]["version"] == version:
            spans[-1]["end"] = index + 1
        else:
            spans.append({"version": version, "start": index, "end": index + 1})
    meta = {
        "finish_reason": end,
        "output_token_logprobs": [[-(1 + token) / 100, token, None] for token in out],
        "prompt_tokens": len(ids),
        "cached_tokens": len(ids) - 1,
    }
    return {"output_ids": out, "meta_info": {**meta, **({"weight_versions": spans} if end else {})}}


async def _ok(body):
    return web.json_response(body)


async def _no(message):
    return web.json_response({"error": {"message": message}}, status=400)
