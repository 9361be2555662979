"""Losses: what backward() starts from, and what torch.nn's loss modules return.

Values gather until the step ends and are recorded as their mean over the step's micro-batches:
`loss/backward`, `loss/<class name>`. Losses of evaluation are recorded once, with mode eval, when
training goes on.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.loss import _Loss

from wheeltapper import _session
from wheeltapper.torch.calls import ModuleCalls, live_objects
from wheeltapper.torch.guard import guarded
from wheeltapper.torch.tensors import number

if TYPE_CHECKING:
    from collections.abc import Callable


class LossBook:
    """Sums of the losses since the last step, by name."""

    def __init__(self) -> None:
        self.training: dict[str, list[float]] = {}
        self.evaluation: dict[str, list[float]] = {}
        # Results of GradScaler.scale → the loss before scaling.
        self._unscaled: dict[int, tuple[weakref.ref[torch.Tensor], float]] = {}

    def note_scaled(self, scaled: Any, loss: Any) -> None:
        """Remembers the unscaled value behind a scaled loss."""
        if isinstance(scaled, torch.Tensor) and isinstance(loss, torch.Tensor):
            value = number(loss)
            if value is not None:
                self._unscaled[id(scaled)] = (weakref.ref(scaled), value)

    def was_scaled(self, tensors: Any) -> bool:
        """Whether GradScaler.scale made what backward() is about to start from."""
        remembered = self._unscaled.get(id(tensors))
        return remembered is not None and remembered[0]() is tensors

    def add_backward(self, tensors: Any, *, seeded: bool) -> None:
        """A backward pass starts from `tensors`; not a loss when it was given gradients."""
        if seeded:
            return
        for tensor in tensors if isinstance(tensors, list | tuple) else (tensors,):
            if not isinstance(tensor, torch.Tensor):
                continue
            value = self._value(tensor)
            if value is not None:
                _add(self.training, "loss/backward", value)

    def _value(self, loss: torch.Tensor) -> float | None:
        was_scaled = self.was_scaled(loss)
        remembered = self._unscaled.pop(id(loss), None)
        return remembered[1] if was_scaled and remembered is not None else number(loss)

    def add_module(self, module: nn.Module, output: Any, *, training: bool) -> None:
        """A loss module has returned."""
        value = number(output) if isinstance(output, torch.Tensor) else None
        if value is not None:
            book = self.training if training else self.evaluation
            _add(book, f"loss/{type(module).__name__}", value)

    def take_training(self) -> dict[str, float]:
        """The means since the last step; the book is empty afterwards."""
        self._unscaled.clear()
        return _means(self.training)

    def take_evaluation(self) -> dict[str, float]:
        """The means of the evaluation that has ended."""
        return _means(self.evaluation)


def _add(book: dict[str, list[float]], name: str, value: float) -> None:
    entry = book.get(name)
    if entry is None:
        book[name] = [value, 1]
    else:
        entry[0] += value
        entry[1] += 1


def _means(book: dict[str, list[float]]) -> dict[str, float]:
    means = {name: total / count for name, (total, count) in book.items()}
    book.clear()
    return means


class LossHook:
    """Forward hook of one loss module. A saved module does not need Wheeltapper to be loaded."""

    def __init__(self, book: LossBook) -> None:
        self._book = book
        self._guarded = guarded(self.note)

    def __call__(self, module: nn.Module, _inputs: Any, output: Any) -> None:
        """Called by torch; invisible to torch.compile."""
        self._guarded(module, output)

    def note(self, module: nn.Module, output: Any) -> None:
        """Adds the output to the book."""
        session = _session.running()
        if session is None:
            return
        mode = session.mode
        if mode is None:
            trains = isinstance(output, torch.Tensor) and output.requires_grad
            mode = _session.TRAIN if trains else _session.EVAL
        self._book.add_module(module, output, training=mode == _session.TRAIN)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles as a function of the standard library that does nothing."""
        return getattr, (contextlib.nullcontext, "__exit__")

    def __deepcopy__(self, _memo: Any) -> LossHook:
        """A copied module is watched like the original."""
        return self


class LossModules:
    """Watches loss modules: torch.nn's by a tap on their class, the job's own by a hook each.

    Once the job compiles anything, the tap gives way to hooks as well: torch.compile traces through
    a hook, but would have to break its graph at the tap.
    """

    def __init__(self, book: LossBook, on_call: Callable[[nn.Module, Any, Any, Any], None]) -> None:
        """Adds losses to `book`, and tells `on_call` of calls, which no tap on torch.nn.Module sees."""
        self._hook = LossHook(book)
        self._on_call = on_call
        self._calls = ModuleCalls(_Loss, self._called)
        self._compiled = False

    def begin(self) -> None:
        """Watches torch.nn's loss modules. Idempotent."""
        if not self._compiled:
            self._calls.put()

    def add(self, module: Any) -> None:
        """Watches one loss module, once. Anything else is left alone."""
        if isinstance(module, nn.Module) and (self._compiled or not isinstance(module, _Loss)):
            self._add_hook(module)

    def on_compile(self) -> None:
        """Something is being compiled: hooks take over."""
        if self._compiled:
            return
        self._compiled = True
        self._calls.take_away()
        for module in live_objects(_Loss):
            self._add_hook(module)

    def _add_hook(self, module: nn.Module) -> None:
        hooks = vars(module).get("_forward_hooks")  # None: one that is only being made
        if hooks is not None and not any(isinstance(hook, LossHook) for hook in hooks.values()):
            module.register_forward_hook(self._hook)

    def _called(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._hook.note(module, output)
        self._on_call(module, args, kwargs, output)
