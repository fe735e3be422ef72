"""Replay's own numbers: they agree with the ledger, and lengths are told once."""

import pytest

from actors.replay_charts import SIGNALS, Charts
from buffers.buffer import Buffer
from buffers.config import BufferConfig
from buffers.rows import PromptRow
from buffers.segment import Ghost, Segment
from tests.buffer_builders import config, filled, finish, opened


def ended(length):
    return Segment(0, Ghost(length, 1), ((0, length),), ((1, length),), "stop")


def a_scored_group(outcomes, no_signal="evict"):
    buffer = Buffer(BufferConfig(k=2, batch=2, max_response_tokens=64, no_signal=no_signal))
    buffer.load_prompts([PromptRow(number, Ghost(4, number), "") for number in range(4)])
    charts = Charts()
    buffer.hello(1, 0, ())
    buffer.open_groups(buffer.snapshot().epoch, 1, 1)
    for trajectory, (length, outcome) in enumerate(zip((30, 40), outcomes, strict=True), 1):
        charts.ended(buffer.append(trajectory, 1, ended(length)).length)
        buffer.score(trajectory, 2, {"outcome": outcome})
    return buffer, charts


def test_levels_are_those_of_the_ledger():
    buffer, charts = a_scored_group((1.0, 0.0))
    numbers = charts.levels(buffer)
    ledger = buffer.ledger()
    assert (numbers["opened"], numbers["eligible"], numbers["live"]) == (2, 2, 2)
    assert numbers["held_tokens"] == ledger.held_tokens > 0
    assert numbers["mean_ended_tokens"] == 35
    assert sum(numbers[f"state_{state}"] for state in ("queued", "running", "cut", "ended", "scored")) == 0


def test_lengths_are_told_once_by_what_became_of_them():
    buffer, charts = a_scored_group((1.0, 1.0))
    numbers = charts.levels(buffer)
    assert {name: value for name, value in numbers.items() if "(" in name} == {
        "length_ended(24,32]": 1.0,
        "length_ended(32,48]": 1.0,
        "length_evicted(24,32]": 1.0,
        "length_evicted(32,48]": 1.0,
    }
    assert numbers["evicted_tokens_no_signal"] == 70.0
    assert not [name for name in charts.levels(buffer) if "(" in name]


def test_uneven_use_of_the_prompts_shows():
    buffer, charts = a_scored_group((1.0, 0.0))
    buffer.lease(1, 1, 0)
    assert charts.levels(buffer)["effective_prompt_share"] == 1 / 4


def test_what_is_eligible_shows_its_priority():
    buffer, charts = a_scored_group((1.0, 0.0))
    (count,) = (value for name, value in charts.levels(buffer).items() if name.startswith("priority("))
    assert count == 1


@pytest.mark.parametrize("no_signal", ["train", "evict"])
def test_the_share_without_signal_is_of_all_that_were_scored_and_comes_with_enough_groups_behind_it(no_signal):
    buffer, charts, told = filled(config(batch=4 * SIGNALS, no_signal=no_signal)), Charts(), []
    for ordinal in range(1, 2 * SIGNALS + 1):
        first, second = opened(buffer, 1, ordinal)
        finish(buffer, first, 0.0)
        finish(buffer, second, float(ordinal % 4 == 0))
        if (share := charts.levels(buffer).get("no_signal_share")) is not None:
            told.append((ordinal, share))
    assert told == [(SIGNALS, 0.75), (2 * SIGNALS, 0.75)]
