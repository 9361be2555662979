"""One optimizer: which of its tensors are recorded, and under which names.

Gradients are read when the optimizer is about to step (after accumulation and clipping), or after
it when it calls a closure; weights, optimizer state and updates after it.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch

from wheeltapper import _native, _session
from wheeltapper.torch.kept_gradient import KeptGradient
from wheeltapper.torch.names import Names
from wheeltapper.torch.tensors import PLAIN_TYPES, dtype_name, is_dtensor, plain, shape_of

# Updates are exact: the weights before the step are copied. Larger tensors are left out, and so is
# everything beyond the total.
MAX_UPDATE_ELEMENTS = 1 << 20
MAX_UPDATE_TOTAL = 1 << 24

_UPDATE_DTYPES = {torch.float32, torch.float64, torch.float16, torch.bfloat16}


def parameters_of(optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    """All parameters, in order of the groups."""
    for group in optimizer.param_groups:
        yield from group["params"]


def parameter_ids(optimizer: torch.optim.Optimizer) -> tuple[int, ...]:
    """The identity of each parameter, in order of the groups: tells one set of parameters from another."""
    return tuple(map(id, parameters_of(optimizer)))


def role_of(name: str) -> str:
    """The role of a parameter: "bias" or "weight"."""
    return "bias" if "bias" in name.rpartition(".")[2] else "weight"


class OptimizerPlan:
    """What is recorded of one optimizer. Holds its parameters no longer than it lives."""

    def __init__(self, optimizer: torch.optim.Optimizer, token: int, label: str) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.token = token
        self.label = label  # "" or ".Name": distinguishes the scalars of several optimizers
        self.calls = 0
        self.kept = KeptGradient()
        self.has_closure = False
        self.skips = False
        self.recorded_step = -1
        self.norm = float("nan")
        # Armed steps so far at which no parameter had a gradient, to be recorded; 0 when one has come
        # after such steps, None when there is nothing to say.
        self.without_gradient: int | None = None
        self._had_gradient = False
        self._steps_without = 0
        self._built_for: tuple[int, ...] = ()
        self._built_of: tuple[int, ...] = ()  # identities; the plan keeps the objects, so none is reused
        self._state_built_for: tuple[int, int] = (0, 0)
        self._gradients = self._new_plan()
        self._weights = self._new_plan()
        self._states = self._new_plan()
        self._updates = self._new_plan()
        self._changing: list[torch.Tensor] = []
        self._before: list[torch.Tensor] = []

    @staticmethod
    def _new_plan() -> _native.GatherPlan:
        return _native.GatherPlan(PLAIN_TYPES, plain)

    def names_parameters(self, optimizer: torch.optim.Optimizer, names: Names) -> None:
        """Names parameters that belong to no known module."""
        for g, group in enumerate(optimizer.param_groups):
            given = group.get("param_names") or ()
            for i, parameter in enumerate(group["params"]):
                if names.parameter(parameter) is None:
                    name = given[i] if i < len(given) else f"parameter.{g}.{i}"
                    names.name(parameter, name + self.label)

    def build(self, optimizer: torch.optim.Optimizer, session: _session.RankSession, names: Names) -> bool:
        """Registers tensors when parameters are new; True when something changed."""
        shape = tuple(len(group["params"]) for group in optimizer.param_groups)
        # As many others may have taken their place (a new head): looked at on armed steps only.
        of = parameter_ids(optimizer) if session.armed else self._built_of
        if shape == self._built_for and of == self._built_of:
            return False
        self._built_for = shape
        self._built_of = parameter_ids(optimizer)
        self.names_parameters(optimizer, names)
        self._gradients, self._weights, self._updates = self._new_plan(), self._new_plan(), self._new_plan()
        self._changing, self._before = [], []
        total = 0
        for parameter in parameters_of(optimizer):
            name = names.parameter(parameter)
            if name is None:
                continue
            gradient = self.register(session, f"gradient/{name}", parameter, "gradient")
            if gradient is not None:
                self._gradients.add_attribute(parameter, "grad", gradient)
            weight = self.register(session, name, parameter, role_of(name))
            if weight is not None:
                self._weights.add_object(parameter, weight)
            total += self._add_update(session, name, parameter, room=MAX_UPDATE_TOTAL - total)
        return True

    @staticmethod
    def register(
        session: _session.RankSession,
        name: str,
        tensor: torch.Tensor,
        role: str,
        collection: str = "",
    ) -> int | None:
        """The id of a tensor, None when the configuration takes nothing of it."""
        local = tensor._local_tensor if is_dtensor(tensor) else tensor
        known = session.native.register_tensor(
            name, role=role, dtype=dtype_name(tensor), shape=shape_of(local), collection=collection
        )
        return known if session.native.take(known, _session.TRAIN) != 0 else None

    def _add_update(self, session: _session.RankSession, name: str, parameter: torch.Tensor, *, room: int) -> int:
        """Takes a parameter among those whose change is recorded; how many elements that needs."""
        readable = parameter.detach()
        if (
            type(parameter) not in PLAIN_TYPES
            or readable.device.type != "cpu"
            or readable.layout is not torch.strided
            or readable.dtype not in _UPDATE_DTYPES
            or not 0 < readable.numel() <= min(MAX_UPDATE_ELEMENTS, room)
        ):
            return 0
        known = self.register(session, f"update/{name}", parameter, "other", "updates")
        if known is None:
            return 0
        before = torch.empty_like(readable)
        self._changing.append(parameter)
        self._before.append(before)
        self._updates.add_object(before, known)
        return int(readable.numel())

    def record_gradients(self, session: _session.RankSession, scale: float) -> None:
        """Gradients as they are now, times `scale`."""
        self._gradients.record(session.native, scale)
        self.norm = self._gradients.norm
        if not self._had_gradient:
            self._look_for_gradient()

    def _look_for_gradient(self) -> None:
        """Counts a step at which nothing has a gradient, whether or not gradients are recorded.

        Over once one has come: in a healthy run at the first parameter of the first armed step.
        """
        optimizer = self.optimizer()
        trained = [p for p in parameters_of(optimizer) if p.requires_grad] if optimizer is not None else []
        if any(parameter.grad is not None for parameter in trained):
            self._had_gradient = True
            self.without_gradient = 0 if self._steps_without else None
        elif trained:
            self._steps_without += 1
            self.without_gradient = self._steps_without

    def copy_weights(self) -> None:
        """Keeps the weights of before the step, for the updates."""
        with torch.no_grad():
            if self._before:
                torch._foreach_copy_(self._before, self._changing)

    def record_after_step(self, session: _session.RankSession) -> None:
        """Weights, updates and optimizer state as they are now."""
        self._weights.record(session.native)
        if self._before:
            with torch.no_grad():
                torch._foreach_sub_(self._before, self._changing)
            # before − after, recorded with its sign turned.
            self._updates.record(session.native, -1.0)
        self._states.record(session.native)

    def build_states(self, optimizer: torch.optim.Optimizer, session: _session.RankSession, names: Names) -> None:
        """Registers optimizer state, which appears with the first step and anew after loading."""
        key = (id(optimizer.state), len(optimizer.state))
        if key == self._state_built_for:
            return
        self._state_built_for = key
        self._states = self._new_plan()
        for parameter, state in optimizer.state.items():
            name = names.parameter(parameter) if isinstance(parameter, torch.Tensor) else None
            if name is None or not isinstance(state, dict):
                continue
            for key_name, value in state.items():
                if isinstance(value, torch.Tensor) and key_name != "step" and value.numel() > 0:
                    full = f"optimizer/{name}/{key_name}"
                    known = self.register(session, full, value, "optimizer")
                    if known is not None:
                        self._states.add_item(state, key_name, known)

    def scalars(self, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """Learning rates, by name: `learning_rate`, `learning_rate.group1` and so on."""
        rates: dict[str, float] = {}
        for index, group in enumerate(optimizer.param_groups):
            rate = group.get("lr")
            if isinstance(rate, torch.Tensor) and rate.device.type != "cpu":
                continue
            if rate is not None:
                suffix = f".group{index}" if index else ""
                rates[f"learning_rate{self.label}{suffix}"] = float(rate)
        return rates

    def describe(self, optimizer: torch.optim.Optimizer, names: Names) -> dict[str, Any]:
        """The optimizer as the meta that rules read."""
        return {
            "type": type(optimizer).__name__,
            "parameters": [names.parameter(parameter) for parameter in parameters_of(optimizer)],
            "defaults": {key: _jsonable(value) for key, value in optimizer.defaults.items()},
            "groups": [
                {key: _jsonable(value) for key, value in group.items() if key not in {"params", "param_names"}}
                for group in optimizer.param_groups
            ],
        }


def _jsonable(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return float(value) if value.numel() == 1 and value.device.type == "cpu" else str(value.shape)
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
