"""Attaches Wheeltapper to a Python process without a change to its code.

`wheeltapper run` puts this folder first on PYTHONPATH, so the interpreter imports this file at
start-up. It imports nothing that is not loaded already, hooks the import of the frameworks, takes
its folder off sys.path (children find it again through PYTHONPATH), and then runs the
sitecustomize that it stands in front of. It writes nothing to the script's output: what goes wrong
is noted in RUN/logs/attach-<pid>.txt.

It does not run under `-I`, `-S` and `-E` or with PYTHONPATH replaced. Where that is a habit, one
line in a file `wheeltapper.pth` in site-packages does the same for every Python of that
environment, still only when WHEELTAPPER_RUN_DIR is set:

    import os; exec("import runpy; runpy.run_path(os.environ['WHEELTAPPER_PACKAGE_DIR'] +
    '/_shim/sitecustomize.py')" if os.environ.get("WHEELTAPPER_RUN_DIR") else "")   # in one line
"""

import os
import sys
from _frozen_importlib import _call_with_frames_removed, module_from_spec  # type: ignore[attr-defined]
from _frozen_importlib_external import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

_HERE = os.path.dirname(os.path.abspath(__file__))
_PACKAGE_DIR = os.environ.get("WHEELTAPPER_PACKAGE_DIR") or os.path.dirname(_HERE)


def _note(text: str, *, first_only: bool = False) -> None:
    logs = os.path.join(os.environ.get("WHEELTAPPER_RUN_DIR", ""), "logs")
    try:
        if not os.path.isdir(logs):
            os.mkdir(logs)
        if first_only and any(name.startswith("attach-") for name in os.listdir(logs)):
            return
        with open(os.path.join(logs, f"attach-{os.getpid()}.txt"), "a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError:
        pass


def _on_torch(_module: "ModuleType") -> None:
    from wheeltapper.torch import hooks

    hooks.install()


def _on_dynamo(_module: "ModuleType") -> None:
    from wheeltapper.torch import hooks

    hooks.watch_compiler()


def _on_writer(module: "ModuleType") -> None:
    from wheeltapper import tensorboard

    tensorboard.tap_writer(module)


_CALLBACKS = {
    "torch": _on_torch,
    "torch._dynamo.callback": _on_dynamo,
    "torch.utils.tensorboard.writer": _on_writer,
    "tensorboardX.writer": _on_writer,
}


def _run_callback(module: "ModuleType", callback: "Callable[[ModuleType], None]") -> None:
    try:
        callback(module)
    except Exception as error:
        why = f"{module.__name__}: {type(error).__name__}: {error}"
        _note(f"attaching failed, the process goes on unobserved: {why}")
        if os.environ.get("WHEELTAPPER_STRICT") == "1":
            raise


def _watch(loader: "Any", callback: "Callable[[ModuleType], None]") -> None:
    """Has `callback` run after the module of this loader; the loader stays what it was."""
    execute = loader.exec_module

    def exec_module(module: "ModuleType") -> None:
        del loader.exec_module
        _call_with_frames_removed(execute, module)
        _run_callback(module, callback)

    # A traceback of a failed import shows no frame of importlib, hence none of ours.
    exec_module.__code__ = exec_module.__code__.replace(co_filename="<frozen importlib._bootstrap>")
    loader.exec_module = exec_module


class _PostImportFinder:
    """First on sys.meta_path: asks the others, and watches the modules above."""

    @staticmethod
    def find_spec(name: str, path: "Any" = None, target: "Any" = None) -> "ModuleSpec | None":
        callback = _CALLBACKS.get(name)
        if callback is None:
            return None
        for finder in sys.meta_path:
            spec = None if finder is _PostImportFinder else finder.find_spec(name, path, target)
            if spec is not None:
                del _CALLBACKS[name]
                if hasattr(spec.loader, "exec_module"):
                    _watch(spec.loader, callback)
                return spec
        return None


class _PackageFinder:
    """Last on sys.meta_path: the watcher's package, where this Python has none of its own."""

    closes_session = True  # tells wheeltapper._session that _close is registered

    @staticmethod
    def find_spec(name: str, _path: "Any" = None, target: "Any" = None) -> "ModuleSpec | None":
        return PathFinder.find_spec(name, [os.path.dirname(_PACKAGE_DIR)], target) if name == "wheeltapper" else None


def _close() -> None:
    session = sys.modules.get("wheeltapper._session")
    if session is not None:
        session.close()


def _attach() -> None:
    import atexit

    sys.meta_path.insert(0, _PostImportFinder)
    sys.meta_path.append(_PackageFinder)
    # Registered before all others, so it runs after them: what they log is still recorded.
    atexit.register(_close)
    _note(f"attached: Python {sys.version.split()[0]}", first_only=True)


def _chain() -> None:
    """Runs the sitecustomize behind this one, as if this one were not there."""
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if os.environ.get("WHEELTAPPER_RUN_DIR") and os.environ.get("WHEELTAPPER_DISABLE") != "1":
    try:
        _attach()
    except Exception as error:  # noqa: BLE001 - the observed must never be hurt
        _note(f"attaching failed, the process goes on unobserved: {type(error).__name__}: {error}")
_chain()
