"""The page on one GPU: its table is what the scenario gives; `python -m tests.unit.cli.test_one_gpu_page` prints it."""

from pathlib import Path

from cli.simulating import load
from sim.outcome import Outcome, run
from sim.scenario import Simulation

ROOT = Path(__file__).resolve().parents[3]
SCENARIO = ROOT / "examples" / "sim" / "one_gpu.toml"
PAGE = ROOT / "docs" / "one_gpu.md"
WAYS = {
    "time, cache kept": (),
    "time, cache dropped": ("cluster.cache=drop",),
    "memory": ("cluster.share=memory",),
    "separate, two cards": ("gpus=2", "generator_gpus=1", "cluster.placement=separate"),
}
HEAD = (
    "| card | placement | step s | tokens/s | tokens/s for each card | generator idle | learner idle |",
    "|---|---|---|---|---|---|---|",
)


def line(gpu: str, way: str, one: Outcome) -> str:
    idle = one.idle_share
    rates = f"{one.tokens_per_s:.0f} | {one.tokens_per_gpu_s:.0f}"
    return f"| {gpu} | {way} | {one.step_s:.1f} | {rates} | {idle['generators']:.0%} | {idle['trainer']:.0%} |"


def table() -> list[str]:
    lines = list(HEAD)
    for gpu in ("RTX4090", "H100"):
        for way, settings in WAYS.items():
            outcome = run(Simulation(load(SCENARIO, (f"gpu={gpu}", *settings))), lambda: 0.0)
            assert outcome.outcome == "finished"
            lines.append(line(gpu, way, outcome))
    return lines


def test_the_predictions_on_the_page_are_those_of_the_scenario():
    page = PAGE.read_text(encoding="utf-8").splitlines()
    begin = page.index(HEAD[0])
    assert page[begin : begin + 10] == table()


if __name__ == "__main__":
    print("\n".join(table()))
