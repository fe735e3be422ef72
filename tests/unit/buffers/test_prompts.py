from collections import Counter

import pytest

from buffers.errors import UsageError
from buffers.prompts import Lesson, PromptConfig, Prompts, digest_prompts, make_prompts
from buffers.rows import PromptRow, SuccessRow
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
