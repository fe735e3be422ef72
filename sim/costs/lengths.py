"""How long responses are: a mean of each prompt, a spread in its group, a point mass at the cap, growth over training.

    "mixture"    with probability `capped` the cap; else exp(N(log median, sigma)) of prompt and member parts, cut there
    "empirical"  quantiles of measured lengths, drawn by the same prompt and member parts (a normal copula)

Served outputs are not lognormal: prefer measured ones. Draws are hashes of (seed, trajectory), the same at each call.
"""

from __future__ import annotations

import csv
import json
from functools import cache, lru_cache
from math import exp, log
from pathlib import Path
from statistics import NormalDist

import msgspec

from actors.eventlog import read_events
from actors.kernel.backend import Decision
from actors.standins import mix
from buffers.errors import UsageError

_NORMAL = NormalDist()
_SCALE = 1.0 / (1 << 53)


def uniform(*numbers: int) -> float:
    """A hash in (0, 1)."""
    return ((mix(*numbers) >> 11) + 0.5) * _SCALE


class Lengths(msgspec.Struct, frozen=True):
    """A mixture; see the module."""

    mean: float
    """Tokens, the cap's point mass included."""
    cap: int
    seed: int = 0
    sigma: float = 0.8
    """Of the logarithm, prompts and members together."""
    capped: float = 0.0
    """Share of responses that reach the cap."""
    prompt_share: float = 0.5
    """Share of the variance that the members of a group have in common."""
    group: int = 8
    prompt: int = 256
    """Mean prompt length; prompts spread evenly over half of it to one and a half."""
    growth: float = 0.0
    """Relative growth of lengths per `period` trajectories: drift over training."""
    period: int = 0
    measured: tuple[int, ...] = ()
    """Sorted lengths to draw from instead."""

    def response_tokens(self, trajectory: int, cap: int) -> int:
        """Length of a trajectory's whole response."""
        group = (trajectory - 1) // self.group
        common, own = _normal(self.seed, group, 11), _normal(self.seed, trajectory, 12)
        share = self.prompt_share
        z = share**0.5 * common + (1 - share) ** 0.5 * own
        scale = 1.0 + self.growth * (trajectory // self.period) if self.period else 1.0
        if self.measured:
            index = int(_NORMAL.cdf(z) * len(self.measured))
            length = self.measured[min(index, len(self.measured) - 1)] * scale
        elif self.capped and uniform(self.seed, trajectory, 13) < self.capped:
            return cap
        else:
            length = scale * exp(_location(self.mean, self.cap, self.sigma, self.capped) + self.sigma * z)
        tokens = round(length)
        return cap if tokens > cap else tokens or 1

    def prompt_tokens(self, prompt: int) -> int:
        """Length of a prompt."""
        return max(1, round(self.prompt * (0.5 + uniform(self.seed, prompt, 14))))


@lru_cache(1 << 16)
def _normal(seed: int, number: int, purpose: int) -> float:
    """A standard normal draw; kept, for it is asked for again by each segment and by each member of a group."""
    return _NORMAL.inv_cdf(uniform(seed, number, purpose))


@cache
def _location(mean: float, cap: int, sigma: float, capped: float) -> float:
    """The log-median for which min(cap, lognormal) and the point mass have the mean."""
    target = (mean - capped * cap) / (1 - capped) if capped < 1 else mean
    low, high = log(max(target, 1e-9)) - 8 - sigma * sigma, log(cap) + 8 * sigma + 8
    for _ in range(80):
        middle = (low + high) / 2
        if censored_mean(middle, sigma, cap) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def censored_mean(location: float, sigma: float, cap: int) -> float:
    """E[min(cap, exp(N(location, sigma)))]."""
    if sigma <= 0:
        return min(cap, exp(location))
    edge = (log(cap) - location) / sigma
    inside = exp(location + sigma * sigma / 2) * _NORMAL.cdf(edge - sigma)
    return inside + cap * (1 - _NORMAL.cdf(edge))


def read_lengths(path: Path, column: str) -> tuple[int, ...]:
    """Sorted lengths: a column of a CSV file with a header or of a JSONL file, or responses of a live run's folder."""
    try:
        found = _of_run(path) if path.is_dir() else _of_table(path, column)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a CSV file or a run's folder") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: column {column} holds something that is no number ({error})") from None
    lengths = tuple(sorted(found))
    if not lengths or lengths[0] < 1:
        held = "no response that ended" if path.is_dir() else f"no lengths above 0 in column {column}"
        raise UsageError(f"{path}: {held}; name another file or run")
    return lengths


def _of_table(path: Path, column: str) -> list[int]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file] if path.suffix == ".jsonl" else list(csv.DictReader(file))
    names = list(rows[0]) if rows and isinstance(rows[0], dict) else []
    if column not in names:
        raise UsageError(f"{path}: no column {column!r}; take one of {', '.join(map(str, names)) or 'another file'}")
    return [int(float(row[column])) for row in rows]


def _of_run(folder: Path) -> list[int]:
    stored = [one for one in read_events([folder / "events"]) if isinstance(one, Decision) and one.kind == "store"]
    return [int(one.fields[2]) + int(one.fields[3]) for one in stored if one.fields[4] != "cut"]
