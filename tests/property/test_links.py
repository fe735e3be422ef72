"""Any sequence of faults on any links: each link stays first in first out, and nothing arrives before it was sent."""

from hypothesis import given
from hypothesis import strategies as st

from actors.messages import Alive
from sim.network import Harm, Link, Network

NAMES = st.sampled_from(["a", "b", "c"])
TARGETS = st.sampled_from(["*", "a", "a->b", "b->*", "*->c"])
SEND = st.tuples(st.just("send"), NAMES, NAMES)
HARM = st.tuples(
    st.sampled_from(["drop", "delay", "duplicate", "reorder"]),
    TARGETS,
    st.builds(Harm, share=st.floats(0, 1), span_ns=st.integers(0, 1000)),
)
ISLAND = st.tuples(st.just("partition"), st.lists(NAMES, min_size=1), st.none())
HEAL = st.tuples(st.just("heal"), TARGETS, st.none())
LINKS = st.builds(Link, st.integers(0, 500), st.integers(0, 500), st.sampled_from([0, 1_000_000, 1_000_000_000]))


@given(
    seed=st.integers(0, 9),
    link=LINKS,
    steps=st.lists(st.tuples(st.integers(0, 50), SEND | SEND | HARM | ISLAND | HEAL)),
)
def test_links_keep_their_order_under_any_faults(seed, link, steps):
    network = Network(seed, link)
    now = 0
    last = {}
    for pause, (verb, first, second) in steps:
        now += pause
        if verb == "send":
            arrivals = network.lane(first, second).arrivals(now, Alive())
            assert len(arrivals) <= 2
            for at in arrivals:
                assert at >= now + link.latency_ns
                assert at >= last.get((first, second), 0)
                last[first, second] = at
        elif verb == "partition":
            network.partition(first)
        elif verb == "heal":
            network.heal(first)
        else:
            network.harm(verb, first, second)
    network.heal()
    assert all(network.lane(sender, to).arrivals(now, Alive()) for sender in "abc" for to in "abc")
