"""Drawn lengths have the mean, the cap, the correlation and the drift that were asked for."""

from statistics import correlation, fmean

import msgspec
import pytest

from actors.eventlog import SUFFIX, EventLogWriter
from actors.kernel.backend import Decision
from buffers.errors import UsageError
from sim.costs.lengths import Lengths, censored_mean, read_lengths

MANY = range(1, 8001)
CAP = 8192


def drawn(lengths, cap=CAP):
    return [lengths.response_tokens(one, cap) for one in MANY]


def test_the_mean_is_the_one_asked_for_with_the_cap_included():
    """Within 3 %: the standard error of 8,000 draws in groups of 8 that correlate is about 1.5 %."""
    for capped in (0.0, 0.1):
        assert fmean(drawn(Lengths(2000, CAP, capped=capped))) == pytest.approx(2000, rel=0.03)


def test_a_share_reaches_the_cap():
    share = fmean(length == CAP for length in drawn(Lengths(2000, CAP, capped=0.1)))
    assert share == pytest.approx(0.1, abs=0.02)


def test_lengths_stay_between_one_and_the_cap_and_are_the_same_at_each_call():
    lengths = Lengths(500, 1000, sigma=2.0)
    first = drawn(lengths, 1000)
    assert min(first) >= 1
    assert max(first) == 1000
    assert drawn(lengths, 1000) == first
    assert drawn(msgspec.structs.replace(lengths, seed=1), 1000) != first


def test_members_of_a_group_have_their_share_of_the_variance_in_common():
    lengths = Lengths(500, 1 << 20, sigma=0.3, prompt_share=0.7)
    found = drawn(lengths, 1 << 20)
    assert correlation(found[0::8], found[1::8]) == pytest.approx(0.7, abs=0.08)
    assert correlation(found[0:-8:8], found[8::8]) == pytest.approx(0.0, abs=0.08)


def test_without_spread_every_length_is_the_mean():
    assert set(drawn(Lengths(777, CAP, sigma=0.0))) == {777}


def test_lengths_grow_by_the_period():
    found = drawn(Lengths(100, CAP, sigma=0.0, growth=0.5, period=2000))
    assert (found[0], found[2000], found[4000]) == (100, 150, 200)


def test_measured_lengths_are_drawn_evenly():
    found = drawn(Lengths(1, CAP, measured=(10, 20, 30, 40)))
    for length in (10, 20, 30, 40):
        assert found.count(length) / len(found) == pytest.approx(0.25, abs=0.03)


def test_prompts_spread_around_their_mean():
    found = [Lengths(1, 1, prompt=200).prompt_tokens(number) for number in range(2000)]
    assert fmean(found) == pytest.approx(200, rel=0.02)
    assert min(found) >= 100
    assert max(found) <= 300


def test_the_mean_of_a_cut_lognormal_is_between_its_limits():
    assert censored_mean(1.0, 0.5, 1 << 40) == pytest.approx(2.718281828 * 1.133148453, rel=1e-6)
    assert censored_mean(20.0, 0.5, 10) == pytest.approx(10.0, rel=1e-6)


def test_a_column_of_a_file_is_read_sorted(tmp_path):
    path = tmp_path / "trace.csv"
    path.write_text("id,output_length\n1,30\n2,10\n3,20\n")
    assert read_lengths(path, "output_length") == (10, 20, 30)


def test_a_jsonl_file_and_the_folder_of_a_run_are_read_as_they_are(tmp_path):
    """Of a run, the responses that ended: a cut one is a part."""
    path = tmp_path / "trace.jsonl"
    path.write_text('{"output_length": 30, "id": 1}\n{"output_length": 10, "id": 2}\n')
    assert read_lengths(path, "output_length") == (10, 30)
    with pytest.raises(UsageError, match="take one of output_length, id"):
        read_lengths(path, "length")
    (tmp_path / "events").mkdir()
    with pytest.raises(UsageError, match="no response that ended"):
        read_lengths(tmp_path, "")
    log = EventLogWriter(tmp_path / "events" / f"replay{SUFFIX}", "live", 0)
    for index, (start, count, end) in enumerate([(0, 24, "cut"), (24, 8, "stop"), (0, 5, "length")]):
        log.decision(Decision(index, "replay", 1, index, "store", (index, 1, start, count, end), "", 0))
    log.close()
    assert read_lengths(tmp_path, "") == (5, 32)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,n\n1,2\n", "no column"),
        ("output_length\nlong\n", "no number"),
        ("output_length\n0\n", "no lengths above 0"),
    ],
)
def test_a_file_without_lengths_is_one_clear_line(tmp_path, text, said):
    path = tmp_path / "trace.csv"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_lengths(path, "output_length")
