"""Random numbers as a function of (seed, stream, counter), so that a counter is all there is to store.

Two streams never meet: the stream is part of what is mixed. The mixer is splitmix64 (Steele, Lea and Flood, "Fast
splittable pseudorandom number generators", 2014).
"""

from __future__ import annotations

_MASK = (1 << 64) - 1


def mix(word: int) -> int:
    """One splitmix64 output for a 64-bit state."""
    word = (word + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


def uniform(seed: int, stream: int, counter: int) -> float:
    """The `counter`-th number of a stream, in [0, 1)."""
    return (mix(mix(mix(seed & _MASK) ^ stream) ^ counter) >> 11) * 2.0**-53


def permutation(length: int, seed: int, stream: int) -> list[int]:
    """The numbers 0 .. length - 1 in an order drawn from (seed, stream) (Fisher-Yates)."""
    order = list(range(length))
    for last in range(length - 1, 0, -1):
        other = int(uniform(seed, stream, last) * (last + 1))
        order[last], order[other] = order[other], order[last]
    return order
