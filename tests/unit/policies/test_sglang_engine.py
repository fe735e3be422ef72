"""The SGLang engine at a scripted server with SGLang's API: what it asks and takes, and what it guards against."""

import base64
import queue
import time
from pathlib import Path

import numpy as np
import pytest

from buffers.errors import UsageError
from buffers.segment import check_segment, expand, ids_of, logps_of, token_arrays
from policies.engine import EngineFailed, EngineReport, Installed, InstallFailed, Job, JobFailed, Sampling, SegmentDone
from policies.engines.sglang.client import Answer, Meta, Span
from policies.engines.sglang.config import SGLangConfig
from policies.engines.sglang.engine import SGLangEngine
from policies.engines.sglang.jobs import Unusable, Work
from policies.engines.sglang.server import arguments
from policies.models import TinyConfig, save_model, tiny_model
from policies.repetition import RepetitionRule
from policies.tokens import character_tokenizer
from tests.unit.policies.scripted_sglang import ScriptedServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save_model(tiny_model(TinyConfig(), 0), character_tokenizer(), path)
    return str(path)


class Desk:
    """An engine at a scripted server, and what it reported."""

    def __init__(self, folder, log, **settings):
        self.server = ScriptedServer()
        self.events = queue.SimpleQueue()
        self.passed = []
        known = {"model": folder, "url": self.server.url, "log": str(log), "slots": 4, "context_tokens": 500}
        self.engine = SGLangEngine(SGLangConfig(**{**known, "repetition": False, **settings}), self.events.put)
        assert self.next(Installed).version == 0

    def next(self, kind, seconds=20):
        """The next event of a kind; others wait for whoever asks for theirs."""
        for event in self.passed:
            if isinstance(event, kind):
                self.passed.remove(event)
                return event
        deadline = time.monotonic() + seconds
        while True:
            event = self.events.get(timeout=max(0.01, deadline - time.monotonic()))
            if isinstance(event, kind):
                return event
            assert not isinstance(event, EngineFailed), event
            if not isinstance(event, EngineReport):
                self.passed.append(event)

    def job(self, trajectory, *prompt, most=10, **changes):
        settings = {"prefix": None, "start": 0, "max_response_tokens": 300, "sampling": Sampling(), **changes}
        self.engine.submit(Job(trajectory, 1, tokens(*prompt or (3, 1, 4)), max_tokens=most, **settings))

    def close(self):
        self.engine.close()
        self.server.close()


def tokens(*ids):
    return token_arrays(np.array(ids, np.int32), np.zeros(len(ids)))


@pytest.fixture
def desk(folder, tmp_path):
    desks = []

    def make(**settings):
        desks.append(Desk(folder, tmp_path / "log", **settings))
        return desks[-1]

    yield make
    for made in desks:
        made.close()


def test_an_attached_server_gets_version_0_whatever_it_had(desk, folder):
    server = desk().server
    assert server.version == "0"
    assert server.asked("/update_weights_from_disk")[0]["model_path"] == folder


@pytest.mark.parametrize("stream", [False, True])
def test_a_job_becomes_a_segment_with_ids_log_probabilities_and_versions(desk, stream):
    one = desk(stream=stream)
    one.job(5, 3, 1, 4, sampling=Sampling(0.7, 1.0, 0, (12,)))
    segment = one.next(SegmentDone).segment
    assert ids_of(segment.payload).tolist() == [8, 9, 10, 11, 12]
    assert logps_of(segment.payload) == pytest.approx([-0.09, -0.10, -0.11, -0.12, -0.13])
    assert (segment.end, segment.versions, segment.produced) == ("stop", ((0, 5),), ((1, 5),))
    check_segment(segment)
    asked = one.server.asked("/generate")[0]["sampling_params"]
    assert (asked["temperature"], asked["stop_token_ids"], asked["ignore_eos"]) == (0.7, [12], False)


