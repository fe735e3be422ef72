"""CURVE keys of a run: who may talk to its processes over TCP.

One pair belongs to one start of a run, and all of its processes hold it; a socket that serves admits the pair itself
and the public keys that were admitted by name. A pair is made anew for each start, or kept in a file of mode 600 that
`braid keys` writes. It reaches a process through a pipe, or through Ray; nothing writes the secret to a log, and its
text form hides it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec
import zmq

from buffers.errors import UsageError

DOMAIN = b"braid"
KEY_CHARACTERS = 40
"""Of a key in Z85."""


class Keys(msgspec.Struct, frozen=True):
    """A CURVE pair in Z85, and whom it admits beside itself."""

    public: str
    secret: str
    admitted: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Without the secret."""
        return f"Keys(public={self.public!r}, admitted={self.admitted!r})"

    __str__ = __repr__

    @property
    def known(self) -> frozenset[str]:
        """Every public key that is let in."""
        return frozenset((self.public, *self.admitted))


def make_keys(admitted: tuple[str, ...] = ()) -> Keys:
    """A fresh pair."""
    for key in admitted:
        check_key(key, "--admit")
    public, secret = zmq.curve_keypair()
    return Keys(public.decode(), secret.decode(), admitted)


def write_keys(path: Path, keys: Keys) -> None:
    """Write a key file that its user alone can read; one that exists is never overwritten."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; name another file, or remove it if nobody uses its keys") from None
    except OSError as error:
        raise UsageError(f"{path}: keys cannot be written here ({error.strerror}); name another file") from None
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, 0o600)  # whatever the umask
        file.write(msgspec.json.format(msgspec.json.encode(keys), indent=1) + b"\n")


def read_keys(path: Path) -> Keys:
    """The pair in a key file; `UsageError` where others could read it, or where it is none."""
    try:
        mode = path.stat().st_mode & 0o777
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: no key file ({error.strerror}); make one with braid keys {path}") from None
    if mode & 0o077:
        raise UsageError(f"{path} can be read by others (mode {mode:o}); chmod 600 {path}, or make new keys")
    try:
        keys = msgspec.json.decode(data, type=Keys)
    except msgspec.DecodeError:
        raise UsageError(f"{path} is no key file; make one with braid keys FILE") from None
    for key in (keys.public, keys.secret, *keys.admitted):
        check_key(key, str(path))
    if zmq.curve_public(keys.secret.encode()).decode() != keys.public:
        raise UsageError(f"{path}: its two keys are no pair; make new ones with braid keys FILE")
    return keys


def check_key(key: str, origin: str) -> None:
    """Refuse what is no key, without showing it."""
    try:
        sound = len(key) == KEY_CHARACTERS and bool(zmq.curve_public(key.encode("ascii")))
    except (ValueError, zmq.ZMQError):
        sound = False
    if not sound:
        raise UsageError(f"{origin}: a key has {KEY_CHARACTERS} characters of Z85; make some with braid keys")


def serve_with(socket: zmq.Socket[Any], keys: Keys) -> None:
    """Let a socket accept CURVE connections only; who is admitted says the doorman of its context."""
    socket.setsockopt(zmq.CURVE_SERVER, 1)
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
    socket.setsockopt(zmq.ZAP_DOMAIN, DOMAIN)


def connect_with(socket: zmq.Socket[Any], keys: Keys) -> None:
    """Let a socket connect to processes of the same run only."""
    socket.setsockopt(zmq.CURVE_SERVERKEY, keys.public.encode())
    socket.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.encode())
    socket.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
