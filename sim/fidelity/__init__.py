"""Predictions against what was recorded and published, with the misses."""
