"""The supervised warm-up's course: phases, exams, batches. (That it teaches is shown by running it.)"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from policies import warmup
from policies.tokens import character_tokenizer, decode
from policies.warmup import Config, Exam, Report, batches, digest, forced_accuracy, warm_up

CODEC = character_tokenizer()
EXAM = Exam((("a=", "1"), ("b=", "2")), ">", max_tokens=4)
SHORT = Config(batch=4, exam_from=2, exam_every=2, most_steps=6, steps_b=1, rounds=2, growth_steps=2)


class Lesson:
    """Says which kinds and lengths it was asked for; its outcomes are scripted."""

    def __init__(self, outcome=0.0, mark="x"):
        self.asked, self.result, self.mark = [], outcome, mark

    def trace(self, rng, mix, longest):
        self.asked.append((tuple(mix), longest))
        return "a" * int(rng.integers(1, 5)) + "=", "#" + self.mark * int(rng.integers(0, longest)) + "$"

    def outcome(self, response, answer):
        assert response.startswith(">")
        return self.result


def run(lesson, config=SHORT):
    lines = []
    model, report = warm_up(lesson, EXAM, CODEC, config, lines.append)
    return model, report, lines


def test_a_passed_exam_ends_each_phase_at_once():
    _, report, lines = run(Lesson(outcome=1.0))
    assert report == Report(steps=2, passed=True, planted=1.0, forced=1.0, rounds=1)
    assert len(lines) == 2


def test_a_failed_exam_goes_on_to_the_cap_and_repeats_the_second_phase():
    _, report, _ = run(Lesson(outcome=0.0))
    assert report == Report(steps=6, passed=False, planted=0.0, forced=0.0, rounds=2)


def test_an_ability_that_failed_its_exam_is_taught_on_before_it_is_hidden():
    passed, failed = Lesson(outcome=1.0), Lesson(outcome=0.0)
    run(passed)
    run(failed)
    kinds = [[mix for mix, _ in lesson.asked] for lesson in (passed, failed)]
    order = [[mix for at, mix in enumerate(asked) if at == 0 or asked[at - 1] != mix] for asked in kinds]
    assert order[0] == [SHORT.mix_a, SHORT.mix_b]
    assert order[1] == [SHORT.mix_a, SHORT.mix_b] * 2


def test_problems_grow_and_the_mix_changes_with_the_phase():
    lesson = Lesson(outcome=0.0)
    run(lesson)
    assert lesson.asked[0] == (SHORT.mix_a, SHORT.easiest)
    assert lesson.asked[-1] == (SHORT.mix_b, SHORT.hardest)


def test_the_result_is_a_function_of_the_seed():
    first, again, other = (
        run(Lesson(), Config(seed=seed, batch=4, exam_from=9, most_steps=3, steps_b=2, rounds=1))[0].state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["lm_head.weight"], other["lm_head.weight"])


def test_only_responses_are_learned():
    source = batches(Lesson(), CODEC, np.random.default_rng(0), SHORT, lambda: ((1.0,), 6, 8))
    for _ in range(10):
        ids_BT, mask_BT, positions_BT = next(source)
        assert positions_BT is None
        for ids, mask in zip(ids_BT.numpy(), mask_BT.numpy(), strict=True):
            response = decode(CODEC, ids[mask > 0])
            prompt = decode(CODEC, ids[: int(mask.argmax())])
            assert set(prompt[:-1]) == {"a"}
            assert prompt[-1] == "="
            assert response[0] == "#"
            assert response[-1] == "$"
            assert not ids[len(prompt) + len(response) :].any()


def test_a_pool_is_sorted_so_that_little_is_padded():
    sorted_share, mixed_share = (
        np.mean([float((next(source).ids_BT > 0).float().mean()) for _ in range(32)])
        for source in (
            batches(Lesson(), CODEC, np.random.default_rng(0), SHORT, lambda: ((1.0,), 60, 8)),
            batches(Lesson(), CODEC, np.random.default_rng(0), SHORT, lambda: ((1.0,), 60, 1)),
        )
    )
    assert sorted_share > 0.8 > mixed_share


class Jointed(Lesson):
    """Its prompts have a joint after each letter."""

    def joints(self, prompt, response):
        return range(1, len(prompt))


def test_positions_skip_at_joints_only_by_as_much_as_allowed_and_as_often_as_asked():
    config = replace(SHORT, skip_share=0.3, skip_most=5)
    source = batches(Jointed(), CODEC, np.random.default_rng(0), config, lambda: ((1.0,), 6, 8))
    at_joints = []
    for _ in range(200):
        ids_BT, mask_BT, positions_BT = next(source)
        assert positions_BT.dtype == torch.int64
        assert not positions_BT[:, 0].any()
        steps_BT = positions_BT.diff(dim=1)
        prompt_BT = (mask_BT[:, 1:] == 0) & (ids_BT[:, 1:] > 0)
        assert (steps_BT[~prompt_BT] == 1).all()
        at_joints += steps_BT[prompt_BT].tolist()
    assert set(at_joints) == {1, 2, 3, 4, 5, 6}
    assert np.mean(np.array(at_joints) > 1) == pytest.approx(0.3, abs=0.03)


def test_forced_accuracy_is_the_share_of_right_answers():
    class Half(Lesson):
        def outcome(self, response, answer):
            return float(answer == "1")

    model, _, _ = run(Lesson(outcome=1.0))
    assert forced_accuracy(model, Half(), CODEC, EXAM) == 0.5


def test_the_rate_of_the_first_phase_rises_stays_and_falls_to_a_fifth():
    config = Config()
    scales = [warmup._scale_a(step, config) for step in (0, 49, 100, 250, 475, 700, 899)]
    assert scales == pytest.approx([0.02, 1.0, 1.0, 1.0, 0.6, 0.2, 0.2])


def test_the_digest_tells_settings_exams_and_lessons_apart():
    names = {
        digest(Lesson(), EXAM, SHORT),
        digest(Lesson(mark="y"), EXAM, SHORT),
        digest(Lesson(), Exam(EXAM.problems, "#"), SHORT),
        digest(Lesson(), EXAM, Config()),
    }
    assert len(names) == 4
    assert digest(Lesson(), EXAM, SHORT) in names
