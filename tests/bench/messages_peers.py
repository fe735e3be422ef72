"""The peers of the benchmark `messages`, doing the same as ours: `python messages_peers.py PEER COUNT FLIGHT BYTES`.

Prints messages per second as its last line. It imports nothing of the house, so that it can run under another
interpreter, one that has the peer.
"""

from __future__ import annotations

import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable

WARM_UP = 300
REPLY = b"r" * 40


def _router(address: str) -> None:
    import zmq

    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind(address)
    while True:
        identity, body = router.recv_multipart()
        if not body:
            break
        router.send_multipart([identity, REPLY])
    router.close()
    context.term()


def pyzmq(count: int, flight: int, size: int) -> float:
    """DEALER asks, ROUTER replies, `flight` outstanding."""
    import zmq

    with tempfile.TemporaryDirectory() as folder:
        address = f"ipc://{folder}/router"
        replier = multiprocessing.get_context("spawn").Process(target=_router, args=(address,))
        replier.start()
        context = zmq.Context()
        dealer = context.socket(zmq.DEALER)
        dealer.connect(address)
        body = b"b" * size
        for _ in range(flight):
            dealer.send(body)
        for _ in range(WARM_UP):
            dealer.recv()
            dealer.send(body)
        begun = time.perf_counter()
        for _ in range(count - flight):
            dealer.recv()
            dealer.send(body)
        for _ in range(flight):
            dealer.recv()
        took = time.perf_counter() - begun
        dealer.send(b"")
        replier.join()
        dealer.close()
        context.term()
    return count / took


def ray(count: int, flight: int, size: int) -> float:
    """Calls of one actor by the driver, `flight` outstanding."""
    import ray as peer

    peer.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="error")

    @peer.remote
    class Answerer:
        def answer(self, epoch: int, trajectory: int, attempt: int) -> int:
            return attempt + 1

    answerer = Answerer.remote()
    peer.get([answerer.answer.remote(1, 7, 3) for _ in range(WARM_UP)])
    begun = time.perf_counter()
    waiting = []
    for _ in range(count):
        if len(waiting) >= flight:
            peer.get(waiting.pop(0))
        waiting.append(answerer.answer.remote(1, 7, 3))
    peer.get(waiting)
    took = time.perf_counter() - begun
    peer.shutdown()
    return count / took


def xoscar(count: int, flight: int, size: int) -> float:
    """Calls of an actor of another process, one after the other."""
    import asyncio

    import xoscar as peer

    class Answerer(peer.Actor):
        def answer(self, epoch: int, trajectory: int, attempt: int) -> int:
            return attempt + 1

    async def main() -> float:
        pool = await peer.create_actor_pool("127.0.0.1", n_process=1)
        async with pool:
            processes = list(pool.sub_processes)
            answerer = await peer.create_actor(Answerer, address=processes[0])
            for _ in range(WARM_UP):
                await answerer.answer(1, 7, 3)
            begun = time.perf_counter()
            for _ in range(count):
                await answerer.answer(1, 7, 3)
            return count / (time.perf_counter() - begun)

    return asyncio.run(main())


PEERS: dict[str, Callable[[int, int, int], float]] = {"pyzmq": pyzmq, "ray": ray, "xoscar": xoscar}

if __name__ == "__main__":
    print(PEERS[sys.argv[1]](*map(int, sys.argv[2:5])))
