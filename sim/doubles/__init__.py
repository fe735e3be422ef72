"""Doubles of the ports: they take their time from cost models, and emit what the real ones emit."""
