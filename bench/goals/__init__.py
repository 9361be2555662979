"""The twelve performance goals, one function each: `GOALS[number](Settings) -> GoalResult`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness import GoalResult


@dataclass(frozen=True)
class Settings:
    """How much to measure, and where to write."""

    folder: Path
    rounds: int
    quick: bool


Goal = Callable[[Settings], GoalResult]


def all_goals() -> dict[int, Goal]:
    """Every goal by its number."""
    from goals import accuracy, end_to_end, kernels, reading, size, sustained, writing

    return {
        1: writing.small_tensors,
        2: writing.scalars,
        3: writing.large_tensors,
        4: sustained.sustained,
        5: kernels.reductions,
        6: kernels.fused_copy,
        7: kernels.histogram_and_median,
        8: accuracy.accuracy,
        9: size.size,
        10: reading.open_run,
        11: reading.random_read,
        12: end_to_end.end_to_end,
    }
