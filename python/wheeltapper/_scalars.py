"""What counts as a number that is logged, and what its name says of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def role_of_scalar(name: str) -> str:
    """Losses go into the collection "losses", everything else into "metrics".

    What a loss or a gradient is multiplied by (`loss_scale`, `kl_loss_weight`) is no loss.

    Example:
        >>> [role_of_scalar(name) for name in ("train_loss", "multi_scale_loss", "amp/loss_scale")]
        ['loss', 'loss', 'metric']
    """
    from wheeltapper import _native

    return "loss" if _native.names_loss(name) else "metric"


def numbers_of(values: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The names and values of a mapping's numbers.

    Nested mappings join their names with "/"; anything with `item()` (a tensor of one element)
    counts as its number; what is no number is left out.
    """
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, int | float):
            yield name, float(value)
        elif isinstance(value, Mapping):
            yield from numbers_of(value, f"{name}/")
        elif hasattr(value, "item") and getattr(value, "size", None) is not None:
            try:
                yield name, float(value.item())
            except (TypeError, ValueError, RuntimeError):
                continue  # more than one element, or no number
