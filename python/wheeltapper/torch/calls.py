"""Tells of module calls without a forward hook.

While any forward hook exists, torch calls modules through two more frames of its own, which the
traceback of an exception in a forward would show: the script's output would not be what it is
without us. A tap on the class's `_call_impl` leaves no trace.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from wheeltapper import _native
from wheeltapper.torch.guard import guarded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import nn

_CALL = "_call_impl"


def live_objects(owner: type) -> Iterator[Any]:
    """All objects of a class that are alive, whoever made them. Takes some 50 ms."""
    for each in gc.get_objects():
        # By type: isinstance would ask weak proxies whose object is gone.
        if issubclass(type(each), owner):
            yield each


class ModuleCalls:
    """A tap on the calls of one class of modules and of its subclasses; put and taken away at will."""

    def __init__(self, owner: type[nn.Module], hook: Callable[[nn.Module, Any, Any, Any], None]) -> None:
        """Calls hook(module, args, kwargs, output) after each call that returned."""
        self._owner = owner
        self._hook = hook
        self._after = guarded(self._called)
        self._tap: Any = None
        # What the class had for itself before; None when it inherits.
        self._own: object | None = None

    @property
    def present(self) -> bool:
        """True between `put` and `take_away`."""
        return self._tap is not None

    def put(self) -> None:
        """Begins to tell of calls."""
        if self._tap is not None:
            return
        original: Any = getattr(self._owner, _CALL)
        tap: Any = _native.tap(original, None, self._after)
        if hasattr(original, "__code__"):
            # torch.compile wraps the method of a class that it is given, if it has code.
            tap.__code__ = original.__code__
        self._own = vars(self._owner).get(_CALL)
        setattr(self._owner, _CALL, tap)
        self._tap = tap

    def take_away(self) -> None:
        """Ends it. Where somebody has taken the tap for the method by now, it stays there and is none any more."""
        tap, self._tap = self._tap, None
        if tap is None:
            return
        tap.silence()
        if vars(self._owner).get(_CALL) is not tap:
            return
        if self._own is None:
            delattr(self._owner, _CALL)
        else:
            setattr(self._owner, _CALL, self._own)

    def _called(self, output: Any, module: nn.Module, /, *args: Any, **kwargs: Any) -> None:
        self._hook(module, args, kwargs, output)
