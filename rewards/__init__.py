"""Rewards: the port, one file per reward, the tasks, and the sandbox that a hanging scorer dies in."""
