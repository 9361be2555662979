"""Harvests the scalars that a script already sends to TensorBoard.

`SummaryWriter.add_scalar` and `add_scalars` of torch.utils.tensorboard and tensorboardX are tapped
after their import; what they write stays the same. A value belongs to Wheeltapper's present step,
so that all series share one axis; where no training step is seen, to the writer's own `global_step`.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from wheeltapper import _native, _session
from wheeltapper._fuse import fused_hook

WRITER_MODULES = ("torch.utils.tensorboard.writer", "tensorboardX.writer")


def tap_writer(module: ModuleType) -> None:
    """Taps the SummaryWriter of a module that has just been imported, once."""
    writer = getattr(module, "SummaryWriter", None)
    if writer is None or hasattr(writer.add_scalar, "__wrapped__"):
        return
    writer.add_scalar = _native.tap(writer.add_scalar, fused_hook(_on_scalar))
    writer.add_scalars = _native.tap(writer.add_scalars, fused_hook(_on_scalars))


def _on_scalar(
    _writer: Any, tag: Any = None, scalar_value: Any = None, global_step: Any = None, *_a: Any, **_k: Any
) -> None:
    _harvest({str(tag): scalar_value}, global_step)


def _on_scalars(
    _writer: Any,
    main_tag: Any = None,
    tag_scalar_dict: Any = None,
    global_step: Any = None,
    *_a: Any,
    **_k: Any,
) -> None:
    _harvest({f"{main_tag}/{tag}": value for tag, value in dict(tag_scalar_dict).items()}, global_step)


def _harvest(values: dict[str, Any], global_step: Any) -> None:
    session = _session.start() if _session.under_watcher() else _session.running()
    if session is None:
        return
    numbers = {name: number for name, value in values.items() if (number := _number(value)) is not None}
    if not numbers:
        return
    trains = session.native.global_step > 0 or session.backward_seen or session.round_open
    own_step = int(global_step) if isinstance(global_step, int) and not trains else None
    session.log(numbers, step=own_step)


def _number(value: Any) -> float | None:
    """A number, or a tensor of one element on the CPU; never waits for a device."""
    device = getattr(value, "device", None)
    if device is not None and str(getattr(device, "type", "cpu")) != "cpu":
        return None
    # A tensor that wants a gradient warns, on the script's stderr, when float() is asked of it.
    detach = getattr(value, "detach", None)
    try:
        return float(value if detach is None else detach())
    except (TypeError, ValueError):
        return None
