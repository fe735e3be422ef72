"""The error family of the house.

Errors are raised early, with the name, the value and the remedy. They are caught at three places only: the supervisor,
the reward sandbox and the edge of a socket; `cli` turns a `UsageError` into one line and exit status 2.
"""


class BraidError(Exception):
    """Any error that Braid raises on purpose."""


class UsageError(BraidError):
    """A person's input is wrong: a config key, a data line, a path. The message names key, value and remedy."""


class ContractError(BraidError):
    """Code broke a rule of the house: a foreign awaitable, an illegal state change, a port called after close."""


class InvalidSegment(BraidError):
    """A segment whose parts do not fit together: lengths, versions, positions, log-probabilities."""


class WireError(BraidError):
    """Bytes from a socket that are no message of this house: unknown kind, wrong version, over a limit."""


class CorruptStore(BraidError):
    """Bytes on disk are not what was written. The message names the store and the row."""
