"""Kernel tables condensed to the shares of peak that `hardware.py` ships in `efficiency.json`.

    aiconfigurator/CARD_sxm/{gemm,attention,moe}/sglang/*/*.parquet (NVIDIA, Apache-2.0)       H100, H200, A100
    llmservingsim/profiler/perf/CARD/MODEL/bf16/tp1/*.csv (KAIST, MIT)                         RTX4090, RTXPRO6000

Products: shares of the two peaks and a constant, the triple with the least mean error of the logarithm over all bf16
rows. Attention: median shares around sizes; what it takes at least is the median of its smallest reads. Experts: median
shares where reading binds and where arithmetic does. The originals are not shipped: `braid condense DATA` makes the
file again from a folder that has them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from buffers.errors import UsageError
from sim.costs.model import MODELS, Model

Column = NDArray[Any]
Table = Mapping[str, Column]

SXM = {"A100": (312e12, 2.039e12), "H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12)}
RTX = {
    "RTX4090": ((165e12, 1.008e12), "meta-llama/Llama-3.1-8B", "llama-3.1-8b"),
    "RTXPRO6000": ((504e12, 1.597e12), "Qwen/Qwen3-32B", "qwen3-32b"),
}
"""Peaks (dense bf16 FLOP/s, bytes/s) that shares are taken of, and whose layers were profiled."""
READS = (1e7, 3e7, 1e8, 3e8, 1e9, 3e9)
REACHES = ((1000, 250, 1000), (4000, 1000, 4000), (16000, 4000, 16000), (1 << 30, 16000, 1 << 30))
"""(up to so many tokens, from, to)."""
ORIGINS = {
    "aiconfigurator": "aiconfigurator kernel tables (SGLang), NVIDIA, Apache-2.0",
    "llmservingsim": "LLMServingSim layer profiles (vLLM), KAIST, MIT",
}


def condense(folder: Path) -> dict[str, dict[str, Any]]:
    """Everything that is shipped, from a folder with both data sets in it."""
    found = {}
    for card, peaks in SXM.items():
        found[card] = {"origin": ORIGINS["aiconfigurator"], **_sxm(folder / "aiconfigurator", card, *peaks)}
    for card, (peaks, model, name) in RTX.items():
        tables = folder / "llmservingsim" / "profiler" / "perf" / card / model / "bf16" / "tp1"
        found[card] = {"origin": ORIGINS["llmservingsim"], **_rtx(tables, MODELS[name], *peaks)}
    return found


def fit_products(m: Column, n: Column, k: Column, seconds: Column, peaks: tuple[float, float]) -> dict[str, float]:
    """(share of FLOP/s, share of bytes/s, constant) of matrix products with the least mean error, and that error."""
    flops = 2.0 * m * n * k / peaks[0]
    moved = 2.0 * (n * k + m * (n + k)) / peaks[1]
    best = (float("inf"), 0.0, 0.0, 0.0)
    target = np.log(seconds)
    for constant in np.arange(1, 17):
        for share in np.arange(0.5, 1.001, 0.02):
            work = flops / share
            for read in np.arange(0.5, 1.001, 0.02):
                error = np.abs(np.log(np.maximum(work, moved / read) + constant * 1e-6) - target).mean()
                if error < best[0]:
                    best = (float(error), float(share), float(read), float(constant))
    return {"flops": round(best[1], 2), "memory": round(best[2], 2), "product_us": best[3], "error": round(best[0], 3)}


def shares_of_reads(read: Column, seconds: Column, bytes_per_s: float) -> list[list[float]]:
    """[(bytes, median share of the bandwidth)]; sizes that were not measured are left out."""
    points = []
    for size in READS:
        near = (read > size / 1.7) & (read < size * 1.7)
        if near.sum() >= 5:
            points.append([size, round(float(np.median(read[near] / seconds[near])) / bytes_per_s, 3)])
    return points


def shares_of_prefill(reach: Column, work: Column, seconds: Column, flops: float) -> list[list[float]]:
    """[(up to so many tokens, median share of FLOP/s)]; spans that were not measured are left out."""
    points = []
    for limit, low, high in REACHES:
        near = (reach > low) & (reach <= high)
        if near.sum() >= 5:
            points.append([limit, round(float(np.median(work[near] / seconds[near])) / flops, 3)])
    points[-1][0] = REACHES[-1][0]
    return points


def _sxm(folder: Path, card: str, flops: float, bandwidth: float) -> dict[str, Any]:
    base = folder / f"{card.lower()}_sxm"
    products = _parquet(base / "gemm", "gemm_perf.parquet", gemm_dtype="bfloat16")
    # Thin products (below 512 in either width) are no part of any model here; every third row is enough.
    thick = (products["n"] >= 512) & (products["k"] >= 512)
    m, n, k, milliseconds = (products[name][thick][::3] for name in ("m", "n", "k", "latency"))
    found: dict[str, Any] = fit_products(m, n, k, milliseconds / 1e3, (flops, bandwidth))
    plain = {"attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "window_size": 0, "head_dim": 128}
    decode = _parquet(base / "attention", "generation_attention_perf.parquet", **plain)
    context = decode["isl"] + decode["step"]
    read = 4.0 * decode["batch_size"] * context * decode["num_key_value_heads"] * decode["head_dim"]
    seconds = decode["latency"] / 1e3
    found["decode_attention"] = shares_of_reads(read, seconds, bandwidth)
    found["attention_floor_us"] = round(1e6 * float(np.median(seconds[read < 1e6])), 1)
    prefill = _parquet(base / "attention", "context_attention_perf.parquet", **plain)
    reach = prefill["isl"]
    work = 2.0 * prefill["batch_size"] * prefill["num_heads"] * prefill["head_dim"] * reach.astype(float) ** 2
    found["prefill_attention"] = shares_of_prefill(reach, work, prefill["latency"] / 1e3, flops)
    if (base / "moe").is_dir():
        found |= _experts(base / "moe", flops, bandwidth)
    return found


def _experts(folder: Path, flops: float, bandwidth: float) -> dict[str, float]:
    """Median shares of grouped products on one rank: where reading takes thrice as long as arithmetic; inversely."""
    rows = _parquet(folder, "moe_perf.parquet", moe_dtype="bfloat16", moe_tp_size=1, moe_ep_size=1)
    tokens, chosen, experts = rows["num_tokens"], rows["topk"], rows["num_experts"]
    weights = 3.0 * rows["hidden_size"] * rows["inter_size"]
    seconds = rows["latency"] / 1e3
    read = 2 * weights * experts * (1 - (1 - chosen / experts) ** tokens) / seconds / bandwidth
    work = 2 * weights * chosen * tokens / seconds / flops
    return {
        "expert_memory": round(float(np.median(read[read > 3 * work])), 2),
        "expert_flops": round(float(np.median(work[work > 3 * read])), 2),
    }


def _rtx(folder: Path, model: Model, flops: float, bandwidth: float) -> dict[str, Any]:
    inner, wide = model.intermediate, model.heads * model.head_dim
    shapes = {
        "qkv_proj": (model.hidden, wide + 2 * model.kv_heads * model.head_dim),
        "o_proj": (wide, model.hidden),
        "gate_up_proj": (model.hidden, 2 * inner),
        "down_proj": (inner, model.hidden),
    }
    dense = _csv(folder / "dense.csv")
    rows = [
        (int(one["tokens"]), *shapes[one["layer"]], float(one["time_us"]) / 1e6)
        for one in dense
        if one["layer"] in shapes
    ]
    m, n, k, seconds = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    found: dict[str, Any] = fit_products(m, n, k, seconds, (flops, bandwidth))
    small = [float(one["time_us"]) for one in dense if one["layer"] not in shapes and one["tokens"] == "1"]
    found["small_us"] = round(float(np.median(small)), 1)
    attention = _csv(folder / "attention.csv")
    columns = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode", "time_us")
    chunk, before, batch, held, took = (np.array([float(one[name]) for one in attention]) for name in columns)
    seconds = took / 1e6
    alone = chunk == 0
    read = (batch * held * model.kv_bytes / model.layers)[alone]
    found["decode_attention"] = shares_of_reads(read, seconds[alone], bandwidth)
    found["attention_floor_us"] = round(1e6 * float(np.median(seconds[alone][read < 1e6])), 1)
    filling = (batch == 0) & (chunk >= 256)
    work = (4 * wide * chunk * (before + chunk / 2))[filling]
    found["prefill_attention"] = shares_of_prefill((before + chunk)[filling], work, seconds[filling], flops)
    return found


def _parquet(folder: Path, name: str, **wanted: object) -> Table:
    """The rows of the one table of that name below a folder's `sglang`, whose columns have these values."""
    paths = sorted(folder.glob(f"sglang/*/{name}"))
    if not paths:
        raise UsageError(
            f"no {name} below {folder}/sglang; name the folder that holds aiconfigurator and llmservingsim"
        )
    try:
        from pyarrow import parquet
    except ImportError:
        raise UsageError("condensing needs pyarrow to read its tables; pip install pyarrow") from None
    read = parquet.read_table(paths[-1])
    table = {column: read[column].to_numpy() for column in read.column_names}
    kept = np.ones(len(read), dtype=bool)
    for column in wanted.keys() & table.keys():
        kept &= table[column] == wanted[column]
    return {column: values[kept] for column, values in table.items()}


def _csv(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise UsageError(f"no table at {path}; name the folder that holds aiconfigurator and llmservingsim")
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def lines(found: Mapping[str, Mapping[str, Any]]) -> Iterable[str]:
    """A card a line."""
    for card, one in found.items():
        yield (
            f"{card}: products {one['flops']} of FLOP/s, {one['memory']} of bandwidth, {one['product_us']:g} us, mean "
            f"error {one['error']:.1%}; decode attention at least {one['attention_floor_us']} us"
        )
