"""What a person sees while a run goes on: the board's numbers, the alarms, the view, plain lines, `braid top`."""

import json

import pytest
from rich.console import Console

from actors.generator import Generator
from actors.health import LIMITS
from actors.kernel.operations import NS
from actors.messages import Notes
from actors.roster import Beat, Pace, Roster
from actors.schedules.schedule import ScheduleConfig
from actors.sinks.metrics_file import MetricsFile
from cli.alarms import FIRST_S, alarms
from cli.board import Board
from cli.main import main
from cli.progress import Progress
from cli.top import Tail
from cli.view import clock, line, panel
from policies.engine import Installed, InstallFailed, Sampling
from tests.unit.actors.scene import Scene
from tests.unit.actors.test_generator import Engine


def board(*rows, versions=20, eta=3):
    made = Board(versions, eta)
    for at_s, actor, name, value in rows:
        made.take(actor, name, at_s, value)
    return made


RUN = [
    (0.0, "learner", "version", 0),
    (1.0, "evaluator", "eval_greedy", 0.1),
    (1.0, "evaluator", "eval_sampled", 0.2),
    (5.0, "generator-0", "busy_s", 5.0),
    (5.0, "generator-0", "decoded_tokens", 5000.0),
    (9.0, "learner", "update_s", 2.5),
    (9.0, "learner", "trained_tokens", 1000.0),
    (9.0, "learner", "reward", 0.625),
    (9.0, "learner", "response_tokens", 41.0),
    (9.0, "replay", "state_running", 77.0),
    (9.0, "replay", "evicted", 16.0),
    (10.0, "learner", "version", 5),
]


def test_time_left_follows_from_the_pace_so_far():
    assert board(*RUN).left_s == pytest.approx(30.0)
    assert board(*RUN[:1]).left_s is None
    assert [clock(seconds) for seconds in (5, 65, 3725)] == ["5 s", "1 min 05 s", "1 h 02 min"]


def test_rates_and_idle_shares_are_those_of_the_last_half_minute():
    one = board(*RUN)
    assert one.rate("decoded_tokens") == pytest.approx(500.0)
    assert one.idle_shares() == {"generator-0": pytest.approx(0.5), "learner": pytest.approx(0.75)}
    one.take("replay", "live", 100.0, 1.0)
    assert one.rate("decoded_tokens") == 0.0
    assert one.idle_shares()["learner"] == 1.0


def test_a_plain_line_tells_of_rates_once_there_are_any():
    assert line(board(*RUN[:1]), evaluated=False).endswith("version 0/20  starting")
    assert "generated 500/s  trained 100/s" in line(board(*RUN), evaluated=False)


def test_the_view_shows_what_matters():
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(panel(board(*RUN), "mine"))
    text = console.export_text()
    for shown in (
        "mine",
        "version 5/20",
        "30 s left",
        "0.200 sampled",
        "0.625",
        "41 tokens",
        "500 tokens/s",
        "running 77",
    ):
        assert shown in text
    assert "evicted 16" in text
    assert "the learner waits 75% of the time" in text


@pytest.mark.parametrize("version", [1, 20])
def test_a_learner_that_waits_is_no_alarm_at_first_or_after_the_last_version(version):
    assert alarms(board(*RUN, (10.0, "learner", "version", version))) == []


def test_waits_for_a_shared_card_are_shown_and_are_no_lack_of_responses():
    rows = [*RUN, (10.0, "learner", "card_wait_s", 4.0), (10.0, "learner", "card_held_s", 2.0)]
    assert board(*RUN).card_shares() == {}
    assert board(*rows).card_shares() == {"learner": pytest.approx(0.4)}
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(panel(board(*rows), "mine"))
    text = console.export_text()
    assert "learner 75% (40% for the card)" in text
    assert "the learner waits" not in text


@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_of_training_health_sounds_beyond_it_only_and_says_what_to_do(name):
    limit = LIMITS[name]
    within, beyond = (
        (1.01 * limit.least, 0.9 * limit.least) if limit.least > 0 else (0.99 * limit.most, limit.most + 0.01)
    )
    assert alarms(board(*[(1.0, "learner", name, within)] * limit.window)) == []
    (sentence,) = alarms(board(*[(1.0, "learner", name, beyond)] * limit.window))
    assert any(sign in sentence for sign in (";", ":"))


