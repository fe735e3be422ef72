import pytest

from buffers.histogram import LENGTHS, RATIOS, VERSIONS, bucket_counts, read_bucket, weighted_counts


@pytest.mark.parametrize("edges", [LENGTHS, VERSIONS, RATIOS])
def test_every_value_counts_in_exactly_the_bucket_that_its_name_tells(edges):
    for value in (*edges, 0.5, 7.5, 1.3, 100.0, -5.0, 1e9):
        ((name, count),) = bucket_counts("x", [value], edges).items()
        base, left, right = read_bucket(name)
        assert (base, count) == ("x", 1.0)
        inside = left < value <= right
        assert inside or (value <= left == edges[0]) or (value > right == edges[-1]), (value, name)


def test_counts_add_up_and_empty_buckets_are_not_named():
    counts = bucket_counts("length", [30, 31, 200], LENGTHS)
    assert counts == {"length(24,32]": 2.0, "length(192,256]": 1.0}
    assert weighted_counts("lag", [(0, 10.0), (2, 5.0), (2, 1.0)], VERSIONS) == {"lag(-1,0]": 10.0, "lag(1,2]": 6.0}


def test_large_edges_keep_their_value_in_the_name():
    (name,) = bucket_counts("length", [700_000], LENGTHS)
    assert read_bucket(name) == ("length", 524288.0, 786432.0)


@pytest.mark.parametrize("name", ["loss", "a(b", "x(1,]", "x]"])
def test_a_plain_number_is_no_bucket(name):
    assert read_bucket(name) is None
