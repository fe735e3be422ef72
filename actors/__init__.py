"""The cast: actors, their messages, their kernel, their schedules, and the live world that runs them."""
