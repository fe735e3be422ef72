from actors.cast import RunSettings
from actors.sinks.metrics_file import Row
from cli import summary


def told(t, **numbers):
    """The evaluator's rows of one evaluation; on a live clock they are not of one moment."""
    return [Row(t + i / 1000, "evaluator", f"eval_{name}", value) for i, (name, value) in enumerate(numbers.items())]


BEFORE = told(0.0, n=64, greedy=0.1, sampled=0.2, tokens=15, pass8=0.7)
BETWEEN = told(5.0, n=64, greedy=0.5, sampled=0.6, tokens=40)
AFTER = told(9.0, n=64, greedy=0.95, sampled=0.9, tokens=70, pass8=1.0)


def test_accuracies_are_those_of_the_first_and_the_last_evaluation():
    found = summary.accuracies(BEFORE + BETWEEN + AFTER, 8)
    assert found["accuracy_before"] == {"sampled": 0.2, "greedy": 0.1, "pass8": 0.7, "n": 64}
    assert found["accuracy_after"] == {"sampled": 0.9, "greedy": 0.95, "pass8": 1.0, "n": 64}
    assert (found["response_tokens_before"], found["response_tokens_after"]) == (15, 70)


def test_a_run_that_was_stopped_between_takes_no_number_of_an_earlier_evaluation():
    found = summary.accuracies(BEFORE + BETWEEN, 8)
    assert found["accuracy_after"] == {"sampled": 0.6, "greedy": 0.5, "pass8": None, "n": 64}


def test_a_run_that_was_stopped_before_its_second_evaluation_knows_nothing_of_afterwards():
    found = summary.accuracies(BEFORE, 8)
    assert found["accuracy_before"]["sampled"] == 0.2
    assert set(found["accuracy_after"].values()) == {None}


def test_what_one_of_so_many_answers_solves_is_named_by_their_number():
    rows = told(0.0, n=64, greedy=0.1, sampled=0.2, tokens=15, pass4=0.7)
    assert summary.accuracies(rows, 4)["accuracy_before"]["pass4"] == 0.7
    assert set(summary.accuracies(rows, 1)["accuracy_before"]) == {"sampled", "greedy", "n"}


def test_accuracies_by_difficulty_stand_beside_each_other():
    rows = [
        Row(t, "evaluator", f"eval_{kind}_at_{difficulty}", value)
        for t, values in ((0.0, (8, 0.1, 0.2, 4, 0.3, 0.4)), (9.0, (8, 0.5, 0.6, 4, 0.7, 0.8)))
        for (difficulty, kind), value in zip(
            [(difficulty, kind) for difficulty in ("3", "12.5") for kind in ("n", "greedy", "sampled")],
            values,
            strict=True,
        )
    ]
    found = summary.accuracies(rows, 8)
    assert found["accuracy_by_difficulty_before"] == {
        "3": {"sampled": 0.2, "greedy": 0.1, "n": 8},
        "12.5": {"sampled": 0.4, "greedy": 0.3, "n": 4},
    }
    assert found["accuracy_by_difficulty_after"]["12.5"] == {"sampled": 0.8, "greedy": 0.7, "n": 4}
    assert summary.accuracies([], 8)["accuracy_by_difficulty_after"] == {}


def test_a_run_without_evaluations_says_so():
    assert summary.accuracies([], 8)["accuracy_after"] == {"sampled": None, "greedy": None, "pass8": None, "n": None}


def test_idle_is_what_is_left_of_the_time_between_first_and_last_version():
    rows = [Row(10.0, "learner", "version", 0), Row(30.0, "learner", "version", 9)]
    rows += [Row(12.0, "learner", "update_s", 5.0), Row(20.0, "generator-0", "busy_s", 19.0)]
    rows += [Row(5.0, "generator-0", "busy_s", 3.0), Row(31.0, "learner", "update_s", 1.0)]
    found = summary.idle_shares(sorted(rows, key=lambda row: row.t), RunSettings())
    assert found == {"learner": 0.75, "generator-0": 0.05, "rewarder-0": 1.0}


def test_shares_are_weighted_by_the_trajectories_of_a_lease():
    rows = [Row(1, "learner", "trajectories", 10), Row(1, "learner", "mixed_version_share", 0.5)]
    rows += [Row(2, "learner", "trajectories", 30), Row(2, "learner", "mixed_version_share", 0.1)]
    assert abs(summary.weighted(rows, "mixed_version_share") - 0.2) < 1e-12


def test_staleness_stands_beside_its_bound():
    rows = [Row(1, "learner", "age_mean", 1.0), Row(1, "learner", "age_max", 2.0), Row(2, "learner", "age_mean", 0.0)]
    found = summary.staleness(rows, 2)
    assert (found["mean"], found["max"], found["bound"]) == (0.5, 2.0, 2.0)


def test_mismatch_weighs_every_fresh_token_alike():
    rows = [
        Row(t, "learner", name, value)
        for t, values in ((1, (0.1, 30.0, 0.5)), (2, (0.3, 10.0, 0.9)))
        for name, value in zip(("mismatch", "fresh_tokens", "mismatch_over_1e-02"), values, strict=True)
    ]
    found = summary.mismatch(rows)
    assert (round(found["mean"], 9), found["max"], found["tokens"]) == (0.15, 0.3, 40.0)
    assert {name: round(share, 9) for name, share in found["histogram"].items()} == {"over_1e-02": 0.6}
    assert summary.mismatch([]) == {"mean": 0.0, "max": 0.0, "tokens": 0.0, "histogram": {}}


def test_weight_updates_are_those_of_generators():
    rows = [Row(1, "generator-0", "install_stall_s", 0.2), Row(2, "generator-0", "install_stall_s", 0.4)]
    rows += [Row(3, "evaluator", "install_stall_s", 9.0)]
    found = summary.installs(rows, RunSettings())
    assert (round(found["mean"], 9), found["max"], found["count"]) == (0.3, 0.4, 2.0)


def test_the_hit_rate_counts_what_generators_did_not_compute_again():
    rows = [Row(1, "generator-0", "cached_tokens", 30), Row(1, "generator-0", "prefill_tokens", 10)]
    rows += [Row(2, "evaluator", "prefill_tokens", 99)]
    assert summary.prefixes(rows, RunSettings()) == {"hit_rate": 0.75, "cached_tokens": 30, "prefill_tokens": 10}
    assert summary.prefixes([], RunSettings())["hit_rate"] == 0.0
