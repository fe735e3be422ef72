"""Tests by kind: unit, property, simulation, conformance, end_to_end; `bench` measures and asserts nothing."""
