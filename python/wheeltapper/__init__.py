"""Wheeltapper: listens to every tensor of a training run and says what is wrong and why.

In most cases no code is needed: `wheeltapper run -- python train.py`. What a script may call, and
what reads a run afterwards, is here. Importing this module imports no framework.

Example:
    >>> import wheeltapper
    >>> wheeltapper.reduce([1.0, 2.0, 2.0])["l2"]
    3.0
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, overload

from wheeltapper import _session, errors
from wheeltapper._fuse import fused
from wheeltapper._scalars import numbers_of
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

_NO_VALUE: Any = object()
_LOG_USAGE = 'log: takes a mapping of names to numbers, or a name and a number: log({"loss": x}) or log("loss", x)'


def attach(model: Any = None, optimizer: Any = None, *, loss: Callable[..., Any] | None = None, name: str = "") -> None:
    """Watches a PyTorch training loop from here on; `wheeltapper run` does this by itself.

    Calling it again adds models and optimizers; the same ones again change nothing.

    Args:
        model: A `torch.nn.Module`, or several. None: found at the first optimizer step.
        optimizer: A `torch.optim.Optimizer`, or several. None: found at their first step.
        loss: A loss module (`torch.nn.CrossEntropyLoss()`) whose values are recorded.
        name: Put before the names of this model's tensors; "" for the first model.

    Raises:
        TypeError: One of them is something else.
        wheeltapper.errors.InvalidArgumentError: The configuration has a mistake.
    """
    import torch

    models, optimizers = _several(model), _several(optimizer)
    for each in models:
        _need(each, torch.nn.Module, "attach: a model is a torch.nn.Module")
    for each in optimizers:
        _need(each, torch.optim.Optimizer, "attach: an optimizer is a torch.optim.Optimizer")
    if loss is not None:
        _need(loss, torch.nn.Module, "attach: a loss is a torch.nn.Module")
    _need(name, str, "attach: a name is a str")
    _session.start_asked()
    _attach(models, optimizers, loss, name)


@fused
def _attach(models: list[Any], optimizers: list[Any], loss: Any, name: str) -> None:
    from wheeltapper.torch import hooks

    hooks.attach(models, optimizers, loss=loss, name=name)


@overload
def log(values: Mapping[str, Any], /, *, step: int | None = None, mode: str | None = None) -> None: ...
@overload
def log(name: str, value: Any, /, step: int | None = None, *, mode: str | None = None) -> None: ...
def log(values: Any, value: Any = _NO_VALUE, /, step: int | None = None, *, mode: str | None = None) -> None:
    """Records named numbers, visible to readers at once: `log({"accuracy": x})` or `log("accuracy", x)`.

    Args:
        values: Name to number; anything with `item()` (a tensor of one element) counts as one.
            Nested mappings join their names with "/". What is no number is left out. Or one name.
        value: The number, when `values` is its name.
        step: The step the values belong to. None: the coming step when a backward pass has run
            since the last optimizer step, else the last finished one.
        mode: "train", "eval", "predict" or "global". None: as `mode()` says, else "eval" while the
            watched model is in eval mode.

    Raises:
        TypeError: What is given is neither a mapping nor a name and a number.
        wheeltapper.errors.InvalidArgumentError: There is no such mode, or the configuration has a
            mistake.
    """
    if value is not _NO_VALUE:
        values = _one_value(values, value)
    elif not isinstance(values, Mapping):
        raise TypeError(f"{_LOG_USAGE}, not {_type_name(values)}")
    if step is not None:
        step = operator.index(step)
    which = None if mode is None else _mode_id(mode)
    _log(_session.start_asked(), values, step, which)


@fused
def _log(session: _session.RankSession | None, values: Mapping[str, Any], step: int | None, mode: int | None) -> None:
    if session is not None:
        session.log(values, step=step, mode=mode)


def _one_value(name: Any, value: Any) -> dict[str, Any]:
    if not isinstance(name, str):
        raise TypeError(f"{_LOG_USAGE}, not {_type_name(name)} and {_type_name(value)}")
    values = {name: value}
    if next(numbers_of(values), None) is None:
        raise TypeError(f'log: the value of "{name}" is a number, not {_type_name(value)}')
    return values


def save_tensor(name: str, array: Any, *, collection: str = "") -> None:
    """Records an array under a name of your choice, as part of the open step.

    Args:
        name: Stable for the whole run.
        array: A tensor, a NumPy array, or anything with the buffer protocol or DLPack's C exchange
            interface. It is read before this returns.
        collection: A collection it belongs to, besides those whose patterns match its name.

    Raises:
        TypeError: The name is no text, or the array no array.
        wheeltapper.errors.InvalidArgumentError: The configuration has a mistake.
    """
    _need(name, str, "save_tensor: a name is a str")
    _need(collection, str, "save_tensor: a collection is a str")
    # In this order: the shape of a nested tensor is an error.
    if not hasattr(array, "__dlpack__") and not hasattr(array, "shape"):
        try:
            memoryview(array)
        except TypeError:
            raise TypeError(f"save_tensor: an array is a tensor or a buffer, not {_type_name(array)}") from None
    _save_tensor(_session.start_asked(), name, array, collection)


@fused
def _save_tensor(session: _session.RankSession | None, name: str, array: Any, collection: str) -> None:
    if session is None:
        return
    if "torch" in sys.modules:
        from wheeltapper.torch.tensors import plain

        resolved = plain(array)
        array = array if resolved is None else resolved
    try:
        shape = tuple(getattr(array, "shape", ()))
    except RuntimeError:  # a nested tensor has none
        shape = ()
    described = session.native.register_tensor(
        name,
        dtype=str(getattr(array, "dtype", "float32")).removeprefix("torch."),
        shape=shape,
        collection=collection,
    )
    session.save(described, name, array)


def step(*, mode: str = "train") -> None:
    """Says that a step has ended, for loops without a PyTorch optimizer and for evaluation steps.

    Every call is a step, whatever was recorded of it. From its first call in mode "train" on,
    optimizer steps no longer count by themselves; behind an optimizer step that has just been
    counted, that first call means the same step, unless a second one comes before training goes on.

    Raises:
        wheeltapper.errors.InvalidArgumentError: There is no such mode, or the configuration has a
            mistake.
    """
    which = _mode_id(mode)
    _step(_session.start_asked(), which)


@fused
def _step(session: _session.RankSession | None, which: int) -> None:
    if session is not None:
        session.end_told_step(which)


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


def flush(timeout: float = 5.0) -> None:
    """Returns when everything recorded so far can be read by others.

    Args:
        timeout: Seconds to wait at most.

    Raises:
        TypeError: It is no number.
    """
    _flush(float(timeout))


@fused
def _flush(timeout: float) -> None:
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


def _type_name(value: Any) -> str:
    return type(value).__name__


def _need(value: Any, kind: type, what: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{what}, not {_type_name(value)}")


def _mode_id(name: str) -> int:
    _need(name, str, "a mode is a str")
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
