"""The benchmark beyond the supervision: which traces are true, and its lines as a table."""

import json
from types import SimpleNamespace

import pytest

from tests.bench import beyond, tables


@pytest.mark.parametrize(
    ("response", "true"),
    [
        (">b+:6=7!c*:7=1!d(:1=4!#4$", True),
        (">b+:6=7?b+:6=7!c*:7=1!d(:1=4?d(:1=4!#4$", True),
        (">b+:6=7?c*:7=1!d(:1=4!#4$", False),
        (">b+:6=7!c*:7=1!#4$", False),
        (">b+:6=8!c*:8=4!d(:4=7!#4$", False),
        ("#4$", False),
        ("", False),
    ],
)
def test_a_trace_is_true_if_it_names_every_step(response, true):
    assert beyond.is_true(response, "a6b+c*d(=") is true


def test_lines_of_seeds_and_bands_become_rows_of_models():
    figures = {
        name: {kind: dict.fromkeys(range(3, 25), share) for kind in ("greedy", "sampled", "true")}
        for name, share in (("before", 0.1), ("after", 0.9), ("control", 0.25))
    }
    result = SimpleNamespace(prepare_s=40.0, training_s=100.0, training_cpu_s=180.0, wall_s=150.0)
    lines = [json.loads(json.dumps(line)) for seed in (1, 12) for line in beyond.lines(seed, result, figures)]
    assert [(line["case"], line["ours"], line["theirs"]) for line in lines[:2]] == [
        ("seed 1, 3 to 7 terms", pytest.approx(0.9), pytest.approx(0.25)),
        ("seed 1, 8 to 12 terms", pytest.approx(0.9), pytest.approx(0.25)),
    ]
    heading, *rows = tables.beyond(lines)
    assert heading[-2:] == ["true traces, 19 to 24 terms", "CPU s"]
    names = [f"seed {seed}, {model}" for seed in (1, 12) for model in ("before", "after", "control")]
    assert [row[0] for row in rows] == names
    assert rows[1] == ["seed 1, after", *["0.90"] * len(tables.TERMS), "0.90", "180"]
