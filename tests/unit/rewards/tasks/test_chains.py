"""The chains task: prompts, traces, answers, splits."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from buffers.errors import UsageError
from rewards.tasks.chains import FUNCTIONS, KINDS, Chain, Config, Task, draw_chain, write_trace

EXAMPLE = Chain("abcd", 6, "+*(")


def test_the_example_of_the_documentation():
    assert EXAMPLE.text == "a6b+c*d(="
    assert EXAMPLE.answer == "4"


def test_traces_of_the_example_without_slips_and_repeats():
    rng = np.random.default_rng(0)
    config = Config(slip=0.0, repeat=0.0)
    traces = [write_trace(EXAMPLE, kind, config, rng) for kind in KINDS]
    assert traces == ["#4$", "b7c1d4#4$", ">b+:6=7!c*:7=1!d(:1=4!#4$"]


def test_a_repeated_step_ends_in_a_question_mark_first():
    trace = write_trace(EXAMPLE, "careful", Config(repeat=1.0), np.random.default_rng(0))
    assert trace == ">b+:6=7?b+:6=7!c*:7=1?c*:7=1!d(:1=4?d(:1=4!#4$"


@given(st.integers(0, 10_000))
def test_careful_and_direct_traces_are_right_and_every_step_of_a_careful_one_is_true(seed):
    task, rng = Task(), np.random.default_rng(seed)
    chain = draw_chain(task.config, rng)
    careful = write_trace(chain, "careful", task.config, rng)
    assert task.outcome(careful, chain.answer) == 1.0
    assert task.outcome(write_trace(chain, "direct", task.config, rng), chain.answer) == 1.0
    for step in careful[1 : careful.index("#")].replace("?", "!").split("!")[:-1]:
        assert FUNCTIONS[step[1]](int(step[3])) == int(step[5])


def test_sloppy_traces_slip_as_often_as_they_should_and_carry_the_error_on():
    task, rng = Task(), np.random.default_rng(1)
    wrong = steps = 0
    for _ in range(400):
        chain = draw_chain(task.config, rng)
        trace, digit = write_trace(chain, "sloppy", task.config, rng), chain.digit
        for place, sign in enumerate(chain.signs):
            result = int(trace[2 * place + 1])
            wrong += result != FUNCTIONS[sign](digit)
            digit, steps = result, steps + 1
        assert trace.endswith(f"#{digit}$")
    assert wrong / steps == pytest.approx(0.15, abs=0.025)


@pytest.mark.parametrize(
    ("response", "right"),
    [("#4$", 1.0), ("b7#4$", 1.0), ("#4", 0.0), ("#5$", 0.0), ("4$", 0.0), ("#3#4$", 0.0), ("#4$#", 0.0), ("", 0.0)],
)
def test_only_one_final_answer_counts(response, right):
    assert Task().outcome(response, "4") == right


def test_splits_are_disjoint_reproducible_and_grow_from_the_front():
    task = Task(Config(seed=3))
    splits = {name: task.prompts(name, 256) for name in ("train", "validation", "held_out")}
    texts = [prompt.text for prompts in splits.values() for prompt in prompts]
    assert len(set(texts)) == len(texts) == 768
    ids = [prompt.id for prompts in splits.values() for prompt in prompts]
    assert len(set(ids)) == 768
    assert Task(Config(seed=3)).prompts("train", 300)[:256] == splits["train"]
    assert Task(Config(seed=4)).prompts("train", 256) != splits["train"]


def test_uniform_lengths_and_any_letters_are_what_they_say():
    config, rng = Config(shortest=3, longest=16, lengths="uniform", letters="any"), np.random.default_rng(0)
    chains = [draw_chain(config, rng, 7) for _ in range(3000)]
    counts = Counter(len(chain.signs) for chain in chains)
    assert set(counts) == {3, 4, 5, 6, 7}
    assert all(count / 3000 == pytest.approx(0.2, abs=0.03) for count in counts.values())
    assert {chain.letters[0] for chain in chains if len(chain.signs) == 7} == set("abcdefghijklmnopqrs")
    assert all(chain.letters[-1] <= "z" for chain in chains)


def test_joints_stand_before_terms_response_and_steps():
    prompt, response = EXAMPLE.text, ">b+:6=7?b+:6=7!c*:7=1!d(:1=4!#4$"
    parts, whole = Task().joints(prompt, response), prompt + response
    edges = [0, *parts, len(whole)]
    assert [whole[start:stop] for start, stop in pairwise(edges)] == [
        *("a6", "b+", "c*", "d(", "=", ">b+:6=7?", "b+:6=7!", "c*:7=1!", "d(:1=4!", "#4$")
    ]


def test_a_held_out_chain_is_never_trained_on_however_few_chains_there_are():
    task, rng = Task(Config(shortest=1, longest=1, seed=0)), np.random.default_rng(1)
    held_out = {prompt.text for prompt in task.prompts("held_out", 50)}
    assert not held_out & {prompt.text for prompt in Task(Config(1, 1, 1)).prompts("train", 350)}
    assert not held_out & {task.trace(rng, (1.0, 0.0, 0.0), 1)[0] for _ in range(2000)}


def test_more_chains_than_there_are_is_refused():
    with pytest.raises(UsageError, match="held_out has hardly more than"):
        Task(Config(shortest=1, longest=1)).prompts("held_out", 120)


@given(st.integers(0, 10_000), st.integers(3, 16), st.integers(3, 16))
def test_chains_keep_to_letters_and_lengths(seed, shortest, longest):
    chain = draw_chain(Config(shortest=shortest), np.random.default_rng(seed), max(shortest, longest))
    assert shortest <= len(chain.signs) <= max(shortest, longest)
    assert all("a" <= letter <= "z" for letter in chain.letters)
    assert [ord(b) - ord(a) for a, b in zip(chain.letters, chain.letters[1:], strict=False)] == [1] * len(chain.signs)


def test_the_difficulty_is_the_number_of_terms_and_about_eight_on_average():
    prompts = Task().prompts("train", 2000)
    assert all(prompt.difficulty == (len(prompt.text) - 3) / 2 for prompt in prompts)
    assert np.mean([prompt.difficulty for prompt in prompts]) == pytest.approx(7.9, abs=0.3)


def test_lengths_that_the_letters_do_not_allow_are_refused():
    with pytest.raises(UsageError, match="30 terms"):
        Task(Config(longest=30))
