"""The virtual world: the same actors on a clock of its own, with faults, cost models and explorers."""
