"""What stands around everything of ours that torch calls while a job trains.

No exception of ours gets out, torch.compile neither traces our functions nor breaks its graph at
them, and modes of the job (a `TorchDispatchMode` that counts operators, say) and its profiler do not
meet the operators that we use. What it takes counts as overhead. Who profiles Python itself
(cProfile, `profile(with_stack=True)`) sees our functions: their time is real.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch
from torch._C import _len_torch_dispatch_stack, _len_torch_function_stack
from torch._C._dynamo import eval_frame
from torch.compiler import is_compiling
from torch.utils._python_dispatch import _pop_mode, _push_mode

from wheeltapper._fuse import FUSE
from wheeltapper._session import running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def guarded(function: Callable[..., object]) -> Callable[..., None]:
    """A function that torch may call as a hook, or a tap at any time; returns None."""

    def called(*args: Any, **kwargs: Any) -> None:
        if FUSE.blown or is_compiling():  # what is traced runs without us
            return
        session = running()
        try:
            if session is not None:
                session.enter_hook()
            if _is_watched():
                with _unseen():
                    function(*args, **kwargs)
            else:
                function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - the observed must never be hurt
            FUSE.report(error)
        finally:
            if session is not None:
                session.leave_hook()

    # For all functions that this makes: they share the code. Where it is called between two graphs,
    # it and what it calls run as they are.
    skip = eval_frame._FrameAction.SKIP
    eval_frame.set_code_exec_strategy(called.__code__, eval_frame._FrameExecStrategy(skip, skip))
    return called


def _is_watched() -> bool:
    return bool(_len_torch_function_stack() or _len_torch_dispatch_stack() or torch.autograd._profiler_enabled())


@contextlib.contextmanager
def _unseen() -> Iterator[None]:
    profiled = torch.autograd._profiler_enabled()
    modes: list[Any] = []
    try:
        while _len_torch_dispatch_stack() > 0:
            modes.append(_pop_mode())
        if profiled:
            torch.autograd._enable_record_function(False)
        with torch._C.DisableTorchFunction():
            yield
    finally:
        if profiled:
            torch.autograd._enable_record_function(True)
        for mode in reversed(modes):
            _push_mode(mode)
