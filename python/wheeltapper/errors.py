"""The errors of Wheeltapper: each is also the Python error that code already catches.

Example:
    >>> try:
    ...     raise NotFoundError('opening a run: no run.json: "runs/x"')
    ... except KeyError as error:
    ...     print(error)
    opening a run: no run.json: "runs/x"
"""

from __future__ import annotations

__all__ = [
    "AlreadyExistsError",
    "CancelledError",
    "DataLossError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "InternalError",
    "InvalidArgumentError",
    "NotFoundError",
    "OutOfRangeError",
    "ResourceExhaustedError",
    "UnavailableError",
    "UnimplementedError",
    "WheeltapperError",
]


class WheeltapperError(Exception):
    """Base of all errors; the text reads "doing what: why: value"."""


class InvalidArgumentError(WheeltapperError, ValueError):
    """The caller passed something that can never work."""


class NotFoundError(WheeltapperError, KeyError):
    """A named thing does not exist."""

    # KeyError shows repr(message); people read the message itself.
    __str__ = Exception.__str__


class AlreadyExistsError(WheeltapperError, FileExistsError):
    """A thing that must be new is there already."""

    __str__ = Exception.__str__


class FailedPreconditionError(WheeltapperError, RuntimeError):
    """The state does not allow it now."""


class OutOfRangeError(WheeltapperError, IndexError):
    """Past the end of what exists."""


class ResourceExhaustedError(WheeltapperError, OSError):
    """Disk, memory, quota or ring is full."""

    __str__ = Exception.__str__


class UnavailableError(WheeltapperError, ConnectionError):
    """May work when tried again."""

    __str__ = Exception.__str__


class DeadlineExceededError(WheeltapperError, TimeoutError):
    """Ran out of time."""

    __str__ = Exception.__str__


class CancelledError(WheeltapperError):
    """Someone asked to stop."""


class DataLossError(WheeltapperError, ValueError):
    """Stored bytes are damaged."""


class UnimplementedError(WheeltapperError, NotImplementedError):
    """Known, but not built."""


class InternalError(WheeltapperError, RuntimeError):
    """A mistake of Wheeltapper's own."""
