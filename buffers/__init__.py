"""Segments, trajectories and groups; the prioritized buffer of pure decisions and the durable store below it."""
