"""The discrete-event kernel beside a bare heap and beside SimPy.

`timers` wakes N sleepers again and again: ours with cancel, names and digest; the bare loop has a heap of (time,
sequence, id) and nothing else. `store` moves items from producers to consumers through a bounded store, both sides
pausing after each item: ours as callbacks on the kernel (with digest), SimPy's as its own `Store` and processes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from heapq import heappop, heappush
from importlib.metadata import version
from typing import Any

import simpy

from sim.kernel import Kernel
from tests.bench.alternate import Row, alternate, row

EVENTS = 200_000
ITEMS = 60_000
RUNS = 7
DELAYS = [1 + (index * 7919) % 9973 for index in range(1024)]
"""Sleeps in ns, the same for both sides."""


def timers(sleepers: int) -> Callable[[], float]:
    def run() -> float:
        kernel = Kernel()
        call_at = kernel.call_at
        left = EVENTS

        def wake(sleeper: int) -> None:
            nonlocal left
            left -= 1
            if left > 0:
                call_at(kernel.now + DELAYS[left & 1023], sleeper, wake, sleeper)

        for sleeper in range(sleepers):
            call_at(DELAYS[sleeper & 1023], kernel.code(f"sleeper {sleeper}"), wake, sleeper)
        begin = time.perf_counter()
        kernel.run()
        return EVENTS / (time.perf_counter() - begin)

    return run


def bare_heap(sleepers: int) -> Callable[[], float]:
    def run() -> float:
        heap: list[tuple[int, int, int]] = []
        sequence = 0
        for sleeper in range(sleepers):
            sequence += 1
            heappush(heap, (DELAYS[sleeper & 1023], sequence, sleeper))
        left = EVENTS
        begin = time.perf_counter()
        while heap:
            now, _, sleeper = heappop(heap)
            left -= 1
            if left > 0:
                sequence += 1
                heappush(heap, (now + DELAYS[left & 1023], sequence, sleeper))
        return EVENTS / (time.perf_counter() - begin)

    return run


class BoundedStore:
    """A first in first out store on the kernel: who can go on does so at once, who cannot is called when it can."""

    def __init__(self, kernel: Kernel, capacity: int) -> None:
        self.kernel = kernel
        self.capacity = capacity
        self.items: deque[int] = deque()
        self.getters: deque[tuple[int, Callable[[int], None]]] = deque()
        self.putters: deque[tuple[int, int, Callable[[Any], None]]] = deque()

    def put(self, code: int, item: int, then: Callable[[Any], None]) -> bool:
        """True: stored; False: `then` is called when it is."""
        if len(self.items) >= self.capacity:
            self.putters.append((code, item, then))
            return False
        if self.getters:
            getter, call = self.getters.popleft()
            self.kernel.call_at(self.kernel.now, getter, call, item)
        else:
            self.items.append(item)
        return True

    def get(self, code: int, then: Callable[[int], None]) -> int | None:
        """An item; None: `then` is called with one."""
        if not self.items:
            self.getters.append((code, then))
            return None
        item = self.items.popleft()
        if self.putters:
            putter, waiting, call = self.putters.popleft()
            self.items.append(waiting)
            self.kernel.call_at(self.kernel.now, putter, call)
        return item


def store(pairs: int) -> Callable[[], float]:
    def run() -> float:
        kernel = Kernel()
        call_at = kernel.call_at
        shelf = BoundedStore(kernel, 2 * pairs)
        moved = 0

        def producer(index: int) -> None:
            code = kernel.code(f"producer {index}")
            pause = DELAYS[index]

            def put(_: Any) -> None:
                if shelf.put(code, index, rest):
                    rest(None)

            def rest(_: Any) -> None:
                if moved < ITEMS:
                    call_at(kernel.now + pause, code, put)

            call_at(0, code, put)

        def consumer(index: int) -> None:
            code = kernel.code(f"consumer {index}")
            pause = DELAYS[index + 7]

            def take(_: Any) -> None:
                item = shelf.get(code, rest)
                if item is not None:
                    rest(item)

            def rest(_: int) -> None:
                nonlocal moved
                moved += 1
                if moved < ITEMS:
                    call_at(kernel.now + pause, code, take)

            call_at(0, code, take)

        for index in range(pairs):
            producer(index)
            consumer(index)
        begin = time.perf_counter()
        kernel.run()
        return moved / (time.perf_counter() - begin)

    return run


def simpy_store(pairs: int) -> Callable[[], float]:
    def run() -> float:
        environment = simpy.Environment()
        shelf = simpy.Store(environment, capacity=2 * pairs)
        moved = 0
        done = environment.event()

        def producer(index: int) -> Generator[Any, Any, None]:
            while True:
                yield shelf.put(index)
                yield environment.timeout(DELAYS[index])

        def consumer(index: int) -> Generator[Any, Any, None]:
            nonlocal moved
            while True:
                yield shelf.get()
                moved += 1
                if moved == ITEMS:
                    done.succeed()
                yield environment.timeout(DELAYS[index + 7])

        for index in range(pairs):
            environment.process(producer(index))
            environment.process(consumer(index))
        begin = time.perf_counter()
        environment.run(done)
        return moved / (time.perf_counter() - begin)

    return run


def run() -> Iterator[Row]:
    peer = f"simpy {version('simpy')}"
    for sleepers in (64, 1024):
        ours, theirs = alternate(timers(sleepers), bare_heap(sleepers), RUNS)
        yield row(f"timers, {sleepers} sleepers", ours, "heapq, bare loop", theirs, "events/s", RUNS, "more")
    for pairs in (32, 512):
        ours, theirs = alternate(store(pairs), simpy_store(pairs), RUNS)
        yield row(f"bounded store, {pairs} pairs", ours, peer, theirs, "items/s", RUNS, "more")
