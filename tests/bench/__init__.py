"""Benchmarks: one file each, run side by side with a peer; `python -m tests.bench NAME`."""
