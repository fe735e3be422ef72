"""Layer tables: what a step adds up to, between and beyond what was measured."""

import pytest

from buffers.errors import UsageError
from sim.costs.cost import Chunk, Step
from sim.costs.layer_table import Blocks, LayerTable


def write(folder, attention="", dense="", skew=""):
    (folder / "dense.csv").write_text(
        dense
        or "layer,tokens,time_us\nembedding,1,5\nembedding,9,5\nqkv,1,10\nqkv,9,26\nlayernorm,1,1\nlayernorm,9,1\n"
    )
    (folder / "per_sequence.csv").write_text("layer,sequences,time_us\nlm_head,1,100\nlm_head,3,104\n")
    rows = [f"0,0,{n},{kv},{n * kv}" for n in (1, 2, 4) for kv in (16, 64)]
    rows += [f"{pc},{kp},0,0,{pc + kp}" for pc in (16, 32) for kp in (0, 64)]
    rows += [
        f"{pc},{kp},{n},{kv},{pc + kp + n * kv}" for pc in (16, 32) for kp in (0, 64) for n in (1, 2) for kv in (16, 64)
    ]
    text = attention or "\n".join(["prefill_chunk,kv_prefill,n_decode,kv_decode,time_us", *rows]) + "\n"
    (folder / "attention.csv").write_text(text)
    if skew:
        (folder / "skew.csv").write_text(skew)
    return folder


def test_a_step_adds_its_blocks_and_what_a_model_has_once(tmp_path):
    table = LayerTable(write(tmp_path), Blocks(layers=3, hidden=8))
    # 2 sequences of 40: dense 12 + two norms 2 + attention 80 in each block; embedding 5, head 102
    assert table.step_us((), 2, 80, 40) == pytest.approx(3 * (12 + 2 + 80) + 5 + 102)
    assert table.decode(2).at(80) == pytest.approx(1e3 * table.step_us((), 2, 80, 40))


def test_between_points_times_are_linear_and_beyond_them_the_last_slope_goes_on(tmp_path):
    table = LayerTable(write(tmp_path), Blocks(layers=1, hidden=8))
    flat = 5 + 2
    assert table.step_us((), 3, 120, 40) == pytest.approx(flat + 14 + 120 + 104)
    assert table.step_us((), 8, 8 * 128, 128) == pytest.approx(flat + 24 + 8 * 128 + 114)


def test_chunks_share_a_step_with_what_decodes(tmp_path):
    table = LayerTable(write(tmp_path), Blocks(layers=1, hidden=8))
    step = Step(2, 80, (Chunk(24, 10), Chunk(16, 0)))
    dense = 10 + 2 * (42 - 1)
    assert table.mixed(step) == pytest.approx(1e3 * (5 + 2 + dense + (24 + 10 + 80) + 16 + 106))


def test_uneven_contexts_cost_the_share_that_was_measured(tmp_path):
    skew = "t_mean_us,t_max_us,t_skew_us\n10,20,12.5\n100,300,150\n"
    table = LayerTable(write(tmp_path, skew=skew), Blocks(layers=1, hidden=8))
    assert table.skew == pytest.approx(0.25, abs=1e-3)
    even, uneven = table.step_us((), 2, 80, 40), table.step_us((), 2, 80, 60)
    assert uneven - even == pytest.approx(table.skew * 2 * (60 - 40))


def test_ranks_pay_for_two_rings_in_each_block(tmp_path):
    alone = LayerTable(write(tmp_path), Blocks(layers=3, hidden=1000))
    joined = LayerTable(tmp_path, Blocks(3, 1000, tensor_parallel=2, link_bytes_per_s=1e9, link_latency_s=2e-6))
    # bytes sent by a rank: 2 tokens x 1000 x 2 bytes x 2 (t - 1) / t = 4000
    assert joined.step_us((), 2, 80, 40) - alone.step_us((), 2, 80, 40) == pytest.approx(3 * 2 * (2 + 4))
    with pytest.raises(UsageError, match="tensor_parallel = 2 needs link_bytes_per_s"):
        Blocks(3, 1000, tensor_parallel=2)


def test_a_broken_table_is_one_clear_line(tmp_path):
    write(tmp_path, dense="layer,tokens,time_us\nqkv,1,10\nqkv,two,10\n")
    with pytest.raises(UsageError, match=r"dense.csv:3: layer, tokens and time_us"):
        LayerTable(tmp_path, Blocks(1, 8))
    with pytest.raises(UsageError, match="no table at"):
        LayerTable(tmp_path / "nowhere", Blocks(1, 8))
