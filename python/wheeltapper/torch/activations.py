"""Outputs of leaf modules, and inputs and outputs of the whole model, on armed steps only.

Module calls are watched while the open step is armed, and not otherwise. Each tensor is taken once
per step, from the first training forward that gradients flow through: later micro-batches,
evaluation, and the recomputation of checkpointed blocks add nothing.

torch.compile traces what a module's call runs into: the watching ends for good when a module is
wrapped by torch.compile or a compilation starts, before anything is traced, and a gap says so.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from wheeltapper import _native, _session
from wheeltapper._fuse import FUSE
from wheeltapper.torch.calls import ModuleCalls
from wheeltapper.torch.early import EarlyCalls
from wheeltapper.torch.names import Model, walk
from wheeltapper.torch.tensors import PLAIN_TYPES, dtype_name, is_opaque, plain, shape_of

_NOT_TAKEN = -1


@dataclass
class _Watched:
    """One module whose forward is of interest."""

    module: weakref.ref[nn.Module]
    path: str
    root: weakref.ref[nn.Module]
    is_root: bool
    is_leaf: bool
    step: int = -1  # the step it was last taken in
    ids: dict[str, int] = field(default_factory=dict)
    # Outputs that had no elements to read, and perhaps never had any.
    opaque: set[str] = field(default_factory=set)


def _tensors(prefix: str, value: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of a module's output or inputs, one level deep."""
    if isinstance(value, torch.Tensor):
        yield prefix, value
        return
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        tensors = [part for part in value if isinstance(part, torch.Tensor)]
        for index, part in enumerate(tensors):
            yield (f"{prefix}:{index}" if len(tensors) > 1 else prefix), part


def _inputs(prefix: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of what a module was called with; keyword arguments under their keywords."""
    yield from _tensors(prefix, args)
    for keyword, value in kwargs.items():
        yield from _tensors(f"{prefix}:{keyword}", value)


class Activations:
    """What is taken when a module was called, and what is known about modules."""

    def __init__(
        self,
        find_model: Callable[[nn.Module], None],
        start: Callable[[], _session.RankSession | None],
        is_part: Callable[[nn.Module], bool],
    ) -> None:
        # Asked once about each module that no model has been found for.
        self._find_model = find_model
        # Starts the session: the first training forward is the first sign of a training job.
        self._start = start
        self._is_part = is_part  # of another module
        self._watched: dict[int, _Watched | None] = {}
        self._calls = ModuleCalls(nn.Module, self.on_call)
        self._early = EarlyCalls()
        self._gather = _native.GatherPlan(PLAIN_TYPES, plain)
        self.compiled = False

    def add_model(self, model: Model) -> None:
        """Watches the leaves and the root of a model."""
        root = model.root()
        if root is None:
            return
        for path, module in walk(root):
            is_root = module is root
            is_leaf = not module._modules and not is_root
            if is_leaf or is_root:
                name = model.prefix + path if path else model.label
                self._watched[id(module)] = _Watched(weakref.ref(module), name, weakref.ref(root), is_root, is_leaf)

    def arm(self, armed: bool) -> None:
        """The open step is (not) to be captured."""
        if armed and not self.compiled:
            self._calls.put()
        else:
            self._calls.take_away()
            self._early.clear()

    def on_compile(self) -> None:
        """Something is being compiled: no tap may be there while it traces, nor come later."""
        first = not self.compiled
        self.compiled = True
        self.arm(False)
        session = _session.running()
        if first and session is not None and not FUSE.blown:
            self._record_gap(session)

    def report_compiled(self, session: _session.RankSession) -> None:
        """Notes the gap of a compilation that came before the session."""
        if self.compiled:
            self._record_gap(session)

    def _record_gap(self, session: _session.RankSession) -> None:
        for watched in self._watched.values():
            if watched is not None and watched.is_root:
                session.native.unsupported(
                    session.native.register_tensor(f"output/{watched.path}", role="output", root=True)
                )
        session.meta(
            "notice",
            message="outputs of modules are not captured: the job uses torch.compile",
        )

    def report_opaque(self, session: _session.RankSession) -> None:
        """Notes the gaps of outputs that never had elements to read. The job ends."""
        for watched in self._watched.values():
            if watched is not None and watched.step < 0:
                for name in watched.opaque:
                    session.native.unsupported(
                        session.native.register_tensor(name, role="output", root=watched.is_root)
                    )

    def on_call(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """A module was called. Does nothing on steps that are not armed."""
        if not self._calls.present or not torch.is_grad_enabled():
            return
        session = _session.running()
        if session is None:
            session = self._start_at(module, output)
            if session is None:
                return
            for earlier, outputs in self._early.take():
                self._take(session, earlier, outputs, (), {})
        else:
            self._early.clear()  # something else has started it
        self._take(session, module, list(_tensors("", output)), args, kwargs)

    def _start_at(self, module: nn.Module, output: Any) -> _session.RankSession | None:
        """The session, when this call shows that a training has begun."""
        if not module.training:
            return None
        outputs = list(_tensors("", output))
        if not any(tensor.requires_grad for _, tensor in outputs):
            self._early.add(module, outputs, is_root=not self._is_part(module))
            return None
        session = self._start()
        if session is None:
            self.arm(False)  # training that is not recorded is not watched either
        return session

    def _take(
        self,
        session: _session.RankSession,
        module: nn.Module,
        outputs: list[tuple[str, torch.Tensor]],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        """Records a call unless that module's has been in this step."""
        watched = self._watched.get(id(module))
        if watched is None or watched.module() is not module:
            watched = self._look_up(module)
            if watched is None:
                return
        session.settle(own=False)  # training goes on
        root = watched.root()
        step = session.native.global_step
        if watched.step == step or root is None or not root.training:
            return
        prefix = f"output/{watched.path}"
        if any(is_opaque(tensor) for _, tensor in outputs):
            watched.opaque.update(prefix + suffix for suffix, _ in outputs)
            return  # a rehearsal, perhaps: the step's real forward may come yet
        watched.step = step
        for suffix, tensor in outputs:
            self._record(session, watched, prefix + suffix, tensor, "output")
        if watched.is_root:
            for name, tensor in _inputs(f"input/{watched.path}", args, kwargs):
                self._record(session, watched, name, tensor, "input")

    def _look_up(self, module: nn.Module) -> _Watched | None:
        if id(module) in self._watched and self._watched[id(module)] is None:
            return None
        self._find_model(module)
        watched = self._watched.get(id(module))
        if watched is None or watched.module() is not module:
            self._watched[id(module)] = None
            return None
        return watched

    def _record(
        self, session: _session.RankSession, watched: _Watched, name: str, tensor: torch.Tensor, role: str
    ) -> None:
        known = watched.ids.get(name)
        if known is None:
            known = session.native.register_tensor(
                name, role=role, dtype=dtype_name(tensor), shape=shape_of(tensor), root=watched.is_root
            )
            if session.native.take(known, _session.TRAIN) == 0:
                known = _NOT_TAKEN
            watched.ids[name] = known
        if known == _NOT_TAKEN:
            return
        self._gather.record_one(session.native, tensor, known)
