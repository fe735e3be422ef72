"""The Weights & Biases sink against a stand-in of its package: the names are TensorBoard's."""

import importlib
import sys
from types import SimpleNamespace

import pytest


class Run:
    def __init__(self):
        self.logged = []
        self.finished = False

    def define_metric(self, name, step_metric):
        self.metric = (name, step_metric)

    def log(self, numbers):
        self.logged.append(numbers)

    def finish(self):
        self.finished = True


@pytest.fixture
def run(monkeypatch):
    made = Run()
    stand_in = SimpleNamespace(init=lambda **words: made, Histogram=lambda np_histogram: np_histogram, Html=str)
    monkeypatch.setitem(sys.modules, "wandb", stand_in)
    monkeypatch.delitem(sys.modules, "actors.sinks.wandb_sink", raising=False)
    return made


def test_numbers_and_histograms_bear_the_names_of_the_charts(tmp_path, run):
    module = importlib.import_module("actors.sinks.wandb_sink")
    sink = module.WeightsAndBiases({"run_dir": str(tmp_path)}, None, None)
    sink.write("learner", (("version", 1, 3.0), ("loss", 1, 0.5), ("age(0,1]", 1, 4.0), ("age(3,4]", 1, 1.0)))
    sink.close()
    assert run.metric == ("*", "version")
    age = ([4.0, 0.0, 1.0], [0.0, 1.0, 3.0, 4.0])
    assert run.logged == [{"version": 3, "learner/version": 3.0, "learner/loss": 0.5, "learner/age": age}]
    assert run.finished
