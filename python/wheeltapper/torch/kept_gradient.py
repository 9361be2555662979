"""Whether gradients stay from one step to the next, because nothing clears them: zero_grad() is missing.

No value is read: a gradient that is still the same tensor, changed once since the step although
backward() ran once, was added to and not zeroed. Who clips or unscales gradients changes them once
more, so that nothing is said there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

STEPS_IN_A_ROW = 3


class KeptGradient:
    """Watches one gradient of one optimizer, in its first steps: until it is cleared, or kept for three."""

    def __init__(self) -> None:
        self._parameter: torch.Tensor | None = None  # whose gradient is watched
        self._gradient: torch.Tensor | None = None
        self._version = 0
        self._backwards = 0
        self._kept = 0
        self._over = False

    def before_step(self, backwards: int) -> torch.Tensor | None:
        """The parameter, once, when its gradient was kept for STEPS_IN_A_ROW; `backwards` counts backward()."""
        gradient, self._gradient = self._gradient, None
        if gradient is None or self._parameter is None:
            return None
        is_kept = (
            self._parameter.grad is gradient
            and gradient._version == self._version + 1
            and backwards == self._backwards + 1
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
            self._gradient = gradient
            self._version = gradient._version
            self._backwards = backwards
