"""Whether gradients stay from one step to the next, because nothing clears them: zero_grad() is missing.

A gradient that is still the same tensor, changed once since the step although backward() ran once,
was added to and not zeroed, unless the script zeroed it through `.data`, which counts no change. So
its values are looked at once, when the pattern is about to be told; on other devices they are not,
because that would wait for the device. Who clips or unscales gradients changes them once more, so
that nothing is said there.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from wheeltapper.torch.tensors import plain

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

STEPS_IN_A_ROW = 3


class KeptGradient:
    """Watches one gradient of one optimizer, in its first steps: until it is cleared, or kept for three."""

    def __init__(self) -> None:
        self._parameter: torch.Tensor | None = None  # whose gradient is watched
        # Not held: the memory of a gradient that is cleared is free until the next backward().
        self._gradient: weakref.ref[torch.Tensor] | None = None
        self._version = 0
        self._backwards = 0
        self._kept = 0
        self._over = False
        self._is_zero: bool | None = None  # when the last backward() began; None: nobody looked

    @property
    def is_due(self) -> bool:
        """Whether `before_backward` is to be called when the next backward() begins."""
        return self._gradient is not None and self._kept == STEPS_IN_A_ROW - 1

    @property
    def was_read(self) -> bool:
        """Whether the values of the gradient were looked at, and not only how often it was changed."""
        return self._is_zero is not None

    def before_backward(self) -> None:
        """backward() begins on whatever is left of the step before."""
        gradient = None if self._gradient is None else self._gradient()
        values = None if gradient is None else plain(gradient)
        if values is not None:
            self._is_zero = not bool(values.any())

    def before_step(self, backwards: int) -> torch.Tensor | None:
        """The parameter, once, when its gradient was kept for STEPS_IN_A_ROW; `backwards` counts backward()."""
        reference, self._gradient = self._gradient, None
        if reference is None or self._parameter is None:
            return None
        gradient = reference()
        is_kept = (
            gradient is not None
            and self._parameter.grad is gradient
            and gradient._version == self._version + 1
            and backwards == self._backwards + 1
            and not self._is_zero
        )
        self._kept = self._kept + 1 if is_kept else 0
        self._over = not is_kept or self._kept == STEPS_IN_A_ROW
        return self._parameter if is_kept and self._over else None

    def after_step(self, parameters: Iterable[torch.Tensor], backwards: int) -> None:
        """The optimizer of these parameters has stepped."""
        if self._over:
            self._parameter = None
            return
        if self._parameter is None:
            with_gradient = [p for p in parameters if p.grad is not None]
            self._parameter = min(with_gradient, key=lambda p: p.numel(), default=None)
        gradient = None if self._parameter is None else self._parameter.grad
        if gradient is not None:
            self._gradient = weakref.ref(gradient)
            self._version = gradient._version
            self._backwards = backwards
