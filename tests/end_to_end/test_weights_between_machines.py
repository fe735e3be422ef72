"""Weights over TCP: whole, checked by their digest, for who has the keys; a ring of this machine is preferred."""

import uuid

import numpy as np
import pytest
import torch

from actors.live import chunks
from actors.live.chunks import ChunkServer, fetch_chunks
from actors.live.keys import Keys, make_keys
from policies import weights
from policies.weights import RingPublisher, WeightsUnavailable, digest_of, read_weights


@pytest.fixture
def keys():
    return make_keys()


@pytest.fixture
def server(keys):
    one = ChunkServer(RingPublisher(f"test-{uuid.uuid4().hex}"), "127.0.0.1", keys)
    yield one
    one.close()


def tensors(number, size=3_000_000):
    return {"a": torch.full((size,), float(number)), "b": torch.arange(7, dtype=torch.int64) + number}


def test_a_version_arrives_in_chunks_with_its_digest(server, keys):
    source = server.publish(1, tensors(1))
    assert source.startswith("tcp://127.0.0.1:")
    copy = fetch_chunks(server.address, 1, keys)
    assert len(copy.data) > 2 * chunks.CHUNK_BYTES
    assert digest_of(copy.data) == digest_of(weights.copy_ring(source.rpartition("/")[2], 1).data)


def test_a_reader_without_the_ring_fetches_and_one_that_has_it_does_not(server, keys, monkeypatch):
    source = server.publish(4, tensors(4))
    fetched = []

    def fetch(address, version):
        fetched.append(version)
        return fetch_chunks(address, version, keys)

    assert read_weights(4, source, fetch)[0] == 4
    assert fetched == []
    elsewhere = source.rpartition("/")[0] + "/not-on-this-machine"
    version, found = read_weights(4, elsewhere, fetch)
    assert (version, fetched) == (4, [4])
    assert set(np.unique(found["a"].numpy())) == {4.0}
    assert found["b"].tolist() == [4, 5, 6, 7, 8, 9, 10]


def test_a_version_that_is_gone_is_answered_by_the_newest(server, keys):
    for number in range(1, 5):
        server.publish(number, tensors(number, 100))
    assert fetch_chunks(server.address, 1, keys).version == 4


def test_a_wrong_digest_is_never_installed(server, keys, monkeypatch):
    server.publish(1, tensors(1, 100))
    monkeypatch.setattr(server, "_copies", {1: (weights.copy_ring(server._ring.name, 1), "0" * 32)})
    with pytest.raises(WeightsUnavailable, match="does not have its digest"):
        fetch_chunks(server.address, 1, keys)


def test_a_stranger_gets_no_weights_and_is_counted(server, keys):
    server.publish(1, tensors(1, 100))
    stranger = make_keys()
    with pytest.raises(WeightsUnavailable, match="silent"):
        fetch_chunks(server.address, 1, Keys(stranger.public, stranger.secret), 300)
    assert server.refused > 0
    assert fetch_chunks(server.address, 1, keys).version == 1


def test_a_server_that_is_not_there_is_given_up(keys):
    with pytest.raises(WeightsUnavailable, match="silent"):
        fetch_chunks("tcp://127.0.0.1:9", 1, keys, 200)
