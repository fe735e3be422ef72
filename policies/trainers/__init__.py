"""Trainers: one file each behind the port, around one synchronous core."""
