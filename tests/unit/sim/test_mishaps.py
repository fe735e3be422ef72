"""Faults of a scenario: their effect is seen, they are repaired, nothing is lost, bad ones are named."""

from dataclasses import replace
from pathlib import Path

import pytest

from cli.main import main
from cli.simulating import load
from sim.doubles.device import Cores, Share
from sim.kernel import Kernel
from sim.mishaps import Mishap
from sim.outcome import run
from sim.scenario import Simulation

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "sim" / "faults.toml"
SMALL = ["schedule.batch=64", "schedule.versions=6", "schedule.eta=1", "gpus=8", "generator_gpus=4"]


def befallen(*faults):
    """The small scenario with these faults: (simulation, outcome)."""
    simulation = Simulation(replace(load(EXAMPLE, [*SMALL, "faults=[]"]), faults=faults), codec=False, keep=True)
    found = run(simulation, lambda: 0.0)
    account = found.ledger
    assert found.outcome == "finished"
    assert account["trained"] == 6 * 64
    assert account["opened"] == account["trained"] + account["evicted"] + account["failed"] + account["in_flight"]
    return simulation, found


@pytest.fixture(scope="module")
def spared():
    return befallen()


def stored_by(simulation, name, begin_s, end_s):
    """How many segments of a generator were stored in a span of time."""
    holder, count = {}, 0
    for one in simulation.world.decisions:
        if one.kind == "dispatch":
            holder[one.fields[0]] = one.fields[2]
        elif one.kind == "store" and begin_s * 1e9 < one.at_ns < end_s * 1e9:
            count += holder[one.fields[0]] == name
    return count


def test_a_crashed_actor_is_back_when_its_machine_is(spared):
    simulation, found = befallen(Mishap("crash", "generator-0001", 30.0, 50.0))
    assert spared[1].deaths == 0
    assert found.deaths == 1
    assert found.simulated_s > spared[1].simulated_s
    assert stored_by(simulation, "generator-0001", 0, 29) > 0
    assert stored_by(simulation, "generator-0001", 30.1, 80) == 0
    assert stored_by(simulation, "generator-0001", 80, 1e9) > 0


def test_a_slow_device_does_less_while_it_is_slow(spared):
    simulation, found = befallen(Mishap("slow", "generator-0001", 0.0, 100.0, factor=3.0))
    assert 0 < stored_by(simulation, "generator-0001", 0, 100) < 0.6 * stored_by(spared[0], "generator-0001", 0, 100)
    assert found.simulated_s > spared[1].simulated_s


@pytest.mark.parametrize("target", ["learner", "rewarder-00"])
def test_the_trainer_and_rewarders_can_be_slow_too(spared, target):
    _, found = befallen(*(Mishap("slow", target, 0.0, 1e5, factor=1000.0 if target != "learner" else 3.0),))
    assert found.simulated_s > 1.05 * spared[1].simulated_s


def test_nothing_comes_over_a_partition_until_it_is_healed(spared):
    simulation, _ = befallen(Mishap("partition", "generator-0001,generator-0002", 20.0, 40.0))
    for name in ("generator-0001", "generator-0002"):
        assert stored_by(spared[0], name, 20.1, 60) > 0
        assert stored_by(simulation, name, 20.1, 60) == 0
        assert stored_by(simulation, name, 60, 1e9) > 0


@pytest.mark.parametrize("verb", ["pause", "drop", "delay"])
def test_other_faults_are_survived(spared, verb):
    _, found = befallen(Mishap(verb, "generator-0001", 20.0, 30.0, share=0.5))
    assert found.digest != spared[1].digest


def test_a_throttled_host_works_at_a_share_of_its_speed():
    """Ten seconds of work, at half speed from the second to the sixth: it takes twelve."""
    kernel, ended = Kernel(), []

    class Clock:
        name = "c"
        now = staticmethod(lambda: kernel.now)
        call_later = staticmethod(lambda delay, call, argument: kernel.call_at(kernel.now + delay, 0, call, argument))
        cancel = staticmethod(kernel.cancel)

    kernel.code("c")
    host = Cores(1)
    share = Share(host, Clock)
    share.busy(True)
    share.call_at(share.now() + 10e9, lambda _: ended.append(kernel.now), None)
    kernel.call_at(2_000_000_000, 0, lambda _: host.throttle(kernel.now, 0.5))
    kernel.call_at(6_000_000_000, 0, lambda _: host.throttle(kernel.now, 1.0))
    kernel.run()
    assert ended == [12_000_000_000]


def test_the_example_runs_and_tells_of_its_faults(capsys):
    assert main(["simulate", str(EXAMPLE)]) == 0
    out = capsys.readouterr().out
    assert "trained 2,048" in out
    assert "1 deaths" in out


@pytest.mark.parametrize(
    ("fault", "named"),
    [
        ('verb = "melt"\ntarget = "learner"\nat_s = 1\nfor_s = 1', "melt"),
        ('verb = "crash"\ntarget = "generator-0099"\nat_s = 1\nfor_s = 1', "faults[0].target = 'generator-0099'"),
        ('verb = "slow"\ntarget = "controller"\nat_s = 1\nfor_s = 1', "faults[0].target = 'controller'"),
        ('verb = "slow"\ntarget = "learner"\nat_s = 1\nfor_s = 1\nfactor = 0.5', "faults[0].factor"),
        ('verb = "crash"\ntarget = "learner"\nat_s = -1\nfor_s = 1', "faults[0].at_s"),
        ('verb = "crash"\ntarget = "learner"\nfor_s = 1', "at_s"),
        ('verb = "crash"\ntarget = "learner"\nat_s = 1\nfor_s = 1\nspeed = 2', "speed"),
    ],
    ids=["verb", "actor", "device", "factor", "negative", "missing", "unknown"],
)
def test_bad_faults_are_one_line_and_status_2(tmp_path, fault, named, capsys):
    path = tmp_path / "bad.toml"
    path.write_text(f'model = "qwen2.5-7b"\ngpus = 8\n\n[[faults]]\n{fault}\n')
    assert main(["simulate", str(path)]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    assert shown.err.startswith("error: ")
    assert shown.err.count("\n") == 1
    assert named in shown.err