def test_a_segment_is_cut_at_its_budget_and_goes_on_without_being_sent_its_prefix(desk):
    one = desk()
    one.job(5, most=3)
    first = one.next(SegmentDone).segment
    one.job(5, most=3, start=3, max_response_tokens=5)
    second = one.next(SegmentDone).segment
    assert (first.end, second.start, second.length, second.end) == ("cut", 3, 2, "length")
    assert one.server.asked("/generate")[1]["input_ids"] == [3, 1, 4, 8, 9, 10]
    assert one.next(EngineReport).cached_tokens > 0
    one.engine.forget(5)
    one.job(5, most=3, start=5)
    assert one.next(JobFailed).reason == "not cached"


@pytest.mark.parametrize("in_flight", ["retract", "abort"])
@pytest.mark.parametrize("stream", [False, True])
def test_an_update_goes_in_between_two_tokens_of_what_runs(desk, folder, in_flight, stream):
    one = desk(in_flight=in_flight, stream=stream)
    one.job(1, most=200)
    time.sleep(0.15)
    one.engine.install(7, f"file:{folder}")
    assert one.next(Installed).version == 7
    segment = one.next(SegmentDone).segment
    versions = expand(segment.versions).tolist()
    assert (segment.length, set(versions)) == (200, {0, 7})
    assert versions == sorted(versions)
    check_segment(segment)
    assert one.server.asked("/pause_generation") == [{"mode": in_flight}]
    assert len(one.server.asked("/generate")) == (1 if in_flight == "retract" else 2)
    assert one.server.asked("/update_weights_from_disk")[-1]["flush_cache"] is True


def test_a_version_that_is_not_newer_is_confirmed_without_an_update(desk, folder):
    one = desk()
    one.engine.install(0, f"file:{folder}")
    assert one.next(Installed).stall_s == 0.0
    assert len(one.server.asked("/update_weights_from_disk")) == 1


@pytest.mark.parametrize("fault", ["refuses_updates", "ignores_updates"])
def test_an_update_that_the_server_does_not_confirm_fails_and_generation_goes_on(desk, folder, fault):
    one = desk()
    setattr(one.server, fault, True)
    one.engine.install(3, f"file:{folder}")
    assert one.next(InstallFailed).version == 3
    one.job(1)
    assert one.next(SegmentDone).segment.versions == ((0, 10),)


def test_weights_that_are_nowhere_fail_the_install_alone_and_the_log_says_why(desk, caplog):
    one = desk()
    one.engine.install(3, "shm:no-such-ring")
    reason = one.next(InstallFailed).reason
    assert "no ring" in reason
    assert f"version 3 is not installed: {reason}" in caplog.messages
    assert one.server.asked("/pause_generation") == []


def test_tensors_go_in_between_begin_and_end(desk, folder):
    one = desk(transport="tensors")
    one.engine.install(4, f"file:{folder}")
    assert one.next(Installed, 60).version == 4
    paths = [path for path, _ in one.server.calls if "weight" in path]
    assert paths[-3:] == ["/begin_weight_update", "/update_weights_from_tensor", "/end_weight_update"]
    (handles,) = one.server.asked("/update_weights_from_tensor")[-1]["serialized_named_tensors"]
    assert b"rebuild_storage_filename" in base64.b64decode(handles), "handles of the default strategy kill a scheduler"


def test_a_refused_broadcast_costs_the_sender_its_life_and_neither_the_engine_nor_its_jobs(desk, folder):
    one = desk(transport="group", update_s=30.0)
    sender = one.engine._transport._sender.pid
    one.server.refuses_updates = True
    one.job(1, most=200)
    began = time.monotonic()
    one.engine.install(3, f"file:{folder}")
    assert "no weights from you" in one.next(InstallFailed, 25).reason
    assert time.monotonic() - began < 25, "it waited for its own side of the broadcast, which nobody answers"
    assert one.next(SegmentDone).segment.versions == ((0, 200),)
    assert not Path(f"/proc/{sender}").exists()


def test_a_group_that_the_server_never_joins_is_given_up_in_time(folder, tmp_path):
    server, events = ScriptedServer(), queue.SimpleQueue()
    server.joins = False
    settings = {"context_tokens": 500, "transport": "group", "update_s": 3.0, "restarts": 0}
    engine = SGLangEngine(SGLangConfig(folder, server.url, log=str(tmp_path / "log"), **settings), events.put)
    try:
        event = events.get(timeout=40)
        while isinstance(event, EngineReport):
            event = events.get(timeout=40)
        assert isinstance(event, EngineFailed)
        assert "did not answer in 3 s" in event.reason or "TimeoutError" in event.reason
    finally:
        engine.close()
        server.close()


