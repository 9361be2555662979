"""Wheeltapper: listens to every tensor of a training run and says what is wrong and why.

In most cases no code is needed: `wheeltapper run -- python train.py`. What a script may call, and
what reads a run afterwards, is here. Importing this module imports no framework.

Example:
    >>> import wheeltapper
    >>> wheeltapper.reduce([1.0, 2.0, 2.0])["l2"]
    3.0
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from wheeltapper import _session, errors
from wheeltapper._fuse import fused
from wheeltapper.errors import WheeltapperError

if TYPE_CHECKING:
    from wheeltapper.rules import Rule
    from wheeltapper.trial import Trial

    __version__: str

__all__ = [
    "Rule",
    "Trial",
    "WheeltapperError",
    "__version__",
    "attach",
    "errors",
    "flush",
    "log",
    "mode",
    "open",
    "reduce",
    "save_tensor",
    "step",
]


@fused
def attach(model: Any = None, optimizer: Any = None, *, loss: Callable[..., Any] | None = None, name: str = "") -> None:
    """Watches a PyTorch training loop from here on; `wheeltapper run` does this by itself.

    Calling it again adds models and optimizers; the same ones again change nothing.

    Args:
        model: A `torch.nn.Module`, or several. None: found at the first optimizer step.
        optimizer: A `torch.optim.Optimizer`, or several. None: found at their first step.
        loss: A loss module (`torch.nn.CrossEntropyLoss()`) whose values are recorded.
        name: Put before the names of this model's tensors; "" for the first model.
    """
    from wheeltapper.torch import hooks

    hooks.attach(_several(model), _several(optimizer), loss=loss, name=name)


@fused
def log(values: Mapping[str, Any], *, step: int | None = None, mode: str | None = None) -> None:
    """Records named numbers, visible to readers at once.

    Args:
        values: Name to number; anything with `item()` (a tensor of one element) counts as one.
            Nested mappings join their names with "/". What is no number is left out.
        step: The step the values belong to. None: the coming step when a backward pass has run
            since the last optimizer step, else the last finished one.
        mode: "train", "eval", "predict" or "global". None: as `mode()` says, else "eval" while the
            watched model is in eval mode.
    """
    session = _session.start()
    if session is not None:
        session.log(values, step=step, mode=None if mode is None else _mode_id(mode))


@fused
def save_tensor(name: str, array: Any, *, collection: str = "") -> None:
    """Records an array under a name of your choice, as part of the open step.

    Args:
        name: Stable for the whole run.
        array: A tensor, a NumPy array, or anything with the buffer protocol or DLPack's C exchange
            interface. It is read before this returns.
        collection: A collection it belongs to, besides those whose patterns match its name.
    """
    session = _session.start()
    if session is None:
        return
    if "torch" in sys.modules:
        from wheeltapper.torch.tensors import plain

        resolved = plain(array)
        array = array if resolved is None else resolved
    described = session.native.register_tensor(
        name,
        dtype=str(getattr(array, "dtype", "float32")).removeprefix("torch."),
        shape=tuple(getattr(array, "shape", ())),
        collection=collection,
    )
    session.native.record_array(described, array)


@fused
def step(*, mode: str = "train") -> None:
    """Says that a step has ended, for loops without a PyTorch optimizer and for evaluation steps.

    From its first call in mode "train" on, optimizer steps no longer count by themselves.
    """
    session = _session.start()
    if session is None:
        return
    which = _mode_id(mode)
    first = which == _session.TRAIN and not session.explicit_steps
    if first:
        session.explicit_steps = True
        if session.native.global_step > 0 and not (session.backward_seen or session.round_open):
            return  # the optimizer's own step has just been counted
    session.finish_step(which)


@contextmanager
def mode(name: str) -> Iterator[None]:
    """Says what the loop is doing: "train", "eval", "predict" or "global".

    Example:
        >>> with mode("eval"):
        ...     pass
    """
    which = _mode_id(name)
    session = _session.running()
    if session is None and _session.under_watcher():
        session = fused(_session.start)()
    before = None if session is None else session.mode
    if session is not None:
        session.enter_mode(which)
    try:
        yield
    finally:
        if session is not None:
            session.enter_mode(before)


@fused
def flush(timeout: float = 5.0) -> None:
    """Returns when everything recorded so far can be read by others.

    Args:
        timeout: Seconds to wait at most.
    """
    session = _session.running()
    if session is not None:
        session.native.flush(timeout)


def open(path: str | Any) -> Trial:  # noqa: A001 - the verb people expect
    """Opens a run directory, live or finished, for reading.

    Raises:
        wheeltapper.errors.NotFoundError: There is no run at `path`.
        wheeltapper.errors.DataLossError: It is damaged beyond reading.
        wheeltapper.errors.FailedPreconditionError: A newer version wrote it.
    """
    from wheeltapper.trial import Trial

    return Trial(path)


def reduce(array: Any, *, product: bool = False, median: bool = False, ddof: int = 0) -> dict[str, float]:
    """Every reduction of one array, by name, in one pass.

    Args:
        array: A CPU tensor, a NumPy array, anything with the buffer protocol, or a list of numbers.
        product: Also the product, which costs as much as everything else together.
        median: Also the exact median.
        ddof: 0 for variances as NumPy's, 1 as torch's.

    Returns:
        Counts (numel, nan_count, …) over all elements; moments, extremes and norms over the finite
        ones.

    Raises:
        wheeltapper.errors.InvalidArgumentError: `array` holds no numbers that can be read.
    """
    import array as standard_array

    from wheeltapper import _native

    if isinstance(array, list | tuple):
        array = standard_array.array("d", array)
    return _native.reduce(array, product=product, median=median, ddof=ddof)


def _several(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def _mode_id(name: str) -> int:
    if name not in _session.MODES:
        raise errors.InvalidArgumentError(f'choosing a mode: not one of {", ".join(_session.MODES)}: "{name}"')
    return _session.MODES.index(name)


if not TYPE_CHECKING:  # with it, a type checker would take every name for granted

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            from wheeltapper import _native

            return _native.__version__
        if name == "Rule":
            from wheeltapper.rules import Rule

            return Rule
        if name == "Trial":
            from wheeltapper.trial import Trial

            return Trial
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
