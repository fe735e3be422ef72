from collections import Counter

import pytest

from buffers.errors import UsageError
from buffers.prompts import Frontier, Lesson, PromptConfig, Prompts, digest_prompts, make_prompts
from buffers.rows import LevelRow, PromptRow, SuccessRow
from buffers.segment import Ghost


def prompts(config: PromptConfig, count: int = 4, difficulties: list[float] | None = None) -> Prompts:
    result = Prompts(config, seed=1)
    labels = difficulties or [0.0] * count
    result.load(PromptRow(n, Ghost(n + 1, n), "", label) for n, label in enumerate(labels))
    return result


def draw_many(source: Prompts, count: int, version: int = 0, drawn: int = 0, position: int = 0) -> list[int]:
    result = []
    for number in range(count):
        one = source.draw(version, drawn + number, position)
        position = one.position
        result.append(one.prompt)
    return result


def test_prompts_are_drawn_in_proportion_to_one_minus_success() -> None:
    source = prompts(PromptConfig(decay=1.0, strength=0.0, prior=0.0, floor=0.0))
    source.learn(0, [1.0] * 10)
    source.learn(1, [1.0] * 5 + [0.0] * 5)
    source.learn(2, [0.0] * 10)
    source.learn(3, [1.0] * 9 + [0.0])
    share = Counter(draw_many(source, 8000))
    for prompt, weight in enumerate([0.0, 0.5, 1.0, 0.1]):
        assert share[prompt] / 8000 == pytest.approx(weight / 1.6, abs=0.02)


def test_a_floor_keeps_solved_prompts_and_without_it_an_all_solved_set_is_uniform() -> None:
    floored = prompts(PromptConfig(decay=1.0, strength=0.0, floor=0.1), count=2)
    floored.learn(0, [1.0] * 4)
    floored.learn(1, [0.0] * 4)
    assert Counter(draw_many(floored, 4000))[0] / 4000 == pytest.approx(0.1 / 1.1, abs=0.02)
    solved = prompts(PromptConfig(decay=1.0, strength=0.0, floor=0.0))
    solved.draw(0, 0, 0)
    for prompt in range(4):
        solved.learn(prompt, [1.0, 1.0])
    share = Counter(draw_many(solved, 4000))
    assert all(share[prompt] / 4000 == pytest.approx(0.25, abs=0.03) for prompt in range(4))
    solved.learn(2, [0.0])
    assert set(draw_many(solved, 100)) == {2}


def test_the_success_rate_begins_at_the_prior_and_forgets_by_decay() -> None:
    source = Prompts(PromptConfig(prior=0.4, strength=2.0, decay=0.5), 1)
    source.load([PromptRow(0, Ghost(1, 1), prior=0.9), PromptRow(1, Ghost(1, 1))])
    assert source.success_rate(0) == pytest.approx(0.9)
    assert source.success_rate(1) == pytest.approx(0.4)
    source.learn(1, [1.0, 1.0])
    assert source.success_rate(1) == pytest.approx((2 + 2 * 0.4) / (2 + 2))
    row = source.learn(1, [0.0, 0.0])
    assert row == SuccessRow(1, 3.0, 1.0)
    assert source.success_rate(1) == pytest.approx((1 + 2 * 0.4) / (3 + 2))


def test_passes_take_each_prompt_once_a_pass_in_changing_order() -> None:
    source = prompts(PromptConfig(order="passes"), count=20)
    drawn = draw_many(source, 40)
    assert sorted(drawn[:20]) == sorted(drawn[20:]) == list(range(20))
    assert drawn[:20] != drawn[20:]


@pytest.mark.parametrize("order", ["success", "uniform", "passes"])
def test_a_restarted_set_goes_on_at_exactly_the_same_place(order: str) -> None:
    config = PromptConfig(order=order)  # type: ignore[arg-type]
    first = prompts(config, count=7)
    draw_many(first, 5)
    first.learn(2, [1.0, 0.0])
    again = Prompts(config, seed=1)
    again.load([PromptRow(n, Ghost(n + 1, n)) for n in range(7)], first.success)
    position = 0
    for number in range(5):
        position = first.draw(0, number, position).position
    assert draw_many(again, 30, 0, 5, position) == draw_many(first, 30, 0, 5, position)


def test_a_curriculum_draws_only_from_the_lesson_of_the_version() -> None:
    lessons = (Lesson(2, high=1.0), Lesson(5, low=2.0))
    for order in ("success", "uniform", "passes"):
        source = prompts(PromptConfig(order=order, curriculum=lessons), difficulties=[0.0, 1.0, 2.0, 3.0])
        assert set(draw_many(source, 100, version=1)) == {0, 1, 2, 3}
        assert set(draw_many(source, 100, version=2)) == {0, 1}
        assert set(draw_many(source, 100, version=4)) == {0, 1}
        assert set(draw_many(source, 100, version=9)) == {2, 3}


def test_a_set_is_exhausted_after_its_epochs() -> None:
    source = prompts(PromptConfig(epochs=2), count=3)
    assert [source.exhausted(drawn) for drawn in (0, 5, 6)] == [False, False, True]
    assert not prompts(PromptConfig(), count=3).exhausted(10**9)
    assert Prompts(PromptConfig(), 1).exhausted(0)


