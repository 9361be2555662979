"""Outputs of modules that ran before anything showed that a training has begun.

The session starts with the first output that a gradient can flow through. What ran before it in the
same forward (a normalisation of the data, a logarithm, an embedding that is frozen) has its outputs
kept in mind: the first step would lack them otherwise, and a NaN that came from there would be
blamed on the first module after it. Small outputs are kept alive until then, of one forward at most;
large ones are taken when something else has kept them.

A forward is over when a module has returned that is part of no other, and another one begins with the
module that the last one began with. A shared activation comes again before that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator

import torch
from torch import nn

from wheeltapper.torch.tensors import is_opaque

# A model has few modules before its first parameter; jobs that never train end here.
_MOST = 64
_SMALL_BYTES = 1 << 20

_Output = tuple[str, Callable[[], torch.Tensor | None], int]  # ":0", the tensor, its version then


def _keep(tensor: torch.Tensor) -> Callable[[], torch.Tensor | None]:
    small = tensor.numel() * tensor.element_size() <= _SMALL_BYTES
    return (lambda: tensor) if small else weakref.ref(tensor)


class EarlyCalls:
    """Calls of modules in the order in which they returned."""

    def __init__(self) -> None:
        self._calls: list[tuple[weakref.ref[nn.Module], list[_Output]]] = []
        self._root_returned = False  # since the first of them

    def add(self, module: nn.Module, outputs: list[tuple[str, torch.Tensor]], *, is_root: bool) -> None:
        """Remembers a call, and none that came before _MOST others; a root is part of no other module."""
        if self._root_returned and self._calls and self._calls[0][0]() is module:
            self.clear()  # another forward, and none has shown a training
        self._root_returned = self._root_returned or is_root
        if any(is_opaque(tensor) or tensor.is_inference() for _, tensor in outputs):
            return
        kept = [(suffix, _keep(tensor), tensor._version) for suffix, tensor in outputs]
        self._calls.append((weakref.ref(module), kept))
        del self._calls[:-_MOST]

    def clear(self) -> None:
        """Forgets them all."""
        self._calls = []
        self._root_returned = False

    def take(self) -> Iterator[tuple[nn.Module, list[tuple[str, torch.Tensor]]]]:
        """Each call whose outputs are all still there as they were; forgets them all."""
        calls = self._calls
        self.clear()
        for reference, outputs in calls:
            module = reference()
            tensors = [(suffix, tensor()) for suffix, tensor, _ in outputs]
            unchanged = [
                (suffix, tensor)
                for (suffix, tensor), (_, _, version) in zip(tensors, outputs, strict=True)
                if tensor is not None and tensor._version == version
            ]
            if module is not None and len(unchanged) == len(outputs):
                yield module, unchanged
