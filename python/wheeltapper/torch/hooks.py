"""Where PyTorch calls us: optimizer steps, backward, module construction, the loader, GradScaler.

All hooks are installed once per process. Functions of torch that have no hook are replaced by a
tap, a C callable that leaves no frame in tracebacks.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch.nn.modules import module as nn_module
from torch.optim.optimizer import (
    Optimizer,
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

from wheeltapper import _native
from wheeltapper._fuse import FUSE
from wheeltapper.torch.calls import live_objects
from wheeltapper.torch.capture import CAPTURE, TorchCapture
from wheeltapper.torch.guard import guarded
from wheeltapper.torch.names import unwrap

_INSTALLED: list[object] = []


def install() -> None:
    """Installs all hooks. Idempotent."""
    if _INSTALLED:
        return
    capture = CAPTURE
    # Nobody closes the step that is armed then.
    FUSE.on_blown.append(lambda _text: capture.activations.arm(False))
    _INSTALLED.append(register_optimizer_step_pre_hook(guarded(capture.before_step)))
    _INSTALLED.append(register_optimizer_step_post_hook(guarded(capture.after_step)))
    registry = capture.registry
    _INSTALLED.append(nn_module.register_module_module_registration_hook(guarded(registry.on_module)))
    _INSTALLED.append(nn_module.register_module_parameter_registration_hook(guarded(registry.on_parameter)))
    capture.loss_modules.begin()
    _install_taps(capture)
    watch_compiler()


def _tap(owner: Any, name: str, *, before: Any = None, after: Any = None) -> None:
    original = getattr(owner, name, None)
    if original is not None:
        setattr(owner, name, _native.tap(original, before, after))


def _install_taps(capture: TorchCapture) -> None:
    _tap(torch.autograd, "backward", before=guarded(capture.before_backward))
    _tap(
        Optimizer,
        "__init__",
        before=guarded(capture.before_optimizer_init),
        after=guarded(capture.after_optimizer_init),
    )
    watch = guarded(lambda _none, self, *_a, **_k: capture.loss_modules.add(self))
    _tap(torch.nn.modules.loss._Loss, "__init__", after=watch)
    # Module.compile keeps the method that it finds.
    _tap(torch.nn.Module, "compile", before=_on_compile)
    loader = torch.utils.data.dataloader._BaseDataLoaderIter
    _tap(
        loader,
        "__next__",
        before=guarded(capture.data_wait.before_next),
        after=guarded(capture.data_wait.after_next),
    )
    scaler = getattr(torch.amp, "GradScaler", None)
    if scaler is not None:
        _tap(scaler, "scale", after=guarded(capture.after_scale))
        _tap(
            scaler,
            "step",
            before=guarded(capture.before_scaler_step),
            after=guarded(capture.after_scaler_step),
        )


def watch_compiler() -> None:
    """Has the taps on module calls taken away before torch.compile traces anything.

    Called again by the shim once `torch._dynamo` has been imported; importing it here would cost
    every job a second.
    """
    dynamo = sys.modules.get("torch._dynamo.callback")
    handler = getattr(dynamo, "callback_handler", None)
    if handler is None or any(hook is _on_compile for hook in handler.start_callbacks):
        return
    handler.register_start_callback(_on_compile)


def _on_compile(*_args: Any, **_kwargs: Any) -> None:
    # Not guarded: the taps have to go also when the fuse has blown, and while something is compiled.
    try:
        CAPTURE.on_compile()
    except Exception as error:  # noqa: BLE001 - the observed must never be hurt
        FUSE.report(error)


def _has_compiled_module() -> bool:
    """True when torch.compile had wrapped a module before this could be noticed."""
    dynamo = sys.modules.get("torch._dynamo.eval_frame")
    wrapper = getattr(dynamo, "OptimizedModule", None)
    return wrapper is not None and next(live_objects(wrapper), None) is not None


def attach(models: list[Any], optimizers: list[Any], *, loss: Any, name: str) -> None:
    """What `wheeltapper.attach` does once it has looked at its arguments."""
    install()
    if _has_compiled_module():
        _on_compile()
    for model in models:
        CAPTURE.add_model(unwrap(model), prefix=name)
    CAPTURE.optimizers.update(optimizers)
    if loss is not None:
        CAPTURE.loss_modules.add(loss)
    CAPTURE.session()
