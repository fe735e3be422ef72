"""The shipped efficiencies: made from the original tables, and right on tables whose answer is known."""

import json

import numpy as np
import pytest

from buffers.errors import UsageError
from cli.main import main
from sim.costs.condense import condense, fit_products, shares_of_prefill, shares_of_reads
from sim.costs.hardware import GPUS, MEASURED, SHIPPED


def test_the_shipped_file_is_what_the_original_tables_are_condensed_to(data, tmp_path, capsys):
    """Skipped, by name, without the data."""
    pytest.importorskip("pyarrow", reason="pyarrow reads the original tables")
    output = tmp_path / "efficiency.json"
    assert main(["condense", str(data), "--output", str(output)]) == 0
    assert json.loads(output.read_text()) == json.loads(SHIPPED.read_text())
    assert "H100: products" in capsys.readouterr().out


def test_every_entry_names_its_origin_and_licence():
    for card, entry in json.loads(SHIPPED.read_text()).items():
        assert card in GPUS
        assert "Apache-2.0" in entry["origin"] or "MIT" in entry["origin"]
        assert GPUS[card].efficiency is MEASURED[card]


def test_products_made_of_three_constants_give_them_back():
    rng = np.random.default_rng(0)
    m, n, k = (2.0 ** rng.integers(low, high, 400) for low, high in ((0, 14), (9, 15), (9, 15)))
    seconds = np.maximum(2 * m * n * k / (0.7 * 1e15), 2 * (n * k + m * (n + k)) / (0.8 * 2e12)) + 5e-6
    found = fit_products(m, n, k, seconds, (1e15, 2e12))
    assert (found["flops"], found["memory"], found["product_us"]) == (0.7, 0.8, 5.0)
    assert found["error"] < 0.001


def test_shares_are_medians_around_sizes_and_what_was_not_measured_is_left_out():
    read = np.array([1e7, 1e7, 1e7, 1e7, 1.1e7, 1e9])
    assert shares_of_reads(read, read / 5e11, 1e12) == [[1e7, 0.5]]
    reach = np.array([500.0] * 5 + [2000.0] * 5)
    work = 1e12 * np.ones(10)
    points = shares_of_prefill(reach, work, np.array([0.01] * 5 + [0.004] * 5), 1e15)
    assert points == [[1000, 0.1], [1 << 30, 0.25]]


def test_a_folder_without_tables_is_one_clear_line(tmp_path, capsys):
    with pytest.raises(UsageError, match="gemm_perf"):
        condense(tmp_path)
    assert main(["condense", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
