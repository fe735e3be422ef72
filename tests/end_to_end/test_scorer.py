"""The Reward port on real processes: events, answers that hang or kill, failures, closing."""

import queue
import time

import pytest

from buffers.errors import UsageError
from buffers.segment import token_arrays
from rewards.reward import Scored, ScoreJob, ScoringFailed
from rewards.scorer import Config, Scorer, check

WISH = "tests.unit.rewards.functions:score_by_wish"


def encode(text):
    ids = [ord(character) for character in text]
    return token_arrays(ids, [0.0] * len(ids))


def decode(ids):
    return "".join(chr(token) for token in ids)


def job(trajectory, response, answer="4", end="stop"):
    return ScoreJob(trajectory, 1, encode("2+2="), encode(response), answer, end)


@pytest.fixture
def start():
    scorers = []

    def start(config, decode=decode):
        events = queue.Queue()
        scorers.append(Scorer(config, decode, events.put))
        return scorers[-1], events

    yield start
    for scorer in scorers:
        scorer.close()


def test_jobs_are_scored_in_order_by_one_sandbox(start):
    scorer, events = start(Config(("exact", "answer_format", "repetition")))
    for index in range(20):
        scorer.score(job(index, rf"so \boxed{{{index % 5}}}"))
    found = [events.get(timeout=30) for _ in range(20)]
    assert [(event.trajectory, event.attempt) for event in found] == [(index, 1) for index in range(20)]
    assert [event.components["outcome"] for event in found] == [float(index % 5 == 4) for index in range(20)]
    assert found[0].components == {"outcome": 0.0, "format": 1.0, "repetition": 0.0}
    assert all(0 < event.seconds < 30 for event in found)


def test_an_answer_that_hangs_kills_or_raises_scores_zero_and_the_next_one_is_scored(start):
    scorer, events = start(Config((WISH, "answer_format"), seconds=0.6))
    for index, response in enumerate(["4", "hang", "4", "die", "raise", "4"]):
        scorer.score(job(index, response))
    found = [events.get(timeout=30) for _ in range(6)]
    assert all(isinstance(event, Scored) for event in found)
    assert [event.components["outcome"] for event in found] == [1, 0, 1, 0, 0, 1]
    assert [event.components.get("killed", 0.0) for event in found] == [0, 1, 0, 1, 0, 0]
    assert [event.components.get("raised", 0.0) for event in found] == [0, 0, 0, 0, 1, 0]
    assert all("format" in event.components for event in found)


def test_why_a_reward_failed_is_logged_once(start, caplog):
    scorer, events = start(Config((WISH, "answer_format")))
    for index in range(3):
        scorer.score(job(index, "raise"))
        events.get(timeout=30)
    (line,) = [record.message for record in caplog.records if "the reward failed (raised)" in record.message]
    assert "such a response counts as wrong" in line


def test_one_hanging_answer_does_not_hold_up_another_sandbox(start):
    scorer, events = start(Config((WISH,), seconds=5.0, workers=2))
    scorer.score(job(0, "4"))
    assert events.get(timeout=30).trajectory == 0
    scorer.score(job(1, "hang"))
    begin = time.monotonic()
    for index in range(2, 12):
        scorer.score(job(index, "4"))
    assert [events.get(timeout=4).trajectory for _ in range(10)] == list(range(2, 12))
    assert time.monotonic() - begin < 5


def test_tokens_that_cannot_be_decoded_are_a_failure_of_the_infrastructure(start):
    scorer, events = start(Config(), decode=lambda ids: [][0])
    scorer.score(job(7, "4"))
    failed = events.get(timeout=30)
    assert isinstance(failed, ScoringFailed)
    assert (failed.trajectory, failed.attempt) == (7, 1)
    assert "IndexError" in failed.reason


def test_nothing_is_emitted_after_close(start):
    scorer, events = start(Config((WISH,), seconds=30.0))
    for index in range(50):
        scorer.score(job(index, "hang"))
    time.sleep(0.1)
    begin = time.monotonic()
    scorer.close()
    scorer.close()
    assert time.monotonic() - begin < 3
    time.sleep(0.2)
    assert events.empty()


@pytest.mark.parametrize(
    "config",
    [
        Config(("exat",)),
        Config(("nowhere:score",)),
        Config(("exact",), {"exact": {"x": 1}}),
        Config(("answer_format",)),
    ],
)
def test_bad_rewards_show_themselves_at_once(config):
    with pytest.raises(UsageError):
        check(config)
    with pytest.raises(UsageError):
        Scorer(config, decode, lambda event: None)


@pytest.mark.parametrize("keys", [{"workers": 0}, {"seconds": 0.0}, {"memory_bytes": 1}])
def test_limits_under_which_nothing_can_be_scored_are_refused(keys):
    with pytest.raises(UsageError, match="scorer: workers = "):
        Config(**keys)
