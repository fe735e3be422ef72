"""The kernel against a sorted list, under any order of calls, cancels, freezes and runs."""

from functools import partial

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from sim.kernel import Kernel

CODES = ("a", "b", "c")


class KernelAgainstList(RuleBasedStateMachine):
    """The model: a list of [time, order, name, number], and those set aside by name."""

    events = Bundle("events")

    def __init__(self):
        super().__init__()
        self.kernel = Kernel()
        self.seen, self.expected = [], []
        self.model, self.aside = [], {}
        self.frozen = {}
        self.number = self.order = 0

    @rule(target=events, delay=st.integers(0, 20), name=st.sampled_from(CODES), line=st.sampled_from((None, 0, 1)))
    def call(self, delay, name, line):
        self.number += 1
        self.order += 1
        at = self.kernel.now + delay
        call = self.kernel.call_at if line is None else partial(self.kernel.call_behind, line)
        handle = call(at, self.kernel.code(name), self.seen.append, self.number)
        entry = [at, self.order, name, self.number]
        self.model.append(entry)
        return handle, entry

    @rule(target=events, delay=st.integers(0, 20), inner=st.integers(0, 5))
    def call_that_calls(self, delay, inner):
        self.number += 2
        self.order += 1
        number, kernel = self.number, self.kernel

        def outer(_):
            self.seen.append(number)
            kernel.call_at(kernel.now + inner, kernel.code("a"), self.seen.append, number - 1)

        entry = [kernel.now + delay, self.order, "b", (number, inner)]
        handle = kernel.call_at(kernel.now + delay, kernel.code("b"), outer)
        self.model.append(entry)
        return handle, entry

    @rule(event=events)
    def cancel(self, event):
        handle, entry = event
        self.kernel.cancel(handle)
        for entries in (self.model, *self.aside.values()):
            if entry in entries:
                entries.remove(entry)

    @rule(name=st.sampled_from(CODES))
    def set_aside(self, name):
        if name not in self.aside:
            self.frozen[name] = self.kernel.set_aside(self.kernel.code(name))
            self.aside[name] = sorted(entry for entry in self.model if entry[2] == name)
            self.model = [entry for entry in self.model if entry[2] != name]

    @rule(name=st.sampled_from(CODES))
    def put_back(self, name):
        if name in self.aside:
            self.kernel.put_back(self.frozen.pop(name))
            for entry in self.aside.pop(name):
                self.order += 1
                entry[:2] = max(entry[0], self.kernel.now), self.order
                self.model.append(entry)

    @rule(delay=st.integers(0, 15))
    def run(self, delay):
        until = self.kernel.now + delay
        self.kernel.run(until)
        while self.model and min(self.model)[0] <= until:
            entry = min(self.model)
            self.model.remove(entry)
            if isinstance(entry[3], tuple):
                number, inner = entry[3]
                self.order += 1
                self.expected.append(number)
                self.model.append([entry[0] + inner, self.order, "a", number - 1])
            else:
                self.expected.append(entry[3])

    @invariant()
    def they_agree(self):
        assert self.seen == self.expected
        assert len(self.kernel) == len(self.model)


TestKernelAgainstList = KernelAgainstList.TestCase
