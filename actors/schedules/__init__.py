"""Schedules: pure decisions about when groups are opened, who generates what, and how weights are installed."""