def test_unusable_sets_and_settings_are_refused_with_their_name() -> None:
    with pytest.raises(UsageError, match=r"prompts\.order is 'random'"):
        PromptConfig(order="random")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"prompts\.decay is 1\.5"):
        PromptConfig(decay=1.5)
    with pytest.raises(UsageError, match="must rise"):
        PromptConfig(curriculum=(Lesson(5), Lesson(2)))
    with pytest.raises(UsageError, match="no prompt has a difficulty"):
        prompts(PromptConfig(curriculum=(Lesson(5, low=9.0),)))
    with pytest.raises(UsageError, match="number them"):
        Prompts(PromptConfig(), 1).load([PromptRow(1, Ghost(1, 1))])


def test_the_digest_tells_sets_apart() -> None:
    one = make_prompts([Ghost(3, 1), Ghost(3, 2)], ["a", "b"])
    assert digest_prompts(one) == digest_prompts(make_prompts([Ghost(3, 1), Ghost(3, 2)], ["a", "b"]))
    assert digest_prompts(one) != digest_prompts(make_prompts([Ghost(3, 1), Ghost(3, 2)], ["a", "c"]))
    assert digest_prompts(one) != digest_prompts(one[:1])


def climbing(**settings: float) -> Prompts:
    """Ten prompts of each difficulty 3, 4, 5 and 6, the frontier at 4."""
    labels = [float(difficulty) for difficulty in (3, 4, 5, 6) for _ in range(10)]
    frontier = Frontier(start=4.5, **settings)
    return prompts(PromptConfig(decay=0.9, frontier=frontier), difficulties=labels)


def test_no_prompt_beyond_the_frontier_is_drawn_until_the_frontier_is_solved() -> None:
    source = climbing(opens_at=0.65, least_tries=16)
    assert source.frontier == 4.0
    assert max(draw_many(source, 1000)) < 20
    for number in range(10):
        source.learn_level(number, [1.0] * 8)  # what is easier opens nothing
    source.learn_level(10, [1.0] * 8)  # too few tries
    source.learn_level(10, [0.0] * 8)
    source.learn_level(11, [1.0] * 5 + [0.0] * 3)
    assert source.frontier == 4.0
    source.learn_level(12, [1.0] * 8)
    assert source.frontier == 5.0
    assert {prompt // 10 for prompt in draw_many(source, 1000)} == {0, 1, 2}
    source.learn_level(12, [0.0] * 80)
    assert source.frontier == 5.0  # what is open stays open
    for prompt in (20, 21, 22, 30, 31, 32):
        source.learn_level(prompt, [1.0] * 8)
    assert source.frontier == 6.0
    assert not source.levels[3].passed  # nothing is harder


def test_prompts_of_one_difficulty_share_their_prior() -> None:
    source = climbing()
    draw_many(source, 1)
    row = source.learn(10, [1.0] * 4)
    level = source.learn_level(10, [1.0] * 4)
    assert (row.tries, level) == (4.0, LevelRow(1, 4.0, 4.0))
    assert source.success_rate(19) == 1.0  # never tried
    assert source.success_rate(0) == 0.5  # of a difficulty that was never tried
    share = Counter(prompt // 10 for prompt in draw_many(source, 4000))
    assert share[1] / 4000 == pytest.approx(0.01 / 0.51, abs=0.01)
    source.learn_level(10, [0.0] * 8)
    solved = 0.9 * 4 / (0.9 * 4 + 8)
    assert source.success_rate(19) == pytest.approx(solved)
    assert source.weight(19) == pytest.approx(1 - solved)


def test_a_restarted_frontier_draws_what_it_would_have_drawn() -> None:
    first = climbing(least_tries=8)
    for prompt, right in ((12, 8), (13, 6), (3, 8), (21, 4)):
        outcomes = [1.0] * right + [0.0] * (8 - right)
        first.learn(prompt, outcomes)
        first.learn_level(prompt, outcomes)
        draw_many(first, 3)
    again = Prompts(first.config, seed=1)
    again.load(first.rows, first.success, first.levels)
    assert again.frontier == first.frontier == 5.0
    assert draw_many(again, 200, drawn=40) == draw_many(first, 200, drawn=40)


def test_without_a_frontier_nothing_is_kept_by_difficulty() -> None:
    source = prompts(PromptConfig(), difficulties=[1.0, 2.0])
    assert source.learn_level(0, [1.0]) is None
    assert source.levels == []
    assert source.frontier is None


def test_a_frontier_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(UsageError, match=r"opens_at is 1\.5"):
        Frontier(3, opens_at=1.5)
    with pytest.raises(UsageError, match="least_tries is 0"):
        Frontier(3, least_tries=0)
    with pytest.raises(UsageError, match="leave one of them out"):
        PromptConfig(frontier=Frontier(3), curriculum=(Lesson(0),))
    with pytest.raises(UsageError, match=r"start is 2, the easiest prompt has difficulty 3\.0"):
        prompts(PromptConfig(frontier=Frontier(2)), difficulties=[3.0, 4.0])


def test_the_effective_share_is_one_for_even_leases_and_survives_a_restart() -> None:
    source = prompts(PromptConfig())
    assert source.effective_share == 0.0
    for prompt in (0, 1, 2, 3):
        source.lease(prompt)
    assert source.effective_share == 1.0
    for _ in range(4):
        source.lease(2)
    assert source.effective_share == 8**2 / (4 * (1 + 1 + 25 + 1))
    again = Prompts(PromptConfig(), seed=1)
    again.load(source.rows, source.success)
    assert again.effective_share == source.effective_share
