"""The doorman of a process: admits known CURVE keys to its sockets, and counts everybody else.

    stranger --handshake--> socket --ZAP request--> doorman: 200 for a known key, 400 for another
                                   --monitor------> doorman: no CURVE at all, a wrong server key, a cut handshake

A ZeroMQ server without an authenticator takes any client that knows its public key, so a socket that serves has a
doorman, which must be there before the socket is bound. It belongs to the thread that polls it.
The protocol is RFC 27 (ZAP).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from actors.live.keys import Keys

ZAP = "inproc://zeromq.zap.01"
REQUEST_FRAMES = 7
"""Version, request id, domain, address, identity, mechanism, the client's key."""
FAILED = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL


class Doorman:
    """Of one ZeroMQ context. `refuse` hears of each stranger."""

    def __init__(self, context: zmq.Context[Any], keys: Keys, refuse: Callable[[str], None]) -> None:
        self._known = keys.known
        self._refuse = refuse
        self._served: zmq.Socket[Any] | None = None
        self.requests = context.socket(zmq.REP)
        """To be polled; `answer` serves it."""
        self.requests.setsockopt(zmq.LINGER, 0)
        self.requests.bind(ZAP)
        self.failures: zmq.Socket[Any] | None = None
        """To be polled once a socket is watched; `note` serves it."""

    def watch(self, socket: zmq.Socket[Any]) -> zmq.Socket[Any]:
        """Hear of the failed handshakes of a socket; the socket that tells of them."""
        self._served = socket
        self.failures = socket.get_monitor_socket(FAILED)
        return self.failures

    def answer(self) -> bool:
        """Answer the requests that are there; False, for a `Loop`."""
        try:
            while True:
                frames = self.requests.recv_multipart(zmq.NOBLOCK)
                known = len(frames) == REQUEST_FRAMES and frames[5] == b"CURVE" and self._knows(frames[6])
                status = (b"200", b"") if known else (b"400", b"no known key")
                self.requests.send_multipart([*frames[:2], *status, b"", b""])
                if not known:
                    self._refuse(f"from {frames[3].decode(errors='replace')}: a key that is not admitted")
        except zmq.Again:
            return False

    def note(self) -> bool:
        """Count the failed handshakes that are there; False, for a `Loop`."""
        assert self.failures is not None
        try:
            while True:
                recv_monitor_message(self.failures, zmq.NOBLOCK)
                self._refuse("from an unknown sender: no handshake with the keys of this run")
        except zmq.Again:
            return False

    def close(self) -> None:
        """Close, before the context ends."""
        if self._served is not None and not self._served.closed:
            self._served.disable_monitor()
        if self.failures is not None:
            self.failures.close(0)
        self.requests.close(0)

    def _knows(self, key: bytes) -> bool:
        return z85.encode(key).decode() in self._known