@pytest.mark.parametrize(
    ("prompt", "changes", "reason"),
    [
        ((3, 64), {}, "vocabulary has 64"),
        ((3, -1), {}, "vocabulary has 64"),
        ((3,), {"max_response_tokens": 500}, "exceed context 500"),
        ((3,), {"sampling": Sampling(-1.0)}, "out of range"),
    ],
)
def test_what_could_kill_the_server_is_not_sent(desk, prompt, changes, reason):
    one = desk()
    one.job(1, *prompt, **changes)
    assert reason in one.next(JobFailed).reason
    assert one.server.asked("/generate") == []


def test_names_of_requests_are_never_used_twice_and_a_trajectory_runs_once(desk):
    one = desk()
    for _ in range(3):
        one.job(1)
        one.job(1)
        assert one.next(JobFailed).reason == "has a job already"
        one.next(SegmentDone)
        one.engine.forget(1)
    rids = [body["rid"] for body in one.server.asked("/generate")]
    assert len(set(rids)) == len(rids) == 3
    assert all(rid.endswith(".") for rid in rids), "an abort ends every request whose name begins so"


def test_an_abort_ends_a_job_with_what_it_has_and_a_waiting_one_with_nothing(desk):
    one = desk(slots=1)
    one.job(1, most=250)
    one.job(2)
    time.sleep(0.1)
    one.engine.abort(2)
    waiting = one.next(SegmentDone)
    one.engine.abort(1)
    running = one.next(SegmentDone)
    assert (waiting.trajectory, waiting.segment.length, waiting.segment.end) == (2, 0, "cut")
    assert (running.trajectory, running.segment.end) == (1, "cut")
    assert 0 < running.segment.length < 250


def test_jobs_that_begin_together_are_one_call_and_end_each_in_its_time(desk):
    one = desk(together_s=0.01)
    one.job(1, most=200)
    one.job(2, most=10)
    one.job(3, most=250)
    short = one.next(SegmentDone)
    one.engine.abort(3)
    ended = [one.next(SegmentDone) for _ in range(2)]
    assert (short.trajectory, short.segment.length) == (2, 10)
    assert [event.trajectory for event in ended] == [3, 1]
    assert ended[0].segment.length < 200 == ended[1].segment.length
    (call,) = one.server.asked("/generate")
    assert [len(call[key]) for key in ("rid", "input_ids", "sampling_params")] == [3, 3, 3]
    assert one.server.most_at_once == 3


def test_who_is_refused_together_with_others_is_asked_for_alone(desk):
    one = desk(together_s=0.01)
    one.server.longest = 5
    for trajectory, prompt in enumerate(([3], [3] * 9, [4])):
        one.job(trajectory, *prompt)
    assert "Input is too long" in one.next(JobFailed).reason
    assert {one.next(SegmentDone).trajectory for _ in range(2)} == {0, 2}
    together, *alone = one.server.asked("/generate")
    assert {body["rid"] for body in alone} == {f"{rid}again." for rid in together["rid"]}


def test_jobs_of_one_call_outlive_its_connection(desk):
    one = desk(together_s=0.01)
    for trajectory in range(3):
        one.job(trajectory, most=40)
    time.sleep(0.05)
    one.server.drop_connections()
    assert one.next(Installed).version == 0
    assert {one.next(SegmentDone).segment.length for _ in range(3)} == {40}


def test_no_more_than_the_slots_run_at_once(desk):
    one = desk(slots=2)
    for trajectory in range(6):
        one.job(trajectory)
    assert {one.next(SegmentDone).trajectory for _ in range(6)} == set(range(6))
    assert one.server.most_at_once == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_job_outlives_the_connection_and_the_server_gets_its_version_again(desk, folder, stream):
    one = desk(stream=stream)
    one.engine.install(6, f"file:{folder}")
    one.next(Installed)
    one.job(1, most=60)
    time.sleep(0.1)
    one.server.version = "0"  # as one that was started again would have
    one.server.drop_connections()
    assert one.next(Installed).version == 6
    segment = one.next(SegmentDone).segment
    assert (segment.length, segment.versions) == (60, ((6, 60),))
    resent = one.server.asked("/generate")[1]["input_ids"]
    assert (len(resent) > 3) == stream, "a stream keeps what had come"


