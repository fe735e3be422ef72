"""The batching scheduler against a driver that carries out its plans, under any order of events."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from policies.batching import Batching, BatchingConfig

LIMITS = st.builds(
    lambda slots, more, kv, prefill, refill, headroom, step, block, shrink: BatchingConfig(
        slots, slots + more, kv, prefill, refill, headroom, step and slots + step, block, shrink
    ),
    st.integers(1, 5),
    st.integers(0, 4),
    st.integers(30, 120),
    st.integers(1, 30),
    st.integers(1, 6),
    st.integers(1, 12),
    st.integers(0, 12),
    st.integers(1, 5),
    st.booleans(),
)


WHICH = st.integers(0, 9)


def pick(which, names):
    """One of the names, if there are any."""
    return [sorted(names)[which % len(names)]] if names else []


class Batches(RuleBasedStateMachine):
    """`known`, `target` and the tokens really held, by trajectory, as an engine would count them."""

    def __init__(self):
        super().__init__()
        self.next = 0
        self.jobs = {}  # trajectory -> [known, target]
        self.filled = {}  # trajectory -> tokens in the cache, running or cached
        self.order = []  # trajectories that wait, as the rules say they must
        self.admitted = []  # running, by admission
        self.finished = []
        self.submitted = 0
        self.paused = False  # somebody was preempted, and nobody has left since
        self.subject = None

    @initialize(limits=LIMITS)
    def start(self, limits):
        self.subject = Batching(limits)

    @rule(known=st.integers(1, 25), more=st.integers(1, 30))
    def submit(self, known, more):
        self.next += 1
        self._submit(self.next, known, more)

    @rule(which=WHICH, known=st.integers(0, 3), more=st.integers(1, 10))
    def come_back(self, which, known, more):
        for trajectory in pick(which, set(self.subject.cached) - set(self.jobs)):
            self._submit(trajectory, self.filled[trajectory] + 1 + known, more)

    def _submit(self, trajectory, known, more):
        if not self.subject.fits(known + more):
            return
        self.subject.submit(trajectory, known, known + more)
        self.jobs[trajectory] = [known, known + more]
        self.order.append(trajectory)
        self.submitted += 1

    @rule(which=WHICH, keep=st.booleans())
    def abort(self, which, keep):
        for trajectory in pick(which, self.jobs):
            self._remove(trajectory, keep)

    @rule(which=WHICH)
    def forget(self, which):
        for trajectory in pick(which, set(self.filled) - set(self.jobs)):
            self.subject.forget(trajectory)
            del self.filled[trajectory]

    @rule()
    def recompute(self):
        self.subject.recompute()
        self.filled = dict.fromkeys(self.admitted, 0)

    @rule(steps=st.integers(1, 40), keep=st.booleans())
    def work(self, steps, keep):
        self._work(steps, keep)

    def _work(self, steps, keep):
        plan = self.subject.plan()
        for trajectory in plan.evicted:
            assert trajectory not in self.admitted
            self.filled.pop(trajectory, None)
        for trajectory in plan.preempted:
            assert trajectory == self.admitted.pop(), "the youngest goes first"
            assert self.admitted, "the oldest never goes"
            self.order.insert(0, trajectory)
            if not self.subject.config.shrink:
                self.filled[trajectory] = 0
            self.paused = True
        self._shrunk(plan)
        assert not (self.paused and plan.admitted), "the room was taken for those that run"
        for admission in plan.admitted:
            assert admission.trajectory == self.order.pop(0), "first come, first served; the preempted before all"
            if self.subject.config.shrink:
                assert admission.cached <= self.filled.get(admission.trajectory, 0)
            else:
                assert admission.cached == self.filled.get(admission.trajectory, 0)
            self.filled[admission.trajectory] = admission.cached
            self.admitted.append(admission.trajectory)
        computed = sum(count for _, count in plan.prefill)
        assert computed <= self.subject.config.prefill_tokens
        assert computed + plan.decoding <= (self.subject.config.step_tokens or computed + plan.decoding)
        assert len(dict(plan.prefill)) == len(plan.prefill)
        assert (plan.steps > 0) == bool(self.jobs), "whoever is there, somebody gets on"
        again = self.subject.plan()
        assert (again.prefill, again.decoding, again.admitted) == (plan.prefill, plan.decoding, ())
        if plan.steps:
            self._advance(plan, steps, keep)

    def _shrunk(self, plan):
        """Prefixes that do not run have given way: as far as was needed, and in whole blocks."""
        limits = self.subject.config
        for trajectory, held in self.subject.cached.items():
            before = self.filled[trajectory]
            assert held == before or (limits.shrink and held < before and held % limits.block_tokens == 0)
            self.filled[trajectory] = held

    def _advance(self, plan, steps, keep):
        decoding = self.subject.decoding
        assert len(decoding) == plan.decoding
        left = [self.jobs[trajectory][1] - self.jobs[trajectory][0] for trajectory in decoding]
        count = min([steps, plan.steps, *left])
        self.subject.advance(count)
        for trajectory, tokens in plan.prefill:
            self.filled[trajectory] += count * tokens
            assert self.filled[trajectory] <= self.jobs[trajectory][0] - 1
        for trajectory in decoding:
            assert self.filled[trajectory] == self.jobs[trajectory][0] - 1, "only filled contexts decode"
            self.jobs[trajectory][0] += count
            self.filled[trajectory] += count
        for trajectory in decoding:
            if self.jobs[trajectory][0] == self.jobs[trajectory][1]:
                self._remove(trajectory, keep)

    def _remove(self, trajectory, keep):
        self.subject.remove(trajectory, keep)
        self.finished.append(trajectory)
        del self.jobs[trajectory]
        if trajectory in self.admitted:
            self.admitted.remove(trajectory)
            self.paused = False
        else:
            self.order.remove(trajectory)
        if not keep or not self.filled.get(trajectory):
            self.filled.pop(trajectory, None)

    @invariant()
    def limits_hold(self):
        if self.subject is None:
            return
        limits = self.subject.config
        running, cached = self.subject.running, self.subject.cached
        assert len(running) <= limits.slots
        assert len(running) + len(cached) <= limits.rows
        assert self.subject.held <= limits.kv_tokens
        holdings = [*(self.jobs[name][0] - 1 for name in running), *cached.values()]
        assert self.subject.held == sum(-(-tokens // limits.block_tokens) for tokens in holdings) * limits.block_tokens
        assert list(running) == self.admitted
        assert list(self.subject.waiting) == self.order
        assert cached == {name: held for name, held in self.filled.items() if name not in running and held}

    def teardown(self):
        """Whatever happened, everybody finishes, once."""
        turns = 0
        while self.jobs:
            self._work(1000, True)
            self.limits_hold()
            turns += 1
            assert turns < 5000
        assert len(self.finished) == self.submitted


Batches.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
test_batching_obeys_its_invariants_under_any_events = Batches.TestCase
