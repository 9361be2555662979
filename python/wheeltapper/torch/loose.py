"""Parameters that want a gradient and that no optimizer steps: recorded, so that rules can tell.

Those of an optimizer that has never stepped, and those that no optimizer has, the latter only in
models of which an optimizer trains some part: a frozen helper, a target network or another GAN half
whose optimizer is not known is nobody's mistake.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable

import torch
from torch.optim.optimizer import Optimizer

from wheeltapper import _native, _session
from wheeltapper.torch.names import Names
from wheeltapper.torch.optimizer import OptimizerPlan, parameter_ids, parameters_of, role_of
from wheeltapper.torch.tensors import PLAIN_TYPES, plain


class LooseParameters:
    """Gradients and weights of these parameters, once per captured step. Keeps no parameter alive."""

    def __init__(self, find_models: Callable[[Optimizer], None]) -> None:
        # Has the models that hold an optimizer's parameters watched, so that these have names.
        self._find_models = find_models
        self._step = -1  # the last that was looked at: with several optimizers it ends more than once
        self._built_for: tuple[int, ...] = ()
        self._found: list[tuple[weakref.ref[torch.Tensor], int | None, int | None]] = []

    def record(
        self,
        session: _session.RankSession,
        names: Names,
        stepped: list[Optimizer],
        idle: list[Optimizer],
        *,
        scale: float,
    ) -> None:
        """Records what there is at the end of an armed step, once; gradients times `scale`.

        `idle` are the optimizers that have not stepped so far.
        """
        step = session.native.global_step
        if step in (0, self._step):
            return  # at the first step not every optimizer may have been seen yet
        self._step = step
        self._build(session, names, stepped, idle)
        if not self._found:
            return  # nearly always: every parameter has its optimizer
        gradients, weights = _native.GatherPlan(PLAIN_TYPES, plain), _native.GatherPlan(PLAIN_TYPES, plain)
        any_left = False
        for ref, gradient, weight in self._found:
            parameter = ref()
            if parameter is None or not parameter.requires_grad or parameter.grad is None:
                continue  # frozen since, or nothing that a step would use
            any_left = True
            if gradient is not None:
                gradients.add_attribute(parameter, "grad", gradient)
            if weight is not None:
                weights.add_object(parameter, weight)
        if any_left:
            gradients.record(session.native, scale)
            weights.record(session.native)

    def _build(
        self, session: _session.RankSession, names: Names, stepped: list[Optimizer], idle: list[Optimizer]
    ) -> None:
        ids = [known for optimizer in stepped for known in parameter_ids(optimizer)]
        waiting = [known for optimizer in idle for known in parameter_ids(optimizer)]
        owners = (len(ids), *ids, *waiting)
        if (len(names.models), *owners) == self._built_for:
            return
        for optimizer in idle:
            self._find_models(optimizer)
        self._built_for = (len(names.models), *owners)
        self._found = []
        seen = set(ids)
        for optimizer in idle:
            self._add_idle(session, names, optimizer, seen)
        owned = set(ids)
        for model in names.models:
            root = model.root()
            parameters = [] if root is None else list(root.parameters())
            if any(id(parameter) in owned for parameter in parameters):
                self._add(session, names, parameters, seen)

    def _add_idle(self, session: _session.RankSession, names: Names, optimizer: Optimizer, seen: set[int]) -> None:
        """Takes the parameters that only an optimizer without any step has, and says whose they are."""
        own = self._add(session, names, parameters_of(optimizer), seen)
        if own:
            session.meta("idle_optimizer", type=type(optimizer).__name__, parameters=own)

    def _add(
        self, session: _session.RankSession, names: Names, parameters: Iterable[torch.Tensor], seen: set[int]
    ) -> list[str]:
        """Takes the parameters that have a name and are not in `seen`, to which they go; their names."""
        added: list[str] = []
        for parameter in parameters:
            name = names.parameter(parameter)
            if name is None or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            gradient = OptimizerPlan.register(session, f"gradient/{name}", parameter, "gradient")
            weight = OptimizerPlan.register(session, name, parameter, role_of(name))
            self._found.append((weakref.ref(parameter), gradient, weight))
            added.append(name)
        return added
