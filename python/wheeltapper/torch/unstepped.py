"""Backward passes while optimizers are there and none has ever stepped: a forgotten step().

Rules read the scalar `wheeltapper/backwards_without_step`: how many there were, told at powers of two
and at the end, and only while the weights rest, so that a job that changes them by itself is not
taken for one that learns nothing.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable

import torch
from torch.optim.optimizer import Optimizer

from wheeltapper import _session
from wheeltapper.torch.optimizer import parameters_of
from wheeltapper.torch.tensors import plain

# Fewer may add up their gradients for the first step; from then on weights are compared.
FEWEST = 8
FIRST_TOLD = 128
# A change through `.data` shows only in the values, and who changes weights so changes small ones
# too: a look at these must cost next to nothing, whatever the size of the model.
MOST_READ = 16
MOST_ELEMENTS = 1 << 16


def _norm_of(parameter: torch.Tensor) -> float:
    """0 where it is on a device, or of a kind that cannot be read."""
    readable = plain(parameter)
    if readable is None:
        return 0.0
    dtype = torch.complex128 if readable.is_complex() else torch.float64
    return float(torch.linalg.vector_norm(readable, dtype=dtype))


def _mark(parameter: torch.Tensor, *, read: bool) -> tuple[int, float]:
    """What changes when a parameter does: its version, and the norm of one that is read."""
    return parameter._version, _norm_of(parameter) if read else 0.0


class BackwardsWithoutStep:
    """Counts them. Keeps no parameter alive."""

    def __init__(self) -> None:
        self._count = 0
        self._moved = False
        self._marks: list[tuple[weakref.ref[torch.Tensor], bool, tuple[int, float]]] = []

    def note(self, session: _session.RankSession, optimizers: Iterable[Optimizer]) -> None:
        """One more of a model that trains."""
        self._count += 1
        if self._moved or self._count < FEWEST or self._count & (self._count - 1):
            return
        if self._count == FEWEST:
            trained = [p for each in optimizers for p in parameters_of(each) if p.requires_grad]
            trained.sort(key=lambda parameter: parameter.numel())
            for place, parameter in enumerate(trained):
                read = place < MOST_READ and 0 < parameter.numel() <= MOST_ELEMENTS
                self._marks.append((weakref.ref(parameter), read, _mark(parameter, read=read)))
        elif self._rests() and self._count >= FIRST_TOLD:
            self._tell(session)

    def at_end(self, session: _session.RankSession) -> None:
        """The job ends, and no optimizer has stepped."""
        if self._marks and self._rests():
            self._tell(session)

    def _rests(self) -> bool:
        """Whether all parameters that are still there are as they were."""
        self._moved = self._moved or any(
            (parameter := ref()) is not None and _mark(parameter, read=read) != mark for ref, read, mark in self._marks
        )
        return not self._moved

    def _tell(self, session: _session.RankSession) -> None:
        values = {"wheeltapper/backwards_without_step": self._count}
        session.log(values, mode=_session.TRAIN, step=session.native.global_step)
