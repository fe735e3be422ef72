"""Links: physics, order, faults."""

import itertools

import pytest

from actors.messages import Alive, Append
from buffers.errors import ContractError
from buffers.segment import Ghost, Segment
from sim.network import Harm, Link, Network

LINK = Link(latency_ns=100)


def pour(network, sender="a", receiver="b", count=200, every_ns=10):
    lane = network.lane(sender, receiver)
    return [lane.arrivals(n * every_ns, Alive()) for n in range(count)]


def flat(arrivals):
    return list(itertools.chain.from_iterable(arrivals))


def test_a_message_takes_the_latency_of_its_link():
    network = Network(0, LINK, {"a->c": Link(latency_ns=7)})
    assert network.lane("a", "b").arrivals(5, Alive()) == (105,)
    assert network.lane("a", "c").arrivals(5, Alive()) == (12,)
    assert network.lane("c", "a").arrivals(5, Alive()) == (105,)


def test_bandwidth_is_charged_by_the_bytes_that_a_ghost_stands_for_and_messages_queue():
    lane = Network(0, Link(latency_ns=10, bytes_per_s=1_000_000_000)).lane("a", "b")
    segment = Segment(0, Ghost(1000, 1), ((0, 1000),), ((1, 1000),), "cut")
    bulk = Append(1, 1, segment)
    assert lane.arrivals(0, bulk) == (13_064 + 10,)
    assert lane.arrivals(0, Alive()) == (13_064 + 64 + 10,)
    assert lane.arrivals(1_000_000, Alive()) == (1_000_000 + 64 + 10,)


def test_jitter_differs_and_keeps_a_link_in_order():
    arrivals = flat(pour(Network(0, Link(latency_ns=100, jitter_ns=500))))
    assert arrivals == sorted(arrivals)
    assert len({at - 10 * n for n, at in enumerate(arrivals)}) > 50


@pytest.mark.parametrize("target", ["*", "a", "b", "a->b", "a->*", "*->b"])
def test_a_target_covers_the_links_it_names(target):
    network = Network(0, LINK)
    before = network.lane("a", "b")
    network.harm("drop", target, Harm())
    assert pour(network, count=3) == [(), (), ()]
    assert network.lane("a", "b") is before
    assert (pour(network, "c", "d", count=1) == [()]) is (target == "*")
    assert (pour(network, "b", "a", count=1) == [()]) is (target in ("*", "a", "b"))
    network.relieve("drop", target)
    assert pour(network, count=1) != [()]


def test_a_share_of_the_messages_is_dropped():
    network = Network(3, LINK)
    network.harm("drop", "a->b", Harm(share=0.3))
    lost = sum(arrival == () for arrival in pour(network, count=2000))
    assert 500 < lost < 700


def test_delayed_messages_hold_back_those_behind_them():
    network = Network(0, LINK)
    network.harm("delay", "a->b", Harm(share=0.1, span_ns=1000))
    arrivals = flat(pour(network))
    assert arrivals == sorted(arrivals)
    assert max(at - 10 * n for n, at in enumerate(arrivals)) == 1100
    assert min(at - 10 * n for n, at in enumerate(arrivals)) == 100


def test_a_duplicate_travels_right_behind_its_original():
    network = Network(0, LINK)
    network.harm("duplicate", "a->b", Harm(share=0.5))
    arrivals = pour(network)
    assert {len(arrival) for arrival in arrivals} == {1, 2}
    assert flat(arrivals) == sorted(flat(arrivals))


def test_reordering_happens_across_links_and_never_on_one():
    network = Network(0, LINK)
    network.harm("reorder", "*", Harm(span_ns=2000))
    left, right = network.lane("a", "c"), network.lane("b", "c")
    pairs = [(left.arrivals(n * 10_000, Alive())[0], right.arrivals(n * 10_000 + 1, Alive())[0]) for n in range(100)]
    assert 20 < sum(one > other for one, other in pairs) < 80
    arrivals = flat(pour(network))
    assert arrivals == sorted(arrivals)
    assert len(set(arrivals)) > 1


def test_one_fault_does_not_shift_the_draws_of_another():
    def delayed(*faults):
        network = Network(5, Link(latency_ns=0))
        for fault in ("delay", *faults):
            network.harm(fault, "*", Harm(share=0.5, span_ns=5))
        return [arrival[0] - 10 * n for n, arrival in enumerate(pour(network)) if arrival], network

    alone, _ = delayed()
    assert delayed("duplicate")[0] == alone
    network = Network(5, Link(latency_ns=0))
    network.harm("delay", "*", Harm(share=0.5, span_ns=5))
    network.harm("drop", "*", Harm(share=0.5))
    survivors = [(n, arrival[0] - 10 * n) for n, arrival in enumerate(pour(network)) if arrival]
    assert 50 < len(survivors) < 150
    assert all(alone[n] == late for n, late in survivors)


def test_links_draw_from_streams_of_their_own():
    def lost(first):
        network = Network(5, LINK)
        network.harm("drop", "*", Harm(share=0.5))
        pour(network, "x", "y", count=first)
        return pour(network)

    assert lost(0) == lost(17)


def test_a_partition_cuts_both_ways_until_it_heals():
    network = Network(0, LINK)
    network.partition(["a", "b"])
    network.partition(["c"])

    def reach(sender, receiver):
        return pour(network, sender, receiver, count=1) != [()]

    assert reach("a", "b")
    assert not any(reach(*pair) for pair in (("a", "c"), ("c", "b"), ("a", "d"), ("d", "c")))
    network.rejoin("c")
    assert reach("c", "d")
    assert not reach("c", "a")
    network.heal()
    assert reach("a", "c")


def test_healing_a_target_lifts_what_lies_on_it_only():
    network = Network(0, LINK)
    network.harm("drop", "a->b", Harm())
    network.harm("drop", "c", Harm())
    network.heal("a->b")
    assert pour(network, "a", "b", count=1) != [()]
    assert pour(network, "a", "c", count=1) == [()]


def test_an_unknown_fault_is_refused():
    with pytest.raises(ContractError, match="'burn' is no fault of a link; take one of drop"):
        Network(0, LINK).harm("burn", "*", Harm())