def test_weights_that_a_generator_could_not_read_are_told_until_it_reads_newer_ones():
    """By the generators' own numbers, on their way to the recorder."""
    watched, parts = Board(20), (Roster(supervisor="", recorder="recorder"), Pace(), ScheduleConfig(), Sampling())
    actors = {name: Scene(Generator(*parts, Engine())) for name in ("generator-0", "generator-1")}

    def told(actor, event):
        actors[actor].receive(event)
        actors[actor].receive(Beat())
        for name, at_ns, value in actors[actor].sent(Notes)[-1].rows:
            watched.take(actor, name, at_ns / NS, value)
        return alarms(watched)

    unread = "generator-0 could not read new weights; see its log in the run's folder"
    assert told("generator-0", InstallFailed(1, "no ring")) == [unread]
    assert told("generator-1", Installed(1, 0.1)) == [unread]
    assert told("generator-0", Installed(2, 0.1)) == []


def test_a_stall_long_answers_lost_and_failures_are_told():
    assert alarms(board(*RUN[:1], (2.0, "learner", "version", 2), (60.0, "replay", "live", 1.0)))[0].startswith(
        "no new"
    )
    lengths = [(0, "replay", "mean_ended_tokens", 50.0), (0, "replay", "mean_trained_tokens", 30.0)]
    assert alarms(board(*lengths)) == []  # what has no signal may be longer
    (bent,) = alarms(board(*lengths, (0, "replay", "evicted_tokens_age", 20.0)))
    assert "long answers are lost" in bent
    assert alarms(board((0, "replay", "failed", 8.0)))[0].startswith("8 responses failed")
    assert alarms(board((0, "replay", "failed", 0.0))) == []


@pytest.mark.parametrize("first", [[], [(100.0, "learner", "version", 0)]])
def test_a_run_that_never_comes_to_a_first_version_is_told(first):
    """Whether the learner has published what it began with or not; the clock of a resumed run begins late."""
    at_first = [(100.0, "replay", "live", 8.0), *first]
    assert alarms(board(*at_first, (100.0 + FIRST_S, "replay", "live", 8.0))) == []
    (stall,) = alarms(board(*at_first, (101.0 + FIRST_S, "replay", "live", 8.0)))
    assert "none since the start" in stall


class Clock:
    at_ns = 0

    def now(self):
        return self.at_ns


def test_without_a_terminal_there_are_plain_lines_and_each_alarm_once(capsys):
    ticking = Clock()
    progress = Progress({"schedule": {"versions": 9, "eta": 1}}, None, ticking)
    for second in (1, 4, 8):
        ticking.at_ns = second * 10**9
        progress.write("learner", (("version", ticking.at_ns, 1.0), ("skipped", ticking.at_ns, 1.0)))
    progress.close()
    lines = capsys.readouterr().out.splitlines()
    told = "version 1/9  generated 0/s  trained 0/s"
    assert [text.partition(":")[0] for text in lines] == [f"    3 s  {told}", "alarm", f"    7 s  {told}"]


def test_top_attaches_to_a_folder_and_reads_only_whole_lines(tmp_path, capsys):
    (tmp_path / "run.json").write_text(json.dumps({"schedule": {"versions": 20, "eta": 3}}))
    sink = MetricsFile({"run_dir": str(tmp_path)}, None, None)
    for at_s, actor, name, value in RUN:
        sink.write(actor, ((name, int(at_s * 1e9), value),))
    tail, watched = Tail(tmp_path / "metrics.jsonl"), Board(20)
    assert tail.feed(watched) == len(RUN)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"t": 11')
        file.flush()
        assert tail.feed(watched) == 0
        file.write(', "actor": "learner", "name": "version", "value": 6}\n')
    assert tail.feed(watched) == 1
    assert watched.version == 6
    assert main(["top", str(tmp_path), "--once"]) == 0
    assert "version 6/20" in capsys.readouterr().out
    assert main(["top", str(tmp_path / "nowhere")]) == 2
