"""Addresses for tests that listen."""

from __future__ import annotations

import socket


def free_tcp_address(host: str) -> str:
    """An address at a port of this machine that nobody uses now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return f"tcp://{host}:{probe.getsockname()[1]}"
