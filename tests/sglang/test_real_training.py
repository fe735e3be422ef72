"""The CPU example trained through a real SGLang server: accuracy rises (make test-sglang)."""

import pytest

from tests.end_to_end import training


@pytest.mark.timeout(900)
def test_the_cpu_example_learns_through_sglang(tmp_path, python):
    folder = tmp_path / "run"
    process = training.start(
        "train", "examples/sglang_cpu.toml", "--run-dir", str(folder), "--set", f"sglang.python={python}"
    )
    status, output = training.finish(process, 800)
    assert status == 0, output[-3000:]
    summary = training.summary(folder)
    print({name: summary[name] for name in ("wall_s", "accuracy_before", "accuracy_after", "engine_mismatch")})
    assert summary["outcome"] == "finished"
    ledger = summary["ledger"]
    assert ledger["opened"] == ledger["trained"] + ledger["evicted"] + ledger["failed"] + ledger["in_flight"]
    assert summary["accuracy_after"]["sampled"] > summary["accuracy_before"]["sampled"] + 0.15
    assert summary["engine_mismatch"]["tokens"] > 200
    assert summary["engine_mismatch"]["mean"] < 1e-3
    assert summary["weight_update_s"]["count"] >= 10
    assert training.processes_of(folder) == {}
