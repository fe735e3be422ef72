"""A warm-up on the disk: made once, found again, never half."""

import torch

from policies import warmup
from policies.models import load_model
from policies.tokens import character_tokenizer, load_tokenizer
from policies.warmup import Config, Exam, digest, warm_up

CODEC = character_tokenizer()
EXAM = Exam((("a=", "1"), ("b=", "2")), ">", max_tokens=4)
SHORT = Config(batch=4, exam_from=2, exam_every=2, most_steps=6, steps_b=1, rounds=2, growth_steps=2)


class Lesson:
    """One trace, always right."""

    def __init__(self, outcome):
        self.result = outcome

    def trace(self, rng, mix, longest):
        return "a=", "#x$"

    def outcome(self, response, answer):
        return self.result


def test_a_warm_up_is_made_once_and_then_found(tmp_path):
    lesson = Lesson(outcome=1.0)
    folder, report, found = warmup.ensure(tmp_path, lesson, EXAM, CODEC, SHORT, lambda line: None)
    again, report_again, found_again = warmup.ensure(tmp_path, lesson, EXAM, CODEC, SHORT, lambda line: None)
    assert (found, found_again) == (False, True)
    assert report == report_again
    assert folder == again == tmp_path / digest(lesson, EXAM, SHORT)
    assert list(tmp_path.iterdir()) == [folder]
    expected, _ = warm_up(lesson, EXAM, CODEC, SHORT, lambda line: None)
    assert torch.equal(load_model(folder).lm_head.weight, expected.lm_head.weight)
    assert load_tokenizer(folder).get_vocab() == CODEC.get_vocab()


def test_what_an_interrupted_warm_up_left_is_not_taken_for_a_result(tmp_path):
    lesson = Lesson(outcome=1.0)
    (tmp_path / digest(lesson, EXAM, SHORT)).mkdir()
    _, _, found = warmup.ensure(tmp_path, lesson, EXAM, CODEC, SHORT, lambda line: None)
    assert not found
