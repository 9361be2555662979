"""Wheeltapper as the benchmarks use it: a session in a run directory, plans over torch tensors."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import torch
from wheeltapper import _native

_NUMBER = itertools.count()


def make_run(folder: Path, **settings: str) -> Path:
    """A new run directory whose configuration holds `settings` ("capture__every" for capture.every)."""
    import os

    run = folder / f"run-{next(_NUMBER)}"
    names = {key: "WHEELTAPPER_" + key.replace("__", "_").upper() for key in settings}
    before = {name: os.environ.get(name) for name in names.values()}
    os.environ.update({names[key]: value for key, value in settings.items()})
    try:
        _native.create_run(str(run), name=run.name)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return run


class Recorder:
    """A session and one plan over a list of named tensors."""

    def __init__(self, run: Path, tensors: dict[str, torch.Tensor], *, role: str = "gradient") -> None:
        self.run = run
        self.session = _native.Session.start(str(run), framework="bench")
        self.plan = _native.GatherPlan((torch.Tensor, torch.nn.Parameter), lambda tensor: tensor)
        for name, tensor in tensors.items():
            described = self.session.register_tensor(
                name, role=role, dtype=str(tensor.dtype).removeprefix("torch."), shape=tuple(tensor.shape)
            )
            self.plan.add_object(tensor, described)

    def step(self) -> None:
        """Records all tensors as one step."""
        self.plan.record(self.session)
        self.session.finish_step()

    def flush(self) -> None:
        self.session.flush(60.0)

    def close(self) -> None:
        self.session.stop(120.0)

    def discard(self) -> None:
        """Stops and removes the run."""
        self.close()
        shutil.rmtree(self.run, ignore_errors=True)
