"""One fuse around everything that runs in the user's process.

No exception of ours reaches the user's code: a fused function catches it, counts it and returns
None; after `MAX_ERRORS` it does nothing any more. With `WHEELTAPPER_STRICT=1` (all tests) the
exception is raised instead.
"""

from __future__ import annotations

import contextlib
import functools
import os
import traceback
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

MAX_ERRORS = 8


class Fuse:
    """Counts errors; blown after too many. One per process."""

    def __init__(self) -> None:
        self.strict = os.environ.get("WHEELTAPPER_STRICT") == "1"
        self.errors = 0
        self.blown = False
        self.last_error = ""
        # Called with the first error.
        self.on_first: Callable[[Exception], None] | None = None
        # Each is called once with the last traceback when the fuse blows.
        self.on_blown: list[Callable[[str], None]] = []

    def report(self, error: Exception) -> None:
        """Counts one error and blows after the last that is tolerated.

        Raises:
            Exception: The error itself, under `WHEELTAPPER_STRICT=1`.
        """
        if self.strict:
            raise error
        self.errors += 1
        self.last_error = "".join(traceback.format_exception(error))
        # Telling about a failure must not fail.
        with contextlib.suppress(Exception):
            if self.errors == 1 and self.on_first is not None:
                self.on_first(error)
        if self.errors >= MAX_ERRORS and not self.blown:
            self.blown = True
            for listener in self.on_blown:
                with contextlib.suppress(Exception):
                    listener(self.last_error)


FUSE = Fuse()


def fused(function: Callable[P, R]) -> Callable[P, R | None]:
    """Wraps a function that the user's process calls, directly or as a hook.

    Example:
        >>> @fused
        ... def hook(value):
        ...     return value + 1
        >>> hook(1)
        2
    """

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> R | None:
        if FUSE.blown:
            return None
        try:
            return function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the observed must never be hurt
            FUSE.report(error)
            return None

    return guarded


def fused_hook(function: Callable[P, object]) -> Callable[P, None]:
    """As `fused`, and always returns None: frameworks act on what a hook returns."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        if FUSE.blown:
            return
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the observed must never be hurt
            FUSE.report(error)

    return guarded