def test_a_loop_ends_the_response_where_the_rule_says(folder):
    work = Work(Job(1, 1, tokens(5), None, 0, 100, 100, Sampling()), [5], 1)
    work.call("a", 0)
    out = [9] * 60
    logps = [(-0.5, 9, None)] * 60
    work.take(Answer(out, Meta({"type": "length"}, logps, [Span("0", 0, 40), Span("1", 40, 60)])))
    assert work.loops_at(RepetitionRule(), 0) == 48
    work.cut_to(48)
    assert (len(work.logps), work.runs) == (48, [(0, 40), (1, 8)])


@pytest.mark.parametrize(
    ("spans", "logps", "words"),
    [
        (None, [(-1.0, 4, None)], "names no version"),
        ([Span("default", 0, 1)], [(-1.0, 4, None)], "no version of this run"),
        ([Span("0", 1, 2)], [(-1.0, 4, None)], "versions are named for"),
        ([Span("0", 0, 1)], [(-1.0, 5, None)], "not of the same tokens"),
        ([Span("0", 0, 1)], [(None, 4, None)], "not of the same tokens"),
    ],
)
def test_an_answer_that_contradicts_itself_is_refused(spans, logps, words):
    work = Work(Job(1, 1, tokens(5), None, 0, 9, 9, Sampling()), [5], 1)
    work.call("a", 0)
    with pytest.raises(Unusable, match=words):
        work.take(Answer([4], Meta({"type": "length"}, logps, spans)))


def test_nothing_is_emitted_after_close(desk):
    one = desk()
    one.job(1, most=250)
    one.engine.close()
    one.engine.close()
    while not one.events.empty():
        one.events.get_nowait()
    time.sleep(0.05)
    assert one.events.empty()


def test_a_server_that_cannot_be_started_fails_the_engine_with_its_last_words(folder, tmp_path):
    events = queue.SimpleQueue()
    config = SGLangConfig(model=folder, log=str(tmp_path / "log"), context_tokens=500, restarts=0)
    engine = SGLangEngine(config, events.put)  # this interpreter has no SGLang
    try:
        event = events.get(timeout=60)
        while isinstance(event, EngineReport):
            event = events.get(timeout=60)
        assert isinstance(event, EngineFailed)
        assert "sglang" in event.reason
    finally:
        engine.close()


def test_a_server_s_helper_that_keeps_the_output_open_holds_nobody_up(folder, tmp_path):
    shell = tmp_path / "python"
    shell.write_text("#!/bin/sh\nsleep 300 &\necho $! > $0.helper\necho out of memory\nexit 7\n")
    shell.chmod(0o700)
    events = queue.SimpleQueue()
    settings = {"python": str(shell), "log": str(tmp_path / "log"), "context_tokens": 500, "restarts": 0}
    engine = SGLangEngine(SGLangConfig(model=folder, **settings), events.put)
    try:
        event = events.get(timeout=60)
        while isinstance(event, EngineReport):
            event = events.get(timeout=60)
        assert isinstance(event, EngineFailed)
        assert "out of memory (more in" in event.reason
        helper = int(Path(f"{shell}.helper").read_text())
        until = time.monotonic() + 10
        while alive(helper):
            assert time.monotonic() < until, "what the server has left behind still runs"
            time.sleep(0.05)
    finally:
        engine.close()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_line_follows_the_recipe_on_a_cpu():
    words = arguments(SGLangConfig(model="m", arguments=("--tp-size", "2")), 31000)
    assert "torch_native" in words
    assert words[-2:] == ["--tp-size", "2"]
    assert "torch_native" not in arguments(SGLangConfig(model="m", device="cuda"), 31000)


@pytest.mark.parametrize("settings", [{"in_flight": "kill"}, {"transport": "mail"}, {"slots": 0}, {"url": "here"}])
def test_settings_that_make_no_sense_are_refused_by_name(settings):
    with pytest.raises(UsageError, match=f"sglang.{next(iter(settings))}"):
        SGLangConfig(**settings)
