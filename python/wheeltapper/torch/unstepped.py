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


def _mark(parameter: torch.Tensor) -> tuple[int, float]:
    """What changes when a parameter does: its version, and on the CPU its norm, which `.data` changes."""
    readable = plain(parameter)
    norm = (
        0.0 if readable is None or not readable.numel() else float(torch.linalg.vector_norm(readable.to(torch.float64)))
    )
    return parameter._version, norm


class BackwardsWithoutStep:
    """Counts them. Keeps no parameter alive."""

    def __init__(self) -> None:
        self._count = 0
        self._moved = False
        self._marks: list[tuple[weakref.ref[torch.Tensor], tuple[int, float]]] = []

    def note(self, session: _session.RankSession, optimizers: Iterable[Optimizer]) -> None:
        """One more of a model that trains."""
        self._count += 1
        if self._moved or self._count < FEWEST or self._count & (self._count - 1):
            return
        if self._count == FEWEST:
            trained = [p for each in optimizers for p in parameters_of(each) if p.requires_grad]
            self._marks = [(weakref.ref(parameter), _mark(parameter)) for parameter in trained]
        elif self._rests() and self._count >= FIRST_TOLD:
            self._tell(session)

    def at_end(self, session: _session.RankSession) -> None:
        """The job ends, and no optimizer has stepped."""
        if self._marks and self._rests():
            self._tell(session)

    def _rests(self) -> bool:
        """Whether all parameters that are still there are as they were."""
        self._moved = self._moved or any(
            (parameter := ref()) is not None and _mark(parameter) != mark for ref, mark in self._marks
        )
        return not self._moved

    def _tell(self, session: _session.RankSession) -> None:
        values = {"wheeltapper/backwards_without_step": self._count}
        session.log(values, mode=_session.TRAIN, step=session.native.global_step)
