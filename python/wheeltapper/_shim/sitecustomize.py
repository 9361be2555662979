"""Attaches Wheeltapper to a Python process without a change to its code.

`wheeltapper run` puts this folder first on PYTHONPATH, so the interpreter imports this file at
start-up. It imports nothing that is not loaded already, hooks the import of the frameworks, takes
its folder off sys.path (children find it again through PYTHONPATH), and then runs the
sitecustomize that it stands in front of. It writes nothing to the script's output: what goes wrong
is noted in RUN/logs/attach-<pid>.txt.
"""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120 - pathlib costs 3 ms here


def _note(text, *, first_only=False):
    logs = os.path.join(os.environ.get("WHEELTAPPER_RUN_DIR", ""), "logs")  # noqa: PTH118
    try:
        if not os.path.isdir(logs):  # noqa: PTH112
            os.mkdir(logs)  # noqa: PTH102
        if first_only and any(name.startswith("attach-") for name in os.listdir(logs)):  # noqa: PTH208
            return
        with open(os.path.join(logs, f"attach-{os.getpid()}.txt"), "a", encoding="utf-8") as file:  # noqa: PTH118, PTH123
            file.write(text + "\n")
    except OSError:
        pass


def _attach():
    import atexit

    from _frozen_importlib_external import PathFinder

    package_dir = os.environ.get("WHEELTAPPER_PACKAGE_DIR") or os.path.dirname(_HERE)  # noqa: PTH120
    parent = os.path.dirname(package_dir)  # noqa: PTH120

    def on_torch(_module):
        from wheeltapper.torch import hooks

        hooks.install()

    def on_dynamo(_module):
        from wheeltapper.torch import hooks

        hooks.watch_compiler()

    def on_writer(module):
        from wheeltapper import tensorboard

        tensorboard.tap_writer(module)

    callbacks = {
        "torch": on_torch,
        "torch._dynamo.callback": on_dynamo,
        "torch.utils.tensorboard.writer": on_writer,
        "tensorboardX.writer": on_writer,
    }

    def run_callback(module, callback):
        try:
            callback(module)
        except Exception as error:  # noqa: BLE001 - the observed must never be hurt
            _note(f"{module.__name__}: {type(error).__name__}: {error}")
            if os.environ.get("WHEELTAPPER_STRICT") == "1":
                raise

    def watch(loader, callback):
        """Has `callback` run after the module of this loader; the loader stays what it was."""
        from _frozen_importlib import _call_with_frames_removed

        execute = loader.exec_module

        def exec_module(module):
            del loader.exec_module
            _call_with_frames_removed(execute, module)
            run_callback(module, callback)

        # A traceback of a failed import shows no frame of importlib, hence none of ours.
        exec_module.__code__ = exec_module.__code__.replace(co_filename="<frozen importlib._bootstrap>")
        loader.exec_module = exec_module

    class PostImportFinder:
        """First on sys.meta_path: asks the others, and watches the modules above."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            callback = callbacks.get(name)
            if callback is None:
                return None
            for finder in sys.meta_path:
                if finder is PostImportFinder or not hasattr(finder, "find_spec"):
                    continue
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    callbacks.pop(name, None)
                    if hasattr(spec.loader, "exec_module"):
                        watch(spec.loader, callback)
                    return spec
            return None

    class PackageFinder:
        """Last on sys.meta_path: the watcher's package, where this Python has none of its own."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            return PathFinder.find_spec(name, [parent], target) if name == "wheeltapper" else None

    def close():
        session = sys.modules.get("wheeltapper._session")
        if session is not None:
            session.close()

    sys.meta_path.insert(0, PostImportFinder)
    sys.meta_path.append(PackageFinder)
    # Registered before all others, so it runs after them: what they log is still recorded.
    atexit.register(close)
    _note(f"attached: Python {sys.version.split()[0]}", first_only=True)


def _chain():
    """Runs the sitecustomize behind this one, as if this one were not there."""
    from _frozen_importlib import module_from_spec
    from _frozen_importlib_external import PathFinder

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or ".") != _HERE]  # noqa: PTH100
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
        _note(f"the shim failed: {type(error).__name__}: {error}")
_chain()
