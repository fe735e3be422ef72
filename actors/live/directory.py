"""Which process has which address, and which actor lives in which process.

On one machine a process listens at a file in a folder of its user, named after the process; over TCP each one listens
at a port that the system chooses, and its address is known once it has told the launcher. `@launcher` is the launcher
itself, `@NAME` the host of process NAME.
"""

from __future__ import annotations

import hashlib
import re

import msgspec

LAUNCHER = "@launcher"


class Directory(msgspec.Struct):
    """Grows as actors are spawned; every host has its copy."""

    folder: str
    """Where processes without a given address listen; empty where all addresses are told."""
    addresses: dict[str, str] = {}
    """Process to address, where one was given."""
    homes: dict[str, str] = {}
    """Actor to process."""
    detour: str = ""
    """Folder of a proxy through which processes without a given address reach each other; "": directly."""

    def listens(self, process: str) -> str:
        """Where a process listens; empty while that is not known."""
        beside = f"ipc://{self.folder}/{file_name(process)}" if self.folder else ""
        return self.addresses.get(process) or beside

    def address(self, process: str) -> str:
        """Where others reach it; empty while that is not known."""
        if self.detour:
            return self.addresses.get(process) or f"ipc://{self.detour}/{file_name(process)}"
        return self.listens(process)

    def home(self, actor: str) -> str | None:
        """The process of an actor, or None if nobody has heard of it."""
        return self.homes.get(actor)


def file_name(process: str) -> str:
    """A short file name for a process: socket paths may have no more than 107 bytes."""
    if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", process):
        return process
    return hashlib.blake2b(process.encode(), digest_size=12).hexdigest()


def any_port(host: str) -> str:
    """Where to listen on TCP: at this address of the machine, at a port that the system chooses."""
    return f"tcp://[{host}]:*" if ":" in host else f"tcp://{host}:*"
