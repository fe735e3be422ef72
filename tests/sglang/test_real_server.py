"""The SGLang engine with a real SGLang server (make test-sglang)."""

import os
import signal
import time

import pytest

from buffers.segment import check_segment, expand, ids_of
from policies.engine import EngineReport, Installed, JobFailed, SegmentDone

CLOSE = 1e-4
"""How far float32 log-probabilities of two implementations may be apart."""


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_log_probabilities_are_those_of_a_plain_forward_pass_before_and_after_an_update(desk, temperature):
    for _ in range(2):
        for trajectory in range(4):
            desk.job(trajectory, temperature)
        for _ in range(4):
            event = desk.next(SegmentDone)
            check_segment(event.segment)
            assert event.segment.versions == ((desk.version, 64),)
            assert desk.error(event, temperature) < CLOSE
        desk.update()


@pytest.mark.parametrize("transport", ["disk", "tensors", "group"])
@pytest.mark.parametrize("in_flight", ["retract", "abort"])
def test_updates_in_flight_label_every_token_with_the_weights_that_drew_it(guest, transport, in_flight):
    one = guest(transport=transport, in_flight=in_flight, stream=in_flight == "abort")
    one.update()  # senders start and groups are joined
    for trajectory in range(4):
        one.job(trajectory, most=300)
    time.sleep(0.3)
    stalls = [one.update().stall_s for _ in range(2)]
    print(f"{transport} {in_flight}: generation stood still for {max(stalls):.3f} s at most")
    mixed = 0
    for _ in range(4):
        event = one.next(SegmentDone)
        check_segment(event.segment)
        assert event.segment.length == 300
        assert one.error(event, 1.0) < CLOSE
        mixed += len(event.segment.versions) > 1
    assert mixed, "no update came between two tokens"


def test_a_resumed_trajectory_finds_its_prefix_cached(desk):
    while not desk.events.empty():
        desk.events.get_nowait()
    desk.job(40, most=100)
    prefix = ids_of(desk.next(SegmentDone).segment.payload).tolist()
    desk.next(EngineReport)
    desk.job(40, most=20, prefix=prefix, attempt=2)
    event = desk.next(SegmentDone)
    assert desk.error(event, 1.0, prefix) < CLOSE
    report = desk.next(EngineReport)
    assert report.cached_tokens >= 100
    assert report.prefill_tokens <= 5


def test_an_abort_returns_what_there_is(desk):
    desk.job(41, most=590)
    time.sleep(0.3)
    desk.engine.abort(41)
    event = desk.next(SegmentDone)
    assert event.segment.end == "cut"
    assert 0 < event.segment.length < 590
    assert desk.error(event, 1.0) < CLOSE


def test_an_id_outside_the_vocabulary_never_reaches_the_server(desk):
    pid = desk.engine.server.pid
    desk.job(42, prefix=[64, 64])
    assert "vocabulary has 64" in desk.next(JobFailed).reason
    desk.job(43)
    assert desk.next(SegmentDone).trajectory == 43
    assert desk.engine.server.pid == pid


@pytest.mark.timeout(600)
def test_a_killed_server_comes_back_and_the_segment_is_finished_by_weights_no_older(desk):
    version, pid = desk.version, desk.engine.server.pid
    desk.job(50, most=500)
    time.sleep(0.3)
    began = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    installed = desk.next(Installed, 400)
    print(f"a killed server was back after {time.monotonic() - began:.1f} s")
    assert installed.version == version
    event = desk.next(SegmentDone)
    assert desk.engine.server.pid != pid
    assert expand(event.segment.versions).tolist() == [version] * 500
    assert desk.error(event, 1.0) < CLOSE
