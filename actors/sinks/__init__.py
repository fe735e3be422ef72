"""Sinks of the recorder: where numbers go."""
