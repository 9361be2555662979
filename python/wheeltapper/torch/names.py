"""Names of parameters and modules: stable for the whole run, without a trace of wrappers.

The first model seen keeps plain paths; a later one gets a prefix made of its class name. A tied
parameter has the first path that leads to it.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

# Class name of a wrapper → the attribute that holds the model.
_WRAPPERS = {
    "DistributedDataParallel": "module",
    "DataParallel": "module",
    "FullyShardedDataParallel": "_fsdp_wrapped_module",
    "OptimizedModule": "_orig_mod",
    "CheckpointWrapper": "_checkpoint_wrapped_module",
    "OffloadWrapper": "_checkpoint_wrapped_module",
    "_FabricModule": "_original_module",
}

# First base of a class that torch makes out of the module's own (fully_shard, replicate).
_MIXED_IN = ("FSDPModule", "ReplicateModule")


def _wrapped_attribute(module: nn.Module) -> str | None:
    for cls in type(module).__mro__:
        attribute = _WRAPPERS.get(cls.__name__)
        if attribute is not None and attribute in module._modules:
            return attribute
    return None


def unwrap(module: nn.Module) -> nn.Module:
    """The model inside DDP, FSDP, torch.compile and the like."""
    while (attribute := _wrapped_attribute(module)) is not None:
        inner = module._modules[attribute]
        if inner is None:
            break
        module = inner
    return module


def class_name(module: nn.Module) -> str:
    """The class as the script named it: FSDP2 puts a sharded module into a class of its own making."""
    cls = type(module)
    while len(cls.__bases__) == 2 and cls.__bases__[0].__name__ in _MIXED_IN:
        cls = cls.__bases__[1]
    return cls.__name__


def walk(root: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """(path, module) in registration order, each module once; wrappers do not appear."""
    seen: set[int] = set()
    pending: list[tuple[str, nn.Module]] = [("", root)]
    while pending:
        path, module = pending.pop()
        module = unwrap(module)
        if id(module) in seen:
            continue
        seen.add(id(module))
        yield path, module
        children = [(name, child) for name, child in module._modules.items() if child is not None]
        pending += [(f"{path}.{name}" if path else name, child) for name, child in reversed(children)]


class ModuleRegistry:
    """All live modules, in the order in which they got their first part; filled by torch's own hooks."""

    def __init__(self, on_compiled: Callable[[], None]) -> None:
        # Called when torch.compile wraps a module.
        self._on_compiled = on_compiled
        self._seen: dict[int, weakref.ref[nn.Module]] = {}
        self._parts: set[int] = set()  # by id, of those seen: a module need not be hashable

    def on_module(self, module: nn.Module, _name: str, submodule: Any) -> None:
        """Notes a module that registers a submodule."""
        self._note(module)
        if type(module).__name__ == "OptimizedModule":
            self._on_compiled()
        if isinstance(submodule, nn.Module):
            self._note(submodule)
            self._parts.add(id(submodule))

    def is_part(self, module: nn.Module) -> bool:
        """Whether another module has registered it, alive or not."""
        return id(module) in self._parts

    def on_parameter(self, module: nn.Module, _name: str, _parameter: Any) -> None:
        """Notes a module that registers a parameter."""
        self._note(module)

    def _note(self, module: nn.Module) -> None:
        key = id(module)
        if key not in self._seen:
            seen, parts = self._seen, self._parts

            def forget(_: weakref.ref[nn.Module]) -> None:
                seen.pop(key, None)
                parts.discard(key)

            seen[key] = weakref.ref(module, forget)

    def roots(self) -> list[nn.Module]:
        """Live modules that are part of no other live module."""
        alive = [module for ref in list(self._seen.values()) if (module := ref()) is not None]
        inner = {id(child) for module in alive for child in module._modules.values()}
        return [module for module in alive if id(module) not in inner]


@dataclass
class Model:
    """One watched model."""

    root: weakref.ref[nn.Module]
    prefix: str  # "" or "Name."
    label: str  # class name, unique among the models


class Names:
    """Names given so far. A name is never changed."""

    def __init__(self) -> None:
        self.models: list[Model] = []
        self._parameters: dict[int, tuple[weakref.ref[torch.Tensor], str]] = {}

    def model_of(self, root: nn.Module) -> Model | None:
        """The model whose root this is."""
        return next((model for model in self.models if model.root() is root), None)

    def add_model(self, root: nn.Module, *, prefix: str = "") -> Model | None:
        """Names everything in a model that has no name yet; the model when it is a new one.

        A known model is walked again: FSDP swaps the parameters of a module, and each is known by
        its path.
        """
        root = unwrap(root)
        known = self.model_of(root)
        if known is None and self.models and all(self.parameter(p) is not None for p in root.parameters()):
            return None
        model = known or self._new_model(root, prefix)
        for path, module in walk(root):
            for name, parameter in module._parameters.items():
                if parameter is not None and self.parameter(parameter) is None:
                    self.name(parameter, model.prefix + (f"{path}.{name}" if path else name))
        return model if known is None else None

    def _new_model(self, root: nn.Module, prefix: str) -> Model:
        label = self._unique(prefix or class_name(root))
        model = Model(weakref.ref(root), f"{label}." if self.models or prefix else "", label)
        self.models.append(model)
        return model

    def _unique(self, label: str) -> str:
        taken = {model.label for model in self.models}
        unique, number = label, 2
        while unique in taken:
            unique, number = f"{label}{number}", number + 1
        return unique

    def parameter(self, parameter: torch.Tensor) -> str | None:
        """The name of a parameter, None while it has none."""
        known = self._parameters.get(id(parameter))
        return known[1] if known is not None and known[0]() is parameter else None

    def name(self, parameter: torch.Tensor, name: str) -> None:
        """Gives a parameter its name."""
        self._parameters[id(parameter)] = (weakref.ref(parameter), name)

    def describe(self, model: Model) -> dict[str, Any]:
        """The model as the meta that rules read: modules and parameters in registration order."""
        root = model.root()
        modules: list[dict[str, Any]] = []
        parameters: list[dict[str, Any]] = []
        listed: set[int] = set()
        for path, module in walk(root) if root is not None else ():
            own: list[str] = []
            for parameter in module._parameters.values():
                name = None if parameter is None else self.parameter(parameter)
                if parameter is None or name is None:
                    continue
                own.append(name)
                if id(parameter) not in listed:
                    listed.add(id(parameter))
                    parameters.append(_describe_parameter(name, parameter))
            modules.append({"path": model.prefix + path, "type": class_name(module), "parameters": own})
        return {"name": model.label, "modules": modules, "parameters": parameters}


def _describe_parameter(name: str, parameter: torch.Tensor) -> dict[str, Any]:
    from wheeltapper.torch.tensors import dtype_name, shape_of

    shape = shape_of(parameter)
    numel = 1
    for extent in shape:
        numel *= extent
    return {
        "name": name,
        "shape": list(shape),
        "dtype": dtype_name(parameter),
        "numel": numel,
        "requires_grad": bool(parameter.requires_grad),
    }
