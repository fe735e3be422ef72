"""Engines: one file each. What only the torch engine needs lies in `lean/`."""
