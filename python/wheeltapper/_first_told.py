"""Which step the first `wheeltapper.step()` ended, where an optimizer has counted steps before it.

Behind `optimizer.step()` it means the step that the optimizer has just counted; in a loop of the
script's own that follows training, a step of that loop. Nothing tells at the call. Training that
goes on tells the first; a second call, or the same recorded under the same name again, the second:
the loop has come round without training.
"""

from __future__ import annotations

from collections.abc import Iterable


class FirstTold:
    """What is known of that first call.

    Example:
        >>> first = FirstTold()
        >>> first.comes_again("log", ["cost"])
        False
        >>> first.happen()
        >>> [first.comes_again("save", ["cost"]), first.comes_again("log", ["cost"])]
        [False, True]
    """

    def __init__(self) -> None:
        self.unsettled = False  # it has come, and which step it ended is not known
        self.holds_saved = False  # what was saved before it is in the open transaction
        self._recorded: dict[str, set[str]] = {"log": set(), "save": set()}  # since training

    def forget(self) -> None:
        """A step of training has ended."""
        for names in self._recorded.values():
            names.clear()

    def happen(self) -> None:
        """It comes, and nothing tells which step it ends."""
        self.unsettled = self.holds_saved = True

    def comes_again(self, kind: str, names: Iterable[str]) -> bool:
        """These are recorded in training mode.

        True when the call is unsettled and one of them was recorded between training and it.
        """
        before = self._recorded[kind]
        if self.unsettled:
            return not before.isdisjoint(names)
        before.update(names)
        return False

    def settle(self) -> None:
        """Which step it ended is known now."""
        self.unsettled = self.holds_saved = False
        self.forget()
