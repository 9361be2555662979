"""Which tensors can be read directly, and how to get at the others."""

from __future__ import annotations

from typing import Any

import torch
from torch._C._functorch import is_functorch_wrapped_tensor

# Exact types whose C exchange interface is used at once. Everything else is looked at first: the
# pointer of a DTensor is an offset, and to dereference it crashes.
PLAIN_TYPES = (torch.Tensor, torch.nn.Parameter)


def dtype_name(tensor: torch.Tensor) -> str:
    """The element type by NumPy's name: `float32`, `bfloat16`."""
    return str(tensor.dtype).removeprefix("torch.")


def shape_of(tensor: torch.Tensor) -> tuple[int, ...]:
    """The shape, () while a lazy parameter has none."""
    try:
        return tuple(int(extent) for extent in tensor.shape)
    except RuntimeError:
        return ()


def is_opaque(value: torch.Tensor) -> bool:
    """True for a tensor without elements to read.

    Inside vmap, grad and their like it stands for many, or for one that is still being
    differentiated; with a dispatch of its own it is a wrapper, or stands for one (FakeTensor). A
    DTensor is none: its local shard can be read.
    """
    if type(value) in PLAIN_TYPES:
        return bool(is_functorch_wrapped_tensor(value))
    wrapper = type(value).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__
    return wrapper and getattr(value, "_local_tensor", None) is None


def plain(value: Any) -> torch.Tensor | None:
    """A strided CPU tensor with the elements of `value`, or None when they cannot be read.

    A DTensor gives its local shard; a sparse tensor the values that it stores, coalesced, so that
    counts are over these; a conjugated or negated view is resolved. Tensors on other devices are
    not read: that would wait for the device.
    """
    if not isinstance(value, torch.Tensor):
        return None
    local = getattr(value, "_local_tensor", None)
    if local is not None:
        return plain(local)
    if is_opaque(value):
        return None
    value = value.detach()
    if value.device.type != "cpu" or value.is_quantized:
        return None
    if value.layout is torch.sparse_coo:
        value = value.coalesce().values()
    elif value.layout in {torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc}:
        value = value.values()
    elif value.layout is not torch.strided:
        return None
    if type(value) is not torch.Tensor:
        value = value.as_subclass(torch.Tensor)
    return value.resolve_conj().resolve_neg()


def is_dtensor(value: torch.Tensor) -> bool:
    """True for a distributed tensor; its global shape says nothing about this rank."""
    return type(value) not in PLAIN_TYPES and getattr(value, "_local_tensor", None) is not None


def number(value: torch.Tensor) -> float | None:
    """The value of a one-element tensor on the CPU, None for others."""
    if value.numel() != 1 or not value.is_cpu:
        return None
    if type(value) in PLAIN_TYPES and value.layout is torch.strided and not is_functorch_wrapped_tensor(value):
        return float(value.item())  # nearly every loss: two of them are read in each step
    readable = plain(value)
    return None if readable is None else float(readable.item())
