"""The ring of weights in shared memory: versions, races, restarts."""

import json
import multiprocessing
import threading
import time
import uuid

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from buffers.errors import UsageError
from policies import weights
from policies.weights import RingPublisher, RingReader, WeightsUnavailable, read_weights


@pytest.fixture
def name():
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    weights.ring_path(name).unlink(missing_ok=True)


def tensors(value, size=1000):
    return {
        "a": torch.full((size, 3), float(value)),
        "b": torch.full((7,), value, dtype=torch.bfloat16),
        "c": torch.tensor(value),
    }


def test_what_is_published_is_what_is_read(name):
    source = RingPublisher(name).publish(3, tensors(3))
    version, found = read_weights(3, source)
    assert version == 3
    for key, expected in tensors(3).items():
        assert found[key].dtype == expected.dtype
        assert torch.equal(found[key], expected)


def test_the_newest_two_versions_can_be_read_and_an_older_one_gives_the_newest(name):
    publisher = RingPublisher(name)
    for version in (4, 5, 6):
        source = publisher.publish(version, tensors(version))
    found = [read_weights(version, source) for version in (6, 5, 4)]
    assert [version for version, _ in found] == [6, 5, 6]
    assert [one["a"][0, 0].item() for _, one in found] == [6.0, 5.0, 6.0]


def test_what_was_read_does_not_change_afterwards(name):
    publisher = RingPublisher(name)
    source = publisher.publish(1, tensors(1))
    _, found = read_weights(1, source)
    for version in (2, 3):
        publisher.publish(version, tensors(version))
    assert torch.equal(found["a"], tensors(1)["a"])


def test_a_missing_or_empty_ring_is_unavailable(name):
    with pytest.raises(WeightsUnavailable, match="no ring"):
        read_weights(1, f"shm:{name}")
    publisher = RingPublisher(name)
    publisher._create(*weights._places(tensors(1)))
    with pytest.raises(WeightsUnavailable, match="no whole version"):
        read_weights(1, f"shm:{name}")


def test_a_half_written_slot_is_never_returned(name):
    publisher = RingPublisher(name)
    publisher.publish(1, tensors(1))
    source = publisher.publish(2, tensors(2))
    ring = publisher._ring
    ring.words(1)[0] += 1  # version 2's slot is being written, for ever
    assert read_weights(1, source)[0] == 1
    with pytest.raises(WeightsUnavailable):
        RingReader().read(name, 2, tries=3)


def test_a_write_that_begins_during_the_copy_is_noticed(name, monkeypatch):
    publisher = RingPublisher(name)
    publisher.publish(1, tensors(1))
    ring, plain = publisher._ring, weights._Ring.data

    def overtaken(reader, slot):
        ring.words(0)[0] += 2
        return plain(reader, slot)

    monkeypatch.setattr(weights._Ring, "data", overtaken)
    with pytest.raises(WeightsUnavailable):
        RingReader().read(name, 1, tries=3)


def test_bytes_that_do_not_fit_their_checksum_are_never_returned(name):
    publisher = RingPublisher(name)
    source = publisher.publish(1, tensors(1))
    publisher._ring.data(0)[5] ^= 1
    with pytest.raises(WeightsUnavailable):
        RingReader().read(name, 1, tries=3)
    assert read_weights(2, publisher.publish(2, tensors(2)))[0] == 2
    assert source == f"shm:{name}"


def test_a_restarted_writer_starts_anew(name):
    first = RingPublisher(name)
    first.publish(7, tensors(7))
    second = RingPublisher(name)
    with pytest.raises(WeightsUnavailable):
        read_weights(7, f"shm:{name}")
    second.publish(8, tensors(8, size=10))
    version, found = read_weights(7, f"shm:{name}")
    assert (version, len(found["a"])) == (8, 10)


def test_closing_takes_the_ring_away(name):
    publisher = RingPublisher(name)
    publisher.publish(1, tensors(1))
    publisher.close()
    publisher.close()
    assert not weights.ring_path(name).exists()


def test_another_models_tensors_are_refused(name):
    publisher = RingPublisher(name)
    publisher.publish(1, tensors(1))
    with pytest.raises(UsageError, match="another model"):
        publisher.publish(2, tensors(2, size=5))


def write_fast(name, ready, stop):
    publisher = RingPublisher(name)
    version = 0
    while not stop.is_set():
        publisher.publish(version, tensors(version, size=20_000))
        ready.set()
        version += 1


def test_readers_in_another_process_never_see_a_mixture(name):
    spawn = multiprocessing.get_context("spawn")
    ready, stop = spawn.Event(), spawn.Event()
    writer = spawn.Process(target=write_fast, args=(name, ready, stop))
    writer.start()
    try:
        assert ready.wait(60)
        seen = []
        deadline = time.monotonic() + 30
        while (len(seen) < 50 or len(set(seen)) < 10) and time.monotonic() < deadline:
            version, found = RingReader().read(name, -1, tries=10_000)
            assert set(np.unique(found["a"].numpy())) == {float(version)}
            assert found["c"].item() == version
            seen.append(version)
    finally:
        stop.set()
        writer.join(30)
    assert seen == sorted(seen)
    assert len(set(seen)) >= 10


def test_two_readers_at_once_do_not_disturb_each_other(name):
    source = RingPublisher(name).publish(1, tensors(1))
    results = []
    threads = [threading.Thread(target=lambda: results.append(read_weights(1, source)[0])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [1] * 4


def test_a_model_folder_is_read_in_all_its_pieces(tmp_path):
    save_file({"a": torch.ones(2)}, str(tmp_path / "model-00001-of-00002.safetensors"))
    save_file({"b": torch.zeros(2)}, str(tmp_path / "model-00002-of-00002.safetensors"))
    places = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    version, found = read_weights(9, f"file:{tmp_path}")
    assert (version, sorted(found)) == (9, ["a", "b"])


def test_addresses_that_lead_nowhere_are_refused(tmp_path):
    with pytest.raises(UsageError, match="shm:NAME"):
        read_weights(1, "ftp:x")
    with pytest.raises(WeightsUnavailable, match="no longer"):  # it may have been removed while the run goes on
        read_weights(1, "file:/nowhere")
    (tmp_path / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(UsageError, match="cannot read"):
        read_weights(1, f"file:{tmp_path}")


def test_a_reader_that_stays_uses_its_memory_again_and_notices_a_new_ring(name):
    reader = RingReader()
    publisher = RingPublisher(name)
    source = publisher.publish(1, tensors(1))
    _, first = reader(1, source)
    publisher.publish(2, tensors(2))
    version, second = reader(2, source)
    assert (version, second["a"][0, 0].item()) == (2, 2.0)
    assert first["a"].data_ptr() == second["a"].data_ptr()
    RingPublisher(name).publish(3, tensors(3, size=10))
    version, third = reader(3, source)
    assert (version, len(third["a"]), third["c"].item()) == (3, 10, 3)
    weights.ring_path(name).unlink()
    with pytest.raises(WeightsUnavailable, match="no ring"):
        reader(3, source)


@pytest.mark.parametrize("size", [0, 8, 64, weights.PIECE_BYTES - 8, weights.PIECE_BYTES + 72])
def test_the_sum_of_a_copy_is_that_of_its_words(size):
    source = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    target = np.zeros(size + 64, np.uint8)
    total = weights.copy_and_sum(source, target)
    assert np.array_equal(target[:size], source)
    assert total % 2**64 == int(target.view(np.uint64).astype(object).sum()) % 2**64
