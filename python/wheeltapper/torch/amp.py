"""Automatic mixed precision: unscaled gradients, and steps that GradScaler skipped.

A fused optimizer gets its gradients still scaled, and is called even when they hold infinities: it
is told so by `optimizer.grad_scale` and `optimizer.found_inf`. Any other optimizer gets unscaled
gradients, and is not called then.
"""

from __future__ import annotations

from typing import Any

import torch

from wheeltapper.torch.tensors import number


def gradient_scale(optimizer: torch.optim.Optimizer) -> float:
    """What the gradients have to be multiplied by to be unscaled."""
    scale = getattr(optimizer, "grad_scale", None)
    value = number(scale) if isinstance(scale, torch.Tensor) else None
    return 1.0 if not value else 1.0 / value


def skips(optimizer: torch.optim.Optimizer) -> bool:
    """True when a fused optimizer is called only to do nothing."""
    found = getattr(optimizer, "found_inf", None)
    value = number(found) if isinstance(found, torch.Tensor) else None
    return bool(value)


class ScalerWatch:
    """The loss scale and the steps that were skipped.

    `loss_scale` is what the losses of the step under way were multiplied by; None where no scaler
    is used, or where it keeps the scale on a device that reading would wait for.
    """

    def __init__(self) -> None:
        self.loss_scale: float | None = None
        self.skipped_steps = 0
        self._used = False
        self._calls_before = 0

    def before_step(self, scaler: Any, calls: int) -> None:
        """GradScaler.step begins; `calls` counts the optimizer's steps so far."""
        self._calls_before = calls
        self._used = self._used or bool(scaler.is_enabled())
        scale = getattr(scaler, "_scale", None)
        if isinstance(scale, torch.Tensor):
            self.loss_scale = number(scale)

    def after_step(self, scaler: Any, calls: int) -> bool:
        """GradScaler.step has ended; True when it did not call the optimizer."""
        return bool(scaler.is_enabled()) and calls == self._calls_before

    def scalars(self) -> dict[str, float]:
        """What to record with a step; nothing where no scaler is used."""
        values = {"amp/skipped_steps": float(self.skipped_steps)} if self._used else {}
        if self.loss_scale is not None:
            values["amp/loss_scale"] = self.loss_scale
        return values
