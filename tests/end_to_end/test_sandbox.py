"""Processes that score and can be killed: limits of time and memory, crashes, replacement, nothing left behind."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from buffers.errors import UsageError
from rewards.sandbox import Killed, Limits, Raised, Returned, Sandbox, SandboxError

TARGET = "tests.unit.rewards.functions:build_misbehaving"
LIMITS = Limits(seconds=0.6, memory_bytes=1 << 30)


@pytest.fixture
def sandbox():
    box = Sandbox(TARGET, None, LIMITS)
    yield box
    box.close()


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] != "Z"


def pid_of(sandbox):
    return sandbox.call({"do": "pid"}).value


def test_values_go_in_and_out_whatever_the_function_prints(sandbox):
    value = {"do": "echo", "text": "ä\n" * 100_000, "numbers": [1, 2.5, None]}
    assert sandbox.call(value) == Returned(value)
    assert sandbox.call(value) == Returned(value)
    assert sandbox.starts == 1


def test_an_error_is_reported_and_the_worker_stays(sandbox):
    assert sandbox.call({"do": "raise"}) == Raised("KeyError: 'no such thing'")
    assert sandbox.call({"do": "exit"}) == Raised("SystemExit: 3")
    assert sandbox.starts == 1


@pytest.mark.parametrize("what", ["sleep", "compute"])
def test_a_call_that_takes_too_long_is_killed_and_the_worker_replaced(sandbox, what):
    first = pid_of(sandbox)
    begin = time.monotonic()
    assert sandbox.call({"do": what}) == Killed("time")
    assert 0.5 < time.monotonic() - begin < 3
    assert not alive(first)
    assert pid_of(sandbox) != first
    assert sandbox.starts == 2


def test_memory_is_bounded(sandbox):
    assert sandbox.call({"do": "memory"}) == Raised("MemoryError: ")


def test_a_call_that_kills_its_worker_twice_is_reported(sandbox):
    assert sandbox.call({"do": "die"}) == Killed("died")
    assert sandbox.starts == 2
    assert sandbox.call({"do": "echo"}) == Returned({"do": "echo"})


def test_a_worker_killed_from_outside_costs_nothing(sandbox, tmp_path):
    assert sandbox.call({"do": "die once", "path": str(tmp_path / "died")}) == Returned("second chance")
    first = pid_of(sandbox)
    os.kill(first, signal.SIGKILL)
    assert pid_of(sandbox) != first


def test_what_the_worker_started_dies_with_it(sandbox, tmp_path):
    path = tmp_path / "pid"
    assert sandbox.call({"do": "child", "path": str(path)}) == Killed("time")
    child = int(path.read_text())
    deadline = time.monotonic() + 5
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(child)


def test_closing_ends_a_running_call_at_once_and_leaves_no_process():
    sandbox = Sandbox(TARGET, None, Limits(seconds=30))
    first = pid_of(sandbox)
    outcome = []

    def call():
        try:
            outcome.append(sandbox.call({"do": "sleep"}))
        except SandboxError as error:
            outcome.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    time.sleep(0.2)
    begin = time.monotonic()
    sandbox.close()
    sandbox.close()
    thread.join(timeout=5)
    assert time.monotonic() - begin < 2
    assert outcome == ["the sandbox is closed"]
    assert not alive(first)
    with pytest.raises(SandboxError):
        sandbox.call({"do": "echo"})


def test_a_worker_whose_parent_is_gone_ends_by_itself(tmp_path):
    script = (
        "import os, sys; from rewards.sandbox import Sandbox, Limits;"
        f"box = Sandbox({TARGET!r}, None, Limits(seconds=0.5)); print(box.call({{'do': 'pid'}}).value, flush=True);"
        "import threading; threading.Timer(0.2, os.kill, (os.getpid(), 9)).start(); box.call({'do': 'compute'})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.getcwd()}
    )
    worker = int(done.stdout)
    deadline = time.monotonic() + 10
    while alive(worker) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(worker)


@pytest.mark.parametrize(
    "target", ["no_such_module:build", "math:nothing", "tests.unit.rewards.functions:fail_to_build"]
)
def test_a_function_that_cannot_be_built_is_a_failure_of_the_infrastructure(target):
    with pytest.raises(SandboxError, match=target):
        Sandbox(target, None, LIMITS).start()


def test_a_persons_mistake_in_the_build_comes_back_as_such():
    with pytest.raises(UsageError, match="no reward 'exat'; did you mean exact"):
        Sandbox("rewards.grading:build", {"rewards": ["exat"]}, LIMITS).start()
